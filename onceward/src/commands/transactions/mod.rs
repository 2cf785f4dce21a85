//! `onceward transactions`: what is open in the brokers, whose it is, and ending it by hand.

mod abort;
mod commit;
mod show;

use std::sync::Arc;

use api::pipeline::Pipeline;
use runtime::clock::{SystemClock, SystemRandom};
use runtime::run::{RunError, assemble};
use runtime::secrets::Secrets;
use runtime::transactions::{self, Judged, Known, Tools};

use super::settle::{block_on, load};
use super::{DONE, Error, FAILED, REFUSED};
use crate::cli::{DescribeArgs, ListArgs, Output, Reach, TransactionsArgs, TransactionsCommand};
use crate::screen::{Screen, with_causes};

/// Carries out one of the four.
///
/// # Errors
/// What keeps it from starting at all, [`Error::Gone`].
pub fn execute(args: &TransactionsArgs, screen: Screen) -> Result<u8, Error> {
    let reach = match &args.command {
        TransactionsCommand::List(args) => &args.reach,
        TransactionsCommand::Describe(args) => &args.reach,
        TransactionsCommand::Commit(args) => &args.reach,
        TransactionsCommand::Abort(args) => &args.reach,
    };
    let Some(pipeline) = load(reach, screen) else { return Ok(REFUSED) };
    let place = match Place::of(pipeline, reach, screen) {
        Ok(place) => place,
        Err(error) => {
            screen.fault(with_causes(&error));
            return Ok(error.exit_code());
        }
    };
    block_on(async {
        match &args.command {
            TransactionsCommand::List(args) => place.list(args).await,
            TransactionsCommand::Describe(args) => place.describe(args).await,
            TransactionsCommand::Commit(args) => place.commit(args).await,
            TransactionsCommand::Abort(args) => place.abort(args).await,
        }
    })?
}

/// A pipeline, and how to reach what it writes to.
struct Place<'a> {
    pipeline: Pipeline,
    reach: &'a Reach,
    screen: Screen,
    tools: Tools,
}

impl<'a> Place<'a> {
    fn of(pipeline: Pipeline, reach: &'a Reach, screen: Screen) -> Result<Self, RunError> {
        let assembled = assemble(&pipeline, &Secrets::new(reach.secrets()))?;
        let store = assembled.store.open(Arc::new(SystemClock), Arc::new(SystemRandom));
        let store = store.map_err(|error| RunError::Refused { message: error.to_string() })?;
        let tools = Tools { setup: assembled.setup, store, clock: Arc::new(SystemClock) };
        Ok(Self { pipeline, reach, screen, tools })
    }

    async fn list(&self, args: &ListArgs) -> Result<u8, Error> {
        let listed = async {
            let known = self.tools.look().await?;
            let found = match (&args.prefix, &known) {
                (Some(prefix), known) => self.tools.list_prefix(known.as_ref(), prefix).await?,
                (None, Some(known)) => self.tools.list(known).await?,
                (None, None) => Vec::new(),
            };
            Ok((known, found))
        };
        match listed.await {
            Ok((known, found)) => self.show_list(known.as_ref(), &found),
            Err(error) => Ok(self.failed(&error)),
        }
    }

    fn show_list(&self, known: Option<&Known>, found: &[Judged]) -> Result<u8, Error> {
        if self.reach.output == Output::Json {
            for one in found {
                // Numbers, strings and enums: this cannot fail.
                self.screen.say(serde_json::to_string(one).unwrap_or_default())?;
            }
            return Ok(DONE);
        }
        if found.is_empty() {
            let why = if known.is_none() { ": this pipeline has never run" } else { "" };
            self.screen.say(format!("no open transactions{why}"))?;
        }
        for line in show::table(found, &self.reach.file, self.screen) {
            self.screen.say(line)?;
        }
        Ok(DONE)
    }

    async fn describe(&self, args: &DescribeArgs) -> Result<u8, Error> {
        let described = async {
            let known = self.tools.look().await?;
            self.tools.describe(known.as_ref(), &args.id).await
        };
        let described = match described.await {
            Ok(described) => described,
            Err(error) => return Ok(self.failed(&error)),
        };
        if described.transaction.is_none() && described.decided.is_empty() {
            self.screen.fault(format!("nobody knows a transaction `{}`", args.id));
            return Ok(FAILED);
        }
        if self.reach.output == Output::Json {
            self.screen.say(serde_json::to_string(&described).unwrap_or_default())?;
            return Ok(DONE);
        }
        for line in show::everything(&args.id, &described, &self.reach.file) {
            self.screen.say(line)?;
        }
        Ok(DONE)
    }

    fn failed(&self, error: &transactions::Error) -> u8 {
        self.screen.fault(with_causes(error));
        FAILED
    }
}
