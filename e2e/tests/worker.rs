//! `onceward worker`, the shipped binary: what it tells at `/state` while it lives and leaves behind when it ends, and
//! whose log it takes.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use e2e::generated::{Generated, Source};
use e2e::http::{free_port, get};
use e2e::site::{SLOW, Site};
use e2e::stage::Stage;
use onceward::child::{Child, Ended, Said};
use onceward::workload::Workload;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

const LOOK: Duration = Duration::from_millis(10);
/// A worker that has not come where it should be after so many looks is taken for stuck.
const MOST_LOOKS: u32 = 6_000;
const A: &str = "1f0e5b0a-6f4a-4f0f-9c57-3a1f6b1d2c3e";
const B: &str = "2f0e5b0a6f4a4f0f9c573a1f6b1d2c3e";

/// A worker and where it can be asked.
struct Worker {
    child: Child,
    address: SocketAddr,
    left: PathBuf,
}

/// How it ended, and what it has left behind.
struct Left {
    ended: Ended,
    report: Value,
}

impl Worker {
    fn start(site: &Site, faults: &str, more: &[&str]) -> Result<Self> {
        let (address, left) = (free_port()?, site.folder().join("termination-log"));
        std::fs::write(&left, "")?;
        let mut command = site.command(&["worker", "--configuration", "c0ffee"], faults);
        command.arg("--pipeline").arg(&site.manifest).arg("--termination-log").arg(&left);
        command.args(["--listen", &address.to_string()]).args(more);
        Ok(Self { child: Child::start(&mut command)?, address, left })
    }

    /// What it tells of itself; `None` while it does not listen yet, or no more.
    fn state(&self) -> Result<Option<Value>> {
        match get(self.address, "/state") {
            Ok((head, body)) => {
                ensure!(head.starts_with("HTTP/1.1 200") && head.contains("application/json"), "{head}");
                Ok(Some(serde_json::from_str(&body)?))
            }
            Err(_) => Ok(None),
        }
    }

    /// The first report that is as wanted.
    fn wait_until(&self, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
        let mut last = None;
        for _ in 0..MOST_LOOKS {
            if let Some(state) = self.state()? {
                if wanted(&state) {
                    return Ok(state);
                }
                last = Some(state);
            }
            ensure!(self.child.outlives(LOOK), "it ended before it told that; last it told {last:?}");
        }
        anyhow::bail!("it never told that; last it told {last:?}")
    }

    /// Every report until it ends.
    fn watch(&self) -> Result<Vec<Value>> {
        let mut told = vec![];
        for _ in 0..MOST_LOOKS {
            told.extend(self.state()?);
            if !self.child.outlives(LOOK) {
                return Ok(told);
            }
        }
        anyhow::bail!("it does not end")
    }

    fn tell(&self, signal: Signal) -> Result<()> {
        Ok(kill_process(Pid::from_raw(self.child.id().cast_signed()).context("a child has an id")?, signal)?)
    }

    fn finish(self) -> Result<Left> {
        let ended = self.child.finish()?;
        let text = std::fs::read_to_string(&self.left)?;
        ensure!(text.len() < 4_096 && text.lines().count() <= 1, "{text}");
        let report = if text.is_empty() { Value::Null } else { serde_json::from_str(&text)? };
        Ok(Left { ended, report })
    }
}

impl Left {
    fn assert(&self, code: i32, state: &str) -> Result<&Value> {
        ensure!(self.ended.code() == Some(code), "not exit code {code}: {}\n{}", self.report, self.ended.describe());
        ensure!(self.report["state"] == state, "not {state}: {}", self.report);
        Ok(&self.report)
    }
}

/// Runs to the end, which must be at a step where it is killed.
fn dies_at(site: &Site, step: &str, nth: u64, more: &[&str]) -> Result<()> {
    let left = Worker::start(site, &format!("{step}:{nth}=kill,{SLOW}"), more)?.finish()?;
    ensure!(left.ended.died_at(step, nth), "it did not die at {step}:{nth}: {}", left.ended.describe());
    ensure!(left.report == Value::Null, "it had no time for last words");
    Ok(())
}

fn runs_well(site: &Site, more: &[&str]) -> Result<Value> {
    let left = Worker::start(site, "", more)?.finish()?;
    Ok(left.assert(0, "Finished")?.clone())
}

