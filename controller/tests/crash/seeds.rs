//! Faults by chance: deaths, two controllers at once, lost and late watches, refusals, answers that are lost or wrong.

use std::collections::BTreeMap;

use crate::every_request::run;
use crate::scenarios;
use crate::trouble::{FATES, MOST_REQUESTS, Plan, Seed};

/// Of each scenario in turn.
const SEEDS: u64 = 1_000;
/// Failures that are told.
const MOST_TOLD: usize = 6;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

#[test]
fn whatever_befalls_requests_the_end_is_right() {
    let seeds = match number("SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SEEDS").unwrap_or(SEEDS),
    };
    let is_whole = seeds.end - seeds.start >= SEEDS;
    let scenarios = scenarios::all();
    let (mut struck, mut most): (BTreeMap<&str, u64>, u64) = (BTreeMap::new(), 0);
    let plans = seeds.end - seeds.start;
    let mut wrong = vec![];
    for seed in seeds {
        let scenario = &scenarios[(seed % scenarios.len() as u64) as usize];
        let lived = run(scenario, Plan::Seed(Seed::new(seed)), |world| {
            let requests = world.trouble.requests();
            assert!(requests <= MOST_REQUESTS, "SEED={seed}: {requests} requests:\n{}", world.told());
            most = most.max(requests);
            for (fate, times) in world.trouble.struck() {
                *struck.entry(fate).or_default() += times;
            }
        });
        wrong.extend(lived.err().map(|told| format!("SEED={seed} {told}")));
    }
    println!("{plans} plans, at most {most} requests each; faults: {struck:?}");
    let missing: Vec<_> = FATES.into_iter().chain(["lost report"]).filter(|fate| !struck.contains_key(fate)).collect();
    let told = wrong.iter().take(MOST_TOLD).cloned().collect::<Vec<_>>().join("\n\n");
    assert!(wrong.is_empty(), "{} of {plans} end otherwise:\n{told}", wrong.len());
    assert!(!is_whole || missing.is_empty(), "these never struck: {missing:?}");
}
