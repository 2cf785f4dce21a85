//! TLS, a login and access rules: what a run says and keeps holds no secret, and rights may come and go.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use e2e::http::{free_port, get};
use e2e::kafka::broker::{Listener, PASSWORD, POWERLESS, USER};
use e2e::kafka::judge::Rule;
use e2e::kafka::{Options, Version};
use e2e::stage::SLOW;
use onceward::child::{Child, Ended, Said};

use crate::stage::{Cluster, Shape, Stage};

const LOGIN: &str = ", tls: {ca: {secret: kafka-ca, key: ca.crt}}, sasl: {mechanism: SCRAM-SHA-512, \
                     username: {secret: kafka-user, key: username}, password: {secret: kafka-user, key: password}}";

fn secured() -> Result<Cluster> {
    Cluster::new(Version::Newest, &Options { is_secured: true, ..Options::default() })
}

/// A pipeline that logs in as `user`.
fn stage<'c>(cluster: &'c mut Cluster, shape: Shape, user: &str) -> Result<Stage<'c>> {
    let broker = cluster.broker()?;
    let address = broker.address_of(Listener::SaslTls)?;
    let authority = std::fs::read(&broker.certificates()?.authority)?;
    let stage = Stage::with_bootstrap(cluster, Shape { connection: LOGIN.to_owned(), ..shape }, &address)?;
    let secret = |name: &str, key: &str, value: &[u8]| -> Result<()> {
        let folder = stage.folder().join("secrets").join(name);
        std::fs::create_dir_all(&folder)?;
        Ok(std::fs::write(folder.join(key), value)?)
    };
    secret("kafka-ca", "ca.crt", &authority)?;
    secret("kafka-user", "username", user.as_bytes())?;
    secret("kafka-user", "password", PASSWORD.as_bytes())?;
    Ok(stage)
}

/// Of everything that the Secret holds.
fn has_canary(bytes: &[u8]) -> bool {
    let has = |word: &str| bytes.windows(word.len()).any(|window| window == word.as_bytes());
    has(PASSWORD) || has(USER)
}

/// Files below a folder, but for the secrets themselves; how many, and those that hold the canary.
fn search(folder: &Path, told: &mut Vec<String>) -> Result<usize> {
    let mut count = 0;
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            count += if path.ends_with("secrets") { 0 } else { search(&path, told)? };
        } else {
            count += 1;
            if has_canary(&std::fs::read(&path)?) {
                told.push(path.display().to_string());
            }
        }
    }
    Ok(count)
}

/// Everything at its most talkative: logs at TRACE, a panic with its backtrace, a kill, metrics, checkpoints.
#[test]
fn no_secret_is_in_anything_that_a_run_says_or_keeps() -> Result<()> {
    let mut cluster = secured()?;
    let stage = stage(&mut cluster, Shape::struck("canary"), USER)?;
    let talkative = |faults: &str, more: &[&str]| -> Result<Child> {
        let mut command = stage.run_command(faults, more);
        command.env("ONCEWARD_LOG", "trace").env("RUST_BACKTRACE", "full");
        Ok(Child::start(&mut command)?)
    };
    let clean = |ended: &Ended| {
        let told: Vec<_> = ended.lines().filter(|line| has_canary(line.as_bytes())).collect();
        ensure!(told.is_empty() && !has_canary(ended.describe().as_bytes()), "what the Secret holds is told: {told:?}");
        Ok(())
    };
    let panicked = talkative(&format!("kafka.flushed:2=panic,kafka.described:4=kill,{SLOW}"), &[])?.finish()?;
    ensure!(panicked.died_at("kafka.described", 4), "{}", panicked.describe());
    ensure!(panicked.describe().contains("injected panic at crash point `kafka.flushed`"), "nothing panicked");
    let talks = |line: &str| line.contains("DEBUG") || line.contains("TRACE");
    ensure!(panicked.lines().any(talks), "nothing is said beyond warnings: {}", panicked.describe());
    clean(&panicked)?;
    let address = free_port()?;
    let mut child = talkative(&format!("coordinator.decided:2=pause:2s,{SLOW}"), &["--metrics", &address.to_string()])?;
    child.wait_for(|said| *said == Said::Line("crashpoint coordinator.decided 2".to_owned()))?;
    let metrics = get(address, "/metrics")?.1;
    ensure!(metrics.contains("onceward_sink_records_total") && !has_canary(metrics.as_bytes()), "{metrics}");
    let ended = child.finish()?;
    ensure!(ended.code() == Some(0), "{}", ended.describe());
    clean(&ended)?;
    let mut told = vec![];
    ensure!(search(stage.folder(), &mut told)? > 5, "no checkpoints were searched");
    ensure!(told.is_empty(), "{told:?}");
    stage.assert_exact()
}

/// What the rules of a user without any may be about.
fn rule<'r>(principal: &'r str, resource: &'r str, pattern: &'r str, name: &'r str, operation: &'r str) -> Rule<'r> {
    Rule { principal, resource, pattern, name, operation }
}