/// Two sources that take a few seconds, three sinks.
fn generated() -> Generated {
    let web = Source { seed: 3, rows: 40_000, step_ms: 7, rows_per_second: Some(20_000) };
    let shop = Source { seed: 4, rows: 30_000, step_ms: 11, rows_per_second: None };
    Generated { web, shop, parallelism: 2 }
}

fn handle(checkpoint: &Value) -> &Value {
    &checkpoint["handle"]
}

fn pending(report: &Value) -> u64 {
    let entries = report["pendingCommits"].as_array().into_iter().flatten();
    entries.map(|entry| entry["committables"].as_u64().unwrap_or_default()).sum()
}

#[test]
fn a_worker_tells_of_itself_from_its_start_to_its_end() -> Result<()> {
    let generated = generated();
    let site = generated.site()?;
    let slow_commit = "coordinator.before_commit:3=pause:300ms";
    let faults = format!("claim.listed=pause:700ms,recovery.before_deploy=pause:700ms,{slow_commit}");
    let worker = Worker::start(&site, &faults, &["--identity", A])?;
    let told = worker.watch()?;
    let mut states: Vec<&Value> = told.iter().map(|report| &report["state"]).collect();
    states.dedup();
    ensure!(states.starts_with(&[&"Starting".into(), &"Recovering".into(), &"Running".into()]), "{states:?}");
    ensure!(told[0]["log"].is_null(), "nothing is claimed or read: {}", told[0]);

    let newest = |report: &Value| report["checkpoints"]["newest"].clone();
    let running: Vec<&Value> = told.iter().filter(|report| report["state"] == "Running").collect();
    let mut epochs: Vec<u64> = running.iter().filter_map(|report| newest(report)["epoch"].as_u64()).collect();
    ensure!(epochs.is_sorted() && epochs.len() == running.len(), "{epochs:?}");
    epochs.dedup();
    ensure!(epochs.len() > 4, "too few epochs were seen: {epochs:?}");
    for report in &running {
        let (log, handle) = (&report["log"], newest(report)["handle"].clone());
        ensure!(log["pipelineId"] == A.replace('-', "") && log["log"] == 0 && log["attempt"] == 1, "{report}");
        let ends = format!("/0/attempts/1/{}", log["slot"]);
        ensure!(handle.as_str().is_some_and(|handle| handle.ends_with(&ends)), "{report}");
        ensure!(newest(report)["timeMs"].as_u64() > Some(1_700_000_000_000), "{report}");
        ensure!((&report["parallelism"], &report["configuration"]) == (&2.into(), &"c0ffee".into()), "{report}");
    }
    ensure!(told.iter().any(|report| pending(report) > 0), "no pending commit was ever seen");

    let left = worker.finish()?;
    let report = left.assert(0, "Finished")?;
    ensure!(handle(&newest(report)) == handle(&site.checkpoints()?[0]), "{report}");
    ensure!((pending(report), &report["attempts"]["failed"]) == (0, &0.into()), "{report}");
    ensure!(report["version"] == env!("CARGO_PKG_VERSION") && report["checkpoints"]["restoredFrom"].is_null());
    for line in left.ended.lines().filter(|line| !line.starts_with("crashpoint ")) {
        let line: Value = serde_json::from_str(line).with_context(|| format!("no object: {line}"))?;
        ensure!(line["level"].is_string() && line["message"].is_string() && line["timestampMs"].is_u64(), "{line}");
    }
    generated.assert_exact(&site)
}

#[test]
fn one_that_was_killed_tells_what_it_goes_on_from_and_how_often_it_failed() -> Result<()> {
    let generated = generated();
    let site = generated.site()?;
    let identity = ["--identity", A];
    dies_at(&site, "coordinator.decided", 4, &identity)?;
    let newest = site.checkpoints()?[0].clone();
    let faults = format!("recovery.before_commit=pause:700ms,coordinator.before_decide:3=error,{SLOW}");
    let worker = Worker::start(&site, &faults, &identity)?;
    let owes = worker.wait_until(|report| report["state"] == "Recovering" && pending(report) > 0)?;
    for entry in owes["pendingCommits"].as_array().context("a list")? {
        ensure!((&entry["attempt"], &entry["epoch"]) == (&newest["attempt"], &newest["epoch"]), "{owes}");
        ensure!(["copy", "totals", "visits"].contains(&entry["sink"].as_str().unwrap_or_default()), "{owes}");
    }
    let running = worker.wait_until(|report| report["state"] == "Running")?;
    let from = &running["checkpoints"]["restoredFrom"];
    ensure!(handle(from) == handle(&newest) && from["attempt"] == 1 && from["epoch"] == newest["epoch"], "{running}");
    ensure!(running["log"]["attempt"] == 2 && pending(&running) == 0, "{running}");
    let again = worker.wait_until(|report| report["attempts"]["failed"] == 1)?;
    ensure!(again["attempts"]["counted"] == 1, "{again}");
    let reason = again["attempts"]["lastReason"].as_str().unwrap_or_default();
    ensure!(reason.contains("coordinator.before_decide"), "{again}");
    let left = worker.finish()?;
    let report = left.assert(0, "Finished")?;
    ensure!(report["log"]["attempt"] == 3 && report["attempts"]["failed"] == 1, "{report}");
    generated.assert_exact(&site)
}

