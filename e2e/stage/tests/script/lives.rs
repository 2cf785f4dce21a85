//! The same lives, both ways.

use anyhow::{Result, ensure};
use serde_json::Value;
use stage::inprocess::Verb;
use stage::script::{Death, Moment};

use crate::real::{Real, site};
use crate::scripted::Scripted;
use crate::seen::Seen;

fn paused<T>(life: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime").block_on(life)
}

fn epoch(report: &Value) -> u64 {
    report["checkpoints"]["newest"]["epoch"].as_u64().unwrap_or_default()
}

fn same(what: &str, real: &Seen, scripted: &Seen) -> Result<()> {
    ensure!(real == scripted, "{what}:\nreal:     {real:#?}\nscripted: {scripted:#?}");
    Ok(())
}

/// Killed behind a decision; then what is owed is committed, and then one goes on and is told to stop.
#[test]
#[ignore = "two differences are known: docs/controller.md"]
fn a_worker_that_is_killed_and_those_that_come_after_it() -> Result<()> {
    let site = site(60_000)?;
    let nothing = |_: &Value, _: &Real| Ok(());
    let real = [
        Real::start(&site, "none", "commit", "")?.watch(nothing)?,
        Real::start(&site, "killed", "run", "coordinator.decided:3=kill")?.watch(nothing)?,
        Real::start(&site, "commit", "commit", "")?.watch(nothing)?,
        stopped(Real::start(&site, "stopped", "run", "")?)?,
        stopped_early(Real::start(&site, "early", "run", "")?)?,
    ];
    let scripted = paused(async {
        let death = Death::killed(Moment::Decided(3));
        let world = Scripted::new(100, vec![None, Some(death), None, None, None]);
        let mut seen = vec![];
        for (name, purpose) in [("none", "commit"), ("killed", "run"), ("commit", "commit")] {
            seen.push(world.watch(&world.start(name, purpose), |_| {}).await?);
        }
        let pod = world.start("stopped", "run");
        let mut first = None;
        seen.push(
            world
                .watch(&pod, |report| {
                    if report["state"] == "Running" && epoch(report) > *first.get_or_insert(epoch(report)) + 1 {
                        let _ = world.server.write(Verb::Delete, &pod, Value::Null);
                    }
                })
                .await?,
        );
        let pod = world.start("early", "run");
        let told = |report: &Value| {
            if report["state"] == "Recovering" {
                let _ = world.server.write(Verb::Delete, &pod, Value::Null);
            }
        };
        seen.push(world.watch(&pod, told).await?);
        Ok::<_, anyhow::Error>(seen)
    })?;
    for ((real, scripted), what) in real.iter().zip(&scripted).zip(["none", "killed", "commit", "stopped", "early"]) {
        same(what, real, scripted)?;
    }
    ensure!(scripted.len() == real.len(), "{} lives", scripted.len());
    Ok(())
}

fn stopped(worker: Real) -> Result<Seen> {
    let (mut first, mut is_told) = (None, false);
    worker.watch(|report, worker| {
        if report["state"] == "Running" && epoch(report) > *first.get_or_insert(epoch(report)) + 1 && !is_told {
            is_told = true;
            worker.stop()?;
        }
        Ok(())
    })
}

fn stopped_early(worker: Real) -> Result<Seen> {
    let mut is_told = false;
    worker.watch(|report, worker| {
        if report["state"] == "Recovering" && !is_told {
            is_told = true;
            worker.stop()?;
        }
        Ok(())
    })
}

/// One reads all there is; who comes after it has nothing to do.
#[test]
#[ignore = "two differences are known: docs/controller.md"]
fn a_worker_that_comes_to_its_end_and_those_that_come_after_it() -> Result<()> {
    let site = site(2_500)?;
    let real: Result<Vec<Seen>> = [("first", "run"), ("again", "run"), ("commit", "commit")]
        .into_iter()
        .map(|(name, purpose)| Real::start(&site, name, purpose, "")?.watch(|_, _| Ok(())))
        .collect();
    let scripted = paused(async {
        let world = Scripted::new(4, vec![]);
        let mut seen = vec![];
        for (name, purpose) in [("first", "run"), ("again", "run"), ("commit", "commit")] {
            seen.push(world.watch(&world.start(name, purpose), |_| {}).await?);
        }
        Ok::<_, anyhow::Error>(seen)
    })?;
    for ((real, scripted), what) in real?.iter().zip(&scripted).zip(["first", "again", "commit"]) {
        same(what, real, scripted)?;
    }
    Ok(())
}

/// The second takes over from the first, which finds out.
#[test]
#[ignore = "two differences are known: docs/controller.md"]
fn a_worker_that_is_fenced() -> Result<()> {
    let site = site(60_000)?;
    let mut second = None;
    let first = Real::start(&site, "first", "run", "")?;
    let real = first.watch(|report, _| {
        if report["state"] == "Running" && epoch(report) > 2 && second.is_none() {
            second = Some(Real::start(&site, "second", "run", "")?);
        }
        Ok(())
    })?;
    drop(second);
    let scripted = paused(async {
        let world = Scripted::new(100, vec![]);
        let pod = world.start("first", "run");
        let mut is_second = false;
        world
            .watch(&pod, |report| {
                if report["state"] == "Running" && epoch(report) > 2 && !is_second {
                    is_second = true;
                    world.start("second", "run");
                }
            })
            .await
    })?;
    same("fenced", &real, &scripted)
}
