//! All faults together, dealt out by a seed: `MINUTES=` for how long, `SEED=` to have the same ones again.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use stage::cluster::NODES;

use crate::dice::Dice;
use crate::faults::{Fault, Strike, strike};
use crate::stand::{Stand, until};
use crate::stream::{BOTH, Stream, feed};
use crate::{Begin, say};

/// Unless `MINUTES` says otherwise.
const MINUTES: f64 = 5.0;
/// What lasts does so for so many seconds: a node is missed after 12.
const SHORTEST: usize = 3;
const LONGEST: usize = 18;

/// Says that it is enough, however what goes on meanwhile ends: whoever feeds would be waited for without end.
struct Told<'a>(&'a AtomicBool);

impl Drop for Told<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Counts of what was struck, by fault, and of processes that were killed while something lasted.
#[derive(Default)]
struct Tally {
    faults: BTreeMap<Fault, u64>,
    meanwhile: u64,
}

/// In the end every order and every sum is there once, and nothing is left of what has happened: no pod or process, no open
/// transaction, no hidden file.
pub(crate) fn chaos_loses_and_doubles_nothing(stand: &Stand) -> Result<()> {
    let minutes = std::env::var("MINUTES").ok().map_or(Ok(MINUTES), |minutes| minutes.parse())?;
    let mut stream = Stream::start(stand)?;
    let (address, enough) = (stream.broker.address(), AtomicBool::new(false));
    let (tally, count) = std::thread::scope(|scope| {
        let feeding = scope.spawn(|| feed(&address, &enough));
        let told = Told(&enough);
        let tally = befall(stand, &mut stream, minutes);
        drop(told);
        (tally, feeding.join().unwrap_or_else(|_| bail!("whoever feeds it panicked")))
    });
    let (tally, count) = (tally?, count?);
    until("no worker is left but one of each Pipeline", || Ok((processes(stand) == BOTH.len()).then_some(())))?;
    stream.end(stand, count)?;
    let sums = stream.assert_exact_and_tidy(count)?;
    ensure!(processes(stand) == 0, "a worker runs on");
    for name in BOTH {
        stand.forget(name)?;
    }
    let never: Vec<_> = Fault::ALL.into_iter().filter(|fault| !tally.faults.contains_key(fault)).collect();
    ensure!(never.is_empty() && tally.meanwhile > 0, "never struck: {never:?}; meanwhile: {}", tally.meanwhile);
    let all: u64 = tally.faults.values().sum();
    say(&format!("{all} faults: {:?}; meanwhile killed: {}", tally.faults, tally.meanwhile));
    say(&format!("{count} orders, {sums} sums: missing 0, doubled 0, nothing open, nothing left over"));
    Ok(())
}

/// For as long as it is asked to, and until each fault has struck.
fn befall(stand: &Stand, stream: &mut Stream, minutes: f64) -> Result<Tally> {
    let mut dice = Dice::of("chaos on a cluster", 1);
    let (begin, mut tally) = (Begin::now(), Tally::default());
    stream.until_both_go_on()?;
    while begin.seconds() < minutes * 60.0 || tally.faults.len() < Fault::ALL.len() {
        for next in deal(&mut dice) {
            let (begun, calm) = (begin.seconds(), dice.below(3) > 0);
            tally.meanwhile += strike(stand, stream, &next)?;
            *tally.faults.entry(next.fault).or_default() += 1;
            // One of three follows at once upon the one before.
            if calm || next.fault.lasts() {
                stream.until_both_go_on()?;
            }
            say(&format!("chaos: at {begun:.0} s {next:?}, over at {:.0} s", begin.seconds()));
            if begin.seconds() >= minutes * 60.0 && tally.faults.len() == Fault::ALL.len() {
                break;
            }
        }
    }
    Ok(tally)
}

/// Every fault once, in some order.
fn deal(dice: &mut Dice) -> Vec<Strike> {
    let mut deck = Fault::ALL.to_vec();
    let mut dealt = vec![];
    while !deck.is_empty() {
        let fault = deck.swap_remove(dice.below(deck.len()));
        let victim = *dice.one(&BOTH);
        let (seconds, other) = (SHORTEST + dice.below(LONGEST - SHORTEST + 1), dice.below(BOTH.len() + 1));
        let hold = Duration::from_secs(if fault.lasts() { seconds as u64 } else { 0 });
        let meanwhile = BOTH.get(other).copied().filter(|_| fault.lasts());
        dealt.push(Strike { fault, victim, hold, meanwhile });
    }
    dealt
}

/// How many processes of workers there are, whether anybody knows of their pods or not.
fn processes(stand: &Stand) -> usize {
    (1..=NODES).map(|node| stand.cluster.node(node).started_with("worker").len()).sum()
}