#[test]
fn one_that_is_told_to_stop_leaves_the_handle_of_its_last_checkpoint() -> Result<()> {
    let generated = generated();
    let site = generated.site()?;
    let worker = Worker::start(&site, SLOW, &["--identity", A])?;
    worker.wait_until(|report| report["checkpoints"]["newest"]["epoch"].as_u64() > Some(2))?;
    worker.tell(Signal::TERM)?;
    let left = worker.finish()?;
    let report = left.assert(0, "Stopped")?;
    ensure!(handle(&report["checkpoints"]["newest"]) == handle(&site.checkpoints()?[0]), "{report}");
    ensure!(pending(report) == 0, "{report}");

    let mut worker = Worker::start(&site, &format!("coordinator.stopping=pause:600s,{SLOW}"), &["--identity", A])?;
    worker.wait_until(|report| report["state"] == "Running")?;
    worker.tell(Signal::TERM)?;
    worker.child.wait_for(|said| *said == Said::Line("crashpoint coordinator.stopping 1".to_owned()))?;
    worker.tell(Signal::TERM)?;
    let left = worker.finish()?;
    ensure!(left.assert(143, "StoppedUndecided")?["reason"] == "Interrupted", "{}", left.report);
    runs_well(&site, &["--identity", A])?;
    generated.assert_exact(&site)
}

#[test]
fn one_that_cannot_run_says_why_in_its_last_words() -> Result<()> {
    let site = generated().site()?;
    let says = |left: Left, code, state: &str, reason: &str, words: &str| -> Result<()> {
        let report = left.assert(code, state)?;
        ensure!(report["reason"] == reason, "{report}");
        ensure!(report["message"].as_str().is_some_and(|message| message.contains(words)), "{report}");
        Ok(())
    };
    let panicked = Worker::start(&site, "claim.listed=panic", &[])?.finish()?;
    says(panicked, 1, "Failed", "Panic", "claim.listed")?;
    let taken = std::net::TcpListener::bind(("127.0.0.1", 0))?;
    let address = taken.local_addr()?.to_string();
    let left = site.folder().join("left");
    let mut command = site.command(&["worker", "--listen", &address], "");
    command.arg("--pipeline").arg(&site.manifest).arg("--termination-log").arg(&left);
    let ended = Child::start(&mut command)?.finish()?;
    let report = serde_json::from_str(&std::fs::read_to_string(&left)?)?;
    says(Left { ended, report }, 1, "Failed", "Metrics", &address)?;

    let nowhere = site.folder().join("no/where");
    let mut command = site.command(&["worker"], "");
    command.arg("--pipeline").arg(&site.manifest).arg("--termination-log").arg(&nowhere);
    let ended = Child::start(&mut command)?.finish()?;
    ensure!(ended.code() == Some(0), "{}", ended.describe());
    let warned = |line: &str| line.contains("WARN") && line.contains("no/where");
    ensure!(ended.lines().any(warned), "{}", ended.describe());

    site.edit_manifest("input: per_visit", "input: per_visitor")?;
    says(Worker::start(&site, "", &[])?.finish()?, 2, "Refused", "Refused", "spec.sinks")?;
    std::fs::remove_file(&site.manifest)?;
    says(Worker::start(&site, "", &[])?.finish()?, 2, "Refused", "Refused", "pipeline.yaml")
}