/// Runs it until it ends with this word: an access rule reaches the broker a moment after it was made.
fn refused(stage: &Stage<'_>, word: &str) -> Result<Ended> {
    for _ in 0..50 {
        let ended = stage.run("", &[])?;
        let said = ended.describe();
        ensure!(ended.code() == Some(1), "{said}");
        if said.contains(word) {
            return Ok(ended);
        }
        std::thread::park_timeout(std::time::Duration::from_millis(100));
    }
    anyhow::bail!("`{word}` is never said")
}

/// Starts it until it is not refused, as [`refused`] does; it is behind its third decision.
fn accepted(stage: &Stage<'_>) -> Result<Child> {
    for _ in 0..50 {
        let mut child = stage.start(&format!("coordinator.decided:3=pause:1s,{SLOW}"), &[])?;
        if child.wait_for(|said| *said == Said::Line("crashpoint coordinator.decided 3".to_owned())).is_ok() {
            return Ok(child);
        }
    }
    anyhow::bail!("it is refused for ever")
}

#[test]
fn a_start_without_a_right_is_refused_and_a_right_that_is_withdrawn_is_waited_for() -> Result<()> {
    let mut cluster = secured()?;
    let shape = Shape::struck("rights");
    let stage = stage(&mut cluster, shape, POWERLESS)?;
    let principal = format!("User:{POWERLESS}");
    let topic = |operation| rule(&principal, "TOPIC", "LITERAL", "rights", operation);
    let ids = |operation| rule(&principal, "TRANSACTIONAL_ID", "PREFIXED", "onceward/", operation);
    refused(&stage, "may not see it")?;
    cluster_allow(&stage, &[topic("DESCRIBE")])?;
    refused(&stage, "no right to WRITE")?;
    cluster_allow(&stage, &[topic("WRITE")])?;
    refused(&stage, "no right to READ")?;
    cluster_allow(&stage, &[topic("READ")])?;
    refused(&stage, "no right to DESCRIBE transactional ids that begin with `onceward/`")?;
    cluster_allow(&stage, &[ids("DESCRIBE")])?;
    refused(&stage, "no right to WRITE transactional ids")?;
    cluster_allow(&stage, &[ids("WRITE")])?;
    let mut child = accepted(&stage)?;
    stage.cluster.judge.withdraw(&topic("WRITE"))?;
    child.wait_for(|said| said.is_event("attempt.failed"))?;
    cluster_allow(&stage, &[topic("WRITE")])?;
    let ended = child.finish()?;
    ensure!(ended.code() == Some(0), "{}", ended.describe());
    stage.assert_exact()
}

/// This user may write and not ask for the limit, so that whole requests are refused at first. Smaller ones show which record
/// is too large by itself: in requests of 1,000 bytes a large one is alone, then each.
#[test]
fn a_record_that_is_too_large_is_told_with_its_row_also_where_nobody_tells_the_limit() -> Result<()> {
    const REFUSED: &str = "max.message.bytes";
    let mut cluster = secured()?;
    let principal = format!("User:{POWERLESS}");
    for (name, limit, length, attempts) in [("untold", "2000", 5_000, 2), ("narrow", "400", 600, 3)] {
        let also = format!("repeat('x', CASE WHEN id = 7000 THEN {length} ELSE 1 END) AS text");
        let stage = stage(&mut cluster, Shape { rows: 10_000, also, ..Shape::new(name) }, POWERLESS)?;
        stage.cluster.judge.configure(name, &[("max.message.bytes", limit)])?;
        let topic = |operation| rule(&principal, "TOPIC", "LITERAL", name, operation);
        let ids = |operation| rule(&principal, "TRANSACTIONAL_ID", "PREFIXED", "onceward/", operation);
        cluster_allow(&stage, &[ids("DESCRIBE"), ids("WRITE")])?;
        cluster_allow(&stage, &[topic("DESCRIBE"), topic("WRITE"), topic("READ")])?;
        let ended = refused(&stage, "(source `numbers`, row 7000)")?;
        let said = ended.describe();
        let error = ended.lines().find(|line| line.starts_with("error:")).with_context(|| said.clone())?;
        for word in ["sink `out0`", "(source `numbers`, row 7000)", "too large"] {
            ensure!(error.to_lowercase().contains(word), "`{word}` is not in {error}");
        }
        let failed = ended.events("attempt.failed");
        let of_size = failed.iter().filter(|event| event["message"].to_string().contains(REFUSED)).count();
        ensure!(of_size + 1 == attempts, "{attempts} attempts, {of_size} of them for larger requests: {said}");
        ensure!(stage.cluster.judge.committed(name, 100_000)?.len() <= 7_000);
        // With the limit lifted, the run goes on where it stood, and nothing is missing or doubled.
        stage.cluster.judge.configure(name, &[("max.message.bytes", "100000")])?;
        let ended = stage.run("", &[])?;
        ensure!(ended.code() == Some(0), "{}", ended.describe());
        stage.assert_exact()?;
    }
    Ok(())
}

fn cluster_allow(stage: &Stage<'_>, rules: &[Rule<'_>]) -> Result<()> {
    rules.iter().try_for_each(|rule| stage.cluster.judge.allow(rule))
}
