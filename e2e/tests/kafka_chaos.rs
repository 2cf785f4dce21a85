//! From topic to topic under fire: `KILLS=` for another number of kills, `SEED=` to replay their moments.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::time::Duration;

use anyhow::{Result, ensure};
use e2e::chaos::{Plan, between_topics};
use e2e::seeds::seed;

const KILLS: u64 = 50;

#[test]
fn fifty_kills_of_worker_and_broker_lose_double_and_reorder_nothing() -> Result<()> {
    let kills = std::env::var("KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(KILLS);
    let plan = Plan { seed: seed("kafka_chaos", 4), kills, time: Duration::ZERO };
    let tally = between_topics(&plan)?;
    println!("missing 0, doubled 0, reordered 0: {tally:?}");
    ensure!(tally.worker_kills + tally.broker_kills >= kills && (kills < 5 || tally.broker_kills >= kills / 5));
    ensure!(tally.records > 0);
    Ok(())
}