#[test]
fn a_log_that_ends_before_the_floor_is_refused_unless_that_is_accepted() -> Result<()> {
    let stage = Stage::new(Workload { seed: 81, records: 30_000, customers: 800, ..Workload::default() })?;
    let identity = ["--identity", A];
    dies_at(&stage, "coordinator.all_committed", 4, &identity)?;
    let log = stage.log()?;
    let floor = format!("{A}/1/77");
    let with_floor = [&identity[..], &["--floor", &floor]].concat();
    let left = Worker::start(&stage, "", &with_floor)?.finish()?;
    let report = left.assert(1, "Failed")?;
    ensure!(report["reason"] == "CorruptCheckpoint", "{report}");
    let message = report["message"].as_str().unwrap_or_default();
    ensure!(message.contains("1/77") && message.contains("--accept-rewind"), "{report}");
    ensure!(handle(&report["checkpoints"]["newest"]) == handle(&stage.checkpoints()?[0]), "{report}");
    ensure!(stage.log()? == log, "a refused start left a trace in the log");
    runs_well(&stage, &[&with_floor[..], &["--accept-rewind"]].concat())?;
    stage.assert_exact_and_tidy().map(drop)
}

#[test]
fn one_that_only_commits_makes_what_was_decided_visible_and_tells_of_the_log_either_way() -> Result<()> {
    let stage = Stage::new(Workload { seed: 82, records: 30_000, customers: 800, ..Workload::default() })?;
    let identity = ["--identity", A];
    let commit = ["--identity", A, "--purpose", "commit"];
    let left = Worker::start(&stage, "", &commit)?.finish()?;
    ensure!(left.assert(0, "Settled")?["log"].is_null(), "there is no log: {}", left.report);

    dies_at(&stage, "coordinator.decided", 4, &identity)?;
    let newest = stage.checkpoints()?[0].clone();
    ensure!(newest["settled"] == false, "nothing is owed");
    let worker = Worker::start(&stage, "recovery.before_commit=pause:700ms", &commit)?;
    let owes = worker.wait_until(|report| pending(report) > 0)?;
    ensure!(owes["pendingCommits"][0]["epoch"] == newest["epoch"], "{owes}");
    let left = worker.finish()?;
    let report = left.assert(0, "Settled")?;
    ensure!(pending(report) == 0 && report["log"]["attempt"] == 2, "{report}");
    ensure!(handle(&report["checkpoints"]["newest"]) == handle(&newest), "{report}");
    ensure!(stage.checkpoints()?[0]["settled"] == true, "the log does not say so");
    stage.assert_all_decided_is_visible()?;

    let left = Worker::start(&stage, "", &commit)?.finish()?;
    let report = left.assert(0, "Settled")?;
    ensure!(report["log"]["attempt"] == 3, "it takes the log over whatever it says: {report}");
    ensure!(handle(&report["checkpoints"]["newest"]) == handle(&newest), "{report}");
    runs_well(&stage, &identity)?;
    stage.assert_exact_and_tidy().map(drop)
}

/// Objects that hold state.
fn parts(site: &Site) -> Result<usize> {
    Ok(site.log()?.keys().filter(|name| name.contains("/parts/")).count())
}

#[test]
fn one_that_deletes_checkpoints_commits_first_and_leaves_the_log_wherever_it_dies() -> Result<()> {
    let stage = Stage::new(Workload { seed: 83, records: 30_000, customers: 800, ..Workload::default() })?;
    let delete = ["--identity", A, "--purpose", "delete", "--claimed", "1"];
    dies_at(&stage, "coordinator.decided", 4, &["--identity", A])?;
    let newest = stage.checkpoints()?[0].clone();
    ensure!(newest["settled"] == false && parts(&stage)? > 0, "nothing is owed, or there is no state: {newest}");
    // Whoever is to delete must know of everybody who has run, and whose log it is.
    let log = stage.log()?;
    for foreign in [
        ["--identity", A, "--purpose", "delete", "--claimed", "0"],
        ["--identity", B, "--purpose", "delete", "--claimed", "1"],
    ] {
        let left = Worker::start(&stage, "", &foreign)?.finish()?;
        ensure!(
            left.assert(3, "Fenced")?["message"].to_string().contains("nothing of it is deleted"),
            "{}",
            left.report
        );
        ensure!(stage.log()? == log, "it left a trace");
    }
    dies_at(&stage, "recovery.before_commit", 1, &delete)?;
    let before = parts(&stage)?;
    dies_at(&stage, "coordinator.before_retention", 1, &delete)?;
    stage.assert_all_decided_is_visible()?;
    ensure!(parts(&stage)? == before, "deleted before it came to that");
    dies_at(&stage, "coordinator.retention_begun", 1, &delete)?;

    for _ in 0..2 {
        let left = Worker::start(&stage, "", &delete)?.finish()?;
        let report = left.assert(0, "Settled")?;
        ensure!(handle(&report["checkpoints"]["newest"]) == handle(&newest), "the log tells no more: {report}");
        ensure!(parts(&stage)? == 0, "state is left");
    }
    ensure!(handle(&stage.checkpoints()?[0]) == handle(&newest), "what was decided can still be read");
    stage.assert_all_decided_is_visible()?;
    // Nobody goes on with it, whether it is asked for by its id or by its handle.
    let log = stage.log()?;
    let left = Worker::start(&stage, "", &["--identity", A])?.finish()?;
    ensure!(left.assert(3, "Fenced")?["message"].to_string().contains("handed over"), "{}", left.report);
    let handle = handle(&newest).as_str().context("a handle")?.to_owned();
    Worker::start(&stage, "", &["--identity", B, "--restore", &handle])?.finish()?.assert(2, "Refused")?;
    ensure!(stage.log()? == log, "it left a trace");
    stage.assert_all_decided_is_visible()
}

