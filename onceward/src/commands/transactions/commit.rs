//! `onceward transactions commit`: decided output made visible, with nobody fenced.

use runtime::run::CommittableEnd;
use runtime::transactions::{CommitError, Committed};
use serde_json::json;

use super::Place;
use crate::cli::{CommitByHandArgs, Output};
use crate::commands::{DONE, Error, FAILED, REFUSED};
use crate::screen::{Gone, Style, thousands, with_causes};

impl Place<'_> {
    pub(super) async fn commit(&self, args: &CommitByHandArgs) -> Result<u8, Error> {
        let known = match self.tools.look().await {
            Ok(known) => known,
            Err(error) => return Ok(self.failed(&error)),
        };
        let ids = (!args.all).then_some(args.ids.as_slice());
        let mut said = Ok(());
        let mut tell = |committed: &Committed| {
            if said.is_ok() {
                said = self.say_committed(committed);
            }
        };
        let ended = self.tools.commit(known.as_ref(), ids, args.timeout, &mut tell).await;
        let code = match ended {
            Ok(done) if done.is_empty() => {
                self.screen.tell("no decided transaction waits to be committed");
                DONE
            }
            Ok(done) => {
                let rows: u64 = done.iter().map(|one| one.rows).sum();
                self.screen.tell(format!("{} transactions, {} rows, are visible", done.len(), thousands(rows)));
                DONE
            }
            Err(error) => {
                self.screen.fault(with_causes(&error).replace(" FILE`", &format!(" {}`", args.reach.file.display())));
                match error {
                    CommitError::Refused { .. } => REFUSED,
                    CommitError::Lost(_) | CommitError::Blocked { .. } | CommitError::Failed(_) => FAILED,
                }
            }
        };
        said.map(|()| code).map_err(|Gone| Error::Gone(code))
    }

    fn say_committed(&self, committed: &Committed) -> Result<(), Gone> {
        let Committed { id, rows, end, what } = committed;
        if self.reach.output == Output::Json {
            return self.screen.say(json!({"id": id, "rows": rows, "end": end, "what": what}).to_string());
        }
        let word = if *end == CommittableEnd::Committed { "committed" } else { "visible already" };
        self.screen.say(format!("{}  {what}", self.screen.paint(Style::Good, word)))
    }
}
