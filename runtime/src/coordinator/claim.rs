//! Takes the log over: claim, seal everybody before, learn what was decided.

use std::sync::Arc;

use checkpoint::claim::{ClaimError, ClaimStep, Claimed, Claiming, Depth};
use checkpoint::ids::{Attempt, LogIndex, Nonce, PipelineId};
use checkpoint::log::{Listing, Reply, Request};
use checkpoint::paths;
use checkpoint::record::{Cause, Claim, SinkClaim};

use super::error::CoordinatorError;
use super::log::Log;
use super::{Context, Setup};
use crate::crashpoint;
use crate::run::RunEvent;
use crate::store::CheckpointStore;

/// The current log of a store path; 0 for an empty one.
///
/// # Errors
/// The store.
pub async fn current_log(context: &Context) -> Result<LogIndex, CoordinatorError> {
    newest_log(context.store.as_ref()).await
}

/// As [`current_log`], of a store.
///
/// # Errors
/// The store.
pub async fn newest_log(store: &dyn CheckpointStore) -> Result<LogIndex, CoordinatorError> {
    let names = store.list("").await?;
    Ok(paths::current_log(names.iter().map(String::as_str)).unwrap_or_default())
}

/// The attempt of another process that owns the log by now, if there is one.
///
/// # Errors
/// The store.
pub(super) async fn rival(context: &Context, log: &Log) -> Result<Option<Attempt>, CoordinatorError> {
    let (listing, _) = log.list().await?;
    let Some(attempt) = listing.highest_attempt() else { return Ok(None) };
    let nonce = log.claim(attempt).await?.nonce;
    Ok(context.progress.is_rival(log.index, attempt, nonce).then_some(attempt))
}

/// A won claim and what it was made with.
pub struct Won {
    pub claimed: Claimed,
    pub claim: Arc<Claim>,
    /// Claims of earlier attempts, newest first, back to the first that holds a decision.
    pub earlier: Vec<(Attempt, Claim)>,
}

/// Claims the next attempt of `log`, which must be of the pipeline `identity`, if there is one, and becomes its if it is
/// nobody's yet.
///
/// # Errors
/// [`CoordinatorError::Outrun`] when somebody else claims at the same time; a log that is damaged.
pub async fn claim(
    context: &Context,
    log: &Log,
    (cause, identity): (Cause, Option<PipelineId>),
    depth: Depth,
) -> Result<Won, CoordinatorError> {
    // The pipeline id comes from the log, so the claim is made from the listing that its number is made from: with any
    // newer attempt the create below finds its name taken.
    let listing = loop {
        if let Reply::Listed(listing) = log.carry_out(Request::List).await? {
            break listing;
        }
    };
    crashpoint::hit("claim.listed")?;
    let pipeline = match listing.highest_attempt() {
        Some(attempt) => {
            let newest = log.claim(attempt).await?;
            if context.progress.is_rival(log.index, attempt, newest.nonce) {
                // Between two attempts of this process another one has taken over: claiming again would fence it.
                return Err(CoordinatorError::Fenced { by: attempt });
            }
            if identity.is_some_and(|identity| identity != newest.pipeline) {
                // Another pipeline has begun the log since it was looked at.
                return Err(CoordinatorError::Outrun { by: attempt });
            }
            newest.pipeline
        }
        None => identity.unwrap_or_else(|| PipelineId(context.random.u128())),
    };
    let nonce = Nonce(context.random.u128());
    context.progress.tries_claim(nonce);
    let claim = Arc::new(Claim { pipeline, cause, nonce, sinks: sink_claims(&context.setup) });
    let claimed = drive(log, Arc::clone(&claim), depth, &listing).await?;
    let attempt = claimed.attempt();
    context.progress.won_claim(log.index, attempt);
    crashpoint::hit("claim.finished")?;
    context.observer.event(RunEvent::Claimed { pipeline_id: pipeline, log: log.index, attempt });
    let earlier = earlier_claims(log, &listing, &claimed).await?;
    Ok(Won { claimed, claim, earlier })
}

async fn drive(log: &Log, claim: Arc<Claim>, depth: Depth, listing: &Listing) -> Result<Claimed, CoordinatorError> {
    let (mut claiming, mut request) = Claiming::begin(claim, depth);
    let mut reply = Some(Reply::Listed(listing.clone()));
    // Ends: sealing one attempt is repeated only if that attempt has appended in between.
    loop {
        let is_seal = matches!(request, Request::CreateSlot(..));
        let is_claim = matches!(request, Request::CreateClaim(..));
        if is_seal {
            crashpoint::hit("claim.before_seal")?;
        }
        let answer = match reply.take() {
            Some(listed) => listed,
            None => log.carry_out(request).await?,
        };
        if answer == Reply::Created {
            if is_claim {
                crashpoint::hit("claim.created")?;
            } else if is_seal {
                crashpoint::hit("claim.sealed")?;
            }
        }
        match claiming.step(answer) {
            ClaimStep::Ask(next) => request = next,
            ClaimStep::Claimed(claimed) => return Ok(claimed),
            ClaimStep::Outrun { by } => return Err(CoordinatorError::Outrun { by }),
            ClaimStep::Refused(ClaimError::Missing { at }) => {
                let reason = "record is missing although nothing newer allows its deletion: the store lost data";
                return Err(log.corrupt(&paths::record(log.index, at), reason));
            }
            ClaimStep::Refused(error @ ClaimError::UnexpectedReply) => {
                return Err(log.corrupt(&paths::attempts(log.index), &error.to_string()));
            }
        }
    }
}

/// Sinks whose leftovers may still be open: of attempts that nobody is known to have cleaned up after. The attempt of
/// the newest decision had aborted all before it, unless it is one that decided while it recovered.
async fn earlier_claims(
    log: &Log,
    listing: &Listing,
    claimed: &Claimed,
) -> Result<Vec<(Attempt, Claim)>, CoordinatorError> {
    let oldest = claimed.newest().map(|(at, _)| at.attempt);
    let mut claims = Vec::new();
    for (attempt, _) in listing.attempts.iter().rev().filter(|(attempt, _)| *attempt < claimed.attempt()) {
        claims.push((*attempt, log.claim(*attempt).await?));
        if oldest.is_some_and(|oldest| *attempt < oldest) {
            break;
        }
    }
    Ok(claims)
}

fn sink_claims(setup: &Setup) -> Vec<SinkClaim> {
    setup
        .sinks
        .iter()
        .map(|(name, sink)| {
            let (prefix, slots) = sink.transactional_ids().map_or((None, 0), |(prefix, slots)| (Some(prefix), slots));
            SinkClaim {
                name: name.clone(),
                kind: sink.kind().to_owned(),
                target: sink.target(),
                prefix,
                writers: setup.parallelism,
                slots,
            }
        })
        .collect()
}