/// Pipeline ids of the claims, by name.
fn claims(site: &Site) -> Result<Vec<(String, String)>> {
    let claims = site.log()?.into_iter().filter(|(name, _)| name.ends_with("/claim"));
    let id = |body: &[u8]| -> Result<String> {
        let claim: Value = serde_json::from_slice(body)?;
        Ok(claim["content"]["pipeline"].as_str().context("an id")?.to_owned())
    };
    claims.map(|(name, body)| Ok((name, id(&body)?))).collect()
}

#[test]
fn the_log_of_a_first_start_that_nobody_heard_of_is_gone_on_with() -> Result<()> {
    let stage = Stage::new(Workload { seed: 83, records: 30_000, ..Workload::default() })?;
    let identity = ["--identity", A];
    dies_at(&stage, "claim.created", 1, &identity)?;
    let report = runs_well(&stage, &identity)?;
    ensure!(report["log"]["attempt"] == 2 && report["log"]["log"] == 0, "{report}");
    let id = A.replace('-', "");
    let expected = [1, 2].map(|attempt| (format!("0/attempts/{attempt}/claim"), id.clone()));
    ensure!(claims(&stage)? == expected, "{:?}", claims(&stage)?);
    stage.assert_exact_and_tidy().map(drop)
}

#[test]
fn a_log_of_another_identity_is_finished_with_and_nothing_of_it_is_lost_or_doubled() -> Result<()> {
    // The second start dies at each of these; then a third one goes on.
    for (step, nth) in [("claim.created", 1), ("recovery.committed", 1), ("recovery.appended", 2), ("claim.created", 2)]
    {
        let stage = Stage::new(Workload { seed: 84, records: 30_000, customers: 800, ..Workload::default() })?;
        let (first, second) = (["--identity", A], ["--identity", B]);
        dies_at(&stage, "coordinator.decided", 4, &first)?;
        let decided = stage.checkpoints()?[0]["rowsOut"].as_u64().context("rows")?;
        dies_at(&stage, step, nth, &second).with_context(|| format!("{step}:{nth}"))?;
        let report = runs_well(&stage, &second)?;
        ensure!(report["log"]["pipelineId"] == B && report["log"]["log"] == 1, "{report}");
        stage.assert_all_decided_is_visible()?;

        let log = stage.log()?;
        let left = Worker::start(&stage, "", &first)?.finish()?;
        ensure!(left.assert(3, "Fenced")?["reason"] == "Fenced", "{}", left.report);
        ensure!(stage.log()? == log, "one that was fenced left a trace");

        let (mut rows, old) = (0, format!("-{}-", A.replace('-', "")));
        for (path, bytes) in stage.visible()? {
            if path.to_string_lossy().contains(&old) {
                rows += String::from_utf8(bytes)?.lines().count() as u64;
                std::fs::remove_file(path)?;
            }
        }
        ensure!(rows == decided, "{step}:{nth}: {rows} rows of before are visible, not {decided}");
        stage.assert_exact_and_tidy().with_context(|| format!("{step}:{nth}"))?;
    }
    Ok(())
}
