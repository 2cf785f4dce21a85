//! `onceward transactions abort`: what nobody decided, after nobody can decide it any more; by force, what was decided.

use runtime::connectors::Phase;
use runtime::run::StartFrom;
use runtime::transactions::{self, AbortRefusal, Judged, Known, Plan, Standing, Wish};

use super::Place;
use crate::cli::AbortArgs;
use crate::commands::settle::Settle;
use crate::commands::{DONE, Error, FAILED, REFUSED};
use crate::screen::Style;

impl Place<'_> {
    pub(super) async fn abort(&self, args: &AbortArgs) -> Result<u8, Error> {
        let (known, found) = match self.named(args).await {
            Ok(named) => named,
            Err(error) => return Ok(self.failed(&error)),
        };
        let Some(known) = known else {
            self.screen.say("nothing is open: this pipeline has never run")?;
            return Ok(DONE);
        };
        let force = args.reason.clone().filter(|_| args.force);
        let plan = match known.plan_abort(&found, &Wish { fence: args.fence, force }) {
            Ok(plan) => plan,
            Err(refusal) => return Ok(self.refuse(&refusal)),
        };
        let start = match plan {
            Plan::Nothing => {
                self.screen.say("nothing of that is open")?;
                return Ok(DONE);
            }
            Plan::Undecided => StartFrom::CommitOnly { always: true },
            Plan::Force(force) => StartFrom::ForceAbort(force),
        };
        if known.may_be_running() {
            let attempt = known.newest_attempt();
            self.screen.doubt(format!("attempt {attempt} has not left by itself: if it is at work it is fenced now"));
        }
        let settle = Settle { start, secrets: self.reach.secrets(), timeout: args.timeout };
        let code = settle.run(self.pipeline.clone(), self.reach.output, self.screen).await?;
        if code != DONE {
            return Ok(code);
        }
        self.tell_what_became(&found).await
    }

    /// What is named, with what is known of it.
    async fn named(
        &self,
        args: &AbortArgs,
    ) -> Result<(Option<Known>, Vec<(String, Option<Judged>)>), transactions::Error> {
        let known = self.tools.look().await?;
        let mut found = Vec::new();
        if let (true, Some(known)) = (args.all, &known) {
            let undecided = self.tools.list(known).await?.into_iter();
            let undecided = undecided.filter(|judged| judged.standing == Standing::Undecided);
            found.extend(undecided.map(|judged| (judged.transaction.id.clone(), Some(judged))));
        }
        for id in &args.ids {
            found.push((id.clone(), self.tools.find(known.as_ref(), id).await?));
        }
        Ok((known, found))
    }

    /// A run that lived until it was fenced may have decided what was to be aborted: then it is visible.
    async fn tell_what_became(&self, found: &[(String, Option<Judged>)]) -> Result<u8, Error> {
        let mut code = DONE;
        for (id, before) in found {
            let now = match self.tools.find(None, id).await {
                Ok(now) => now,
                Err(error) => return Ok(self.failed(&error)),
            };
            let Some(now) = now.map(|now| now.transaction) else { continue };
            if now.phase == Phase::Open {
                self.screen
                    .fault(format!("`{id}` is open again: whoever opened it was not fenced in time; abort it again"));
                code = FAILED;
            } else if now.state.ends_with("Commit")
                && before.as_ref().is_some_and(|before| before.transaction.phase == Phase::Open)
            {
                self.screen
                    .doubt(format!("`{id}` is committed: a checkpoint decided it before the log was taken over"));
            } else {
                self.screen.tell(format!("{}  {id}", self.screen.paint_err(Style::Good, "aborted")));
            }
        }
        Ok(code)
    }

    fn refuse(&self, refusal: &AbortRefusal) -> u8 {
        self.screen.fault(refusal.to_string().replace(" FILE`", &format!(" {}`", self.reach.file.display())));
        REFUSED
    }
}
