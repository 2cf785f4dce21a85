//! Twenty at once, each with a client of its own: one wins, and the nineteen others learn who.

use std::sync::{Arc, Barrier};

use anyhow::{Context as _, Result, ensure};
use checkpoint::claim::{ClaimStep, Claiming, Depth};
use checkpoint::ids::{Attempt, LogIndex, Nonce, PipelineId, Slot};
use checkpoint::log::{Reply, Request};
use checkpoint::record::{Cause, Claim, Entry, Position, Record, Released};
use e2e::s3::{Bucket, Gateway};
use runtime::clock::SystemClock;
use runtime::coordinator::Log;

const RACERS: usize = 20;
const ROUNDS: u64 = 50;
const FIRST: Attempt = Attempt(1);

/// What one racer saw of one round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Saw {
    won: bool,
    /// Whose bytes it read where it had wanted to put its own.
    winner: Nonce,
}

fn nonce(round: u64, racer: usize) -> Nonce {
    Nonce(u128::from(round) * 1_000 + racer as u128)
}

/// Claims an empty log by the protocol; all racers have listed it before one of them creates.
async fn claim(log: &Log, own: Nonce, start: &Barrier) -> Result<Saw> {
    let claim = Claim { pipeline: PipelineId(1), cause: Cause::Start, nonce: own, sinks: vec![] };
    let (mut claiming, mut request) = Claiming::begin(Arc::new(claim), Depth::Newest);
    ensure!(request == Request::List, "a claim begins with a listing");
    let mut reply = log.carry_out(request).await?;
    start.wait();
    let won = loop {
        match claiming.step(reply) {
            ClaimStep::Ask(next) => request = next,
            ClaimStep::Claimed(claimed) => {
                ensure!(claimed.attempt() == FIRST, "another attempt than the first: {}", claimed.attempt());
                break true;
            }
            ClaimStep::Outrun { by } => {
                ensure!(by == FIRST, "outrun by {by}");
                break false;
            }
            ClaimStep::Refused(error) => return Err(error.into()),
        }
        reply = log.carry_out(request).await?;
    };
    let winner = log.claim(FIRST).await?.nonce;
    Ok(Saw { won, winner })
}

/// Appends at the first slot.
async fn append(log: &Log, own: Nonce, start: &Barrier) -> Result<Saw> {
    let at = Position { attempt: FIRST, slot: Slot(0) };
    let entry = Entry { nonce: own, record: Record::Released(Released::Stopped) };
    start.wait();
    let won = match log.carry_out(Request::CreateSlot(at, Arc::new(entry))).await? {
        Reply::Created => true,
        Reply::Exists => false,
        other => anyhow::bail!("{other:?}"),
    };
    let found = log.entry(at).await?.context("somebody has won")?;
    Ok(Saw { won, winner: found.nonce })
}

/// Every round of one racer: a claim, then an append.
fn race(bucket: &Bucket, racer: usize, start: &Barrier) -> Result<Vec<[Saw; 2]>> {
    let threads = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    threads.block_on(async {
        let store = bucket.open()?;
        let mut rounds = Vec::new();
        for round in 0..ROUNDS {
            let log = Log::new(Arc::clone(&store) as _, LogIndex(round), Arc::new(SystemClock));
            let own = nonce(round, racer);
            rounds.push([claim(&log, own, start).await?, append(&log, own, start).await?]);
        }
        Ok(rounds)
    })
}

#[test]
fn of_twenty_claimants_and_twenty_appenders_exactly_one_wins_and_the_others_learn_who() -> Result<()> {
    let gateway = Gateway::start()?;
    let bucket = Bucket::new(&gateway, "shop")?;
    let start = Barrier::new(RACERS);
    let racers: Vec<Vec<[Saw; 2]>> = std::thread::scope(|scope| {
        // One that fails would leave the others waiting: it ends the test as a whole.
        let run = |racer| race(&bucket, racer, &start).unwrap_or_else(|error| fail(racer, &error));
        let racers: Vec<_> = (0..RACERS).map(|racer| scope.spawn(move || run(racer))).collect();
        racers.into_iter().map(|racer| racer.join().unwrap()).collect()
    });
    for round in 0..ROUNDS {
        for kind in 0..2 {
            let saw: Vec<Saw> = racers.iter().map(|rounds| rounds[round as usize][kind]).collect();
            let won: Vec<usize> = (0..RACERS).filter(|racer| saw[*racer].won).collect();
            ensure!(won.len() == 1, "round {round}: {won:?} have won");
            let winner = nonce(round, won[0]);
            ensure!(
                saw.iter().all(|saw| saw.winner == winner),
                "round {round}: not all learned of {winner:?}: {saw:?}"
            );
        }
    }
    Ok(())
}

fn fail(racer: usize, error: &anyhow::Error) -> ! {
    let _ = std::io::Write::write_fmt(&mut std::io::stderr(), format_args!("racer {racer}: {error:#}\n"));
    std::process::abort()
}
