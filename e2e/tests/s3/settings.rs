//! Starts with something wrong: what is told, with which exit code, and never a secret.

use std::fs;
use std::path::Path;

use anyhow::{Result, ensure};
use e2e::s3::gateway::{ACCESS_KEY_ID, SECRET_ACCESS_KEY};
use e2e::s3::{Bucket, Fault, Gateway, Proxy};
use e2e::stage::{SLOW, Stage};
use onceward::checker::expected::Window;
use onceward::child::{Child, Ended};
use onceward::workload::Workload;

use crate::whole::stage;

fn canaries(text: &[u8]) -> bool {
    [ACCESS_KEY_ID, SECRET_ACCESS_KEY]
        .iter()
        .any(|canary| text.windows(canary.len()).any(|window| window == canary.as_bytes()))
}

fn told(ended: &Ended) -> Result<()> {
    ensure!(!canaries(ended.describe().as_bytes()), "a secret is told: {}", ended.describe());
    Ok(())
}

#[test]
fn wrong_credentials_and_missing_buckets_are_told_with_the_fix_and_no_secret() -> Result<()> {
    let gateway = Gateway::start()?;
    let bucket = Bucket::new(&gateway, "shop")?;
    let wrong_secret = Bucket { secret_access_key: format!("{SECRET_ACCESS_KEY}-wrong"), ..bucket.clone() };
    let wrong_id = Bucket { access_key_id: format!("{ACCESS_KEY_ID}-wrong"), ..bucket.clone() };
    let missing = Bucket { name: "shop-2".to_owned(), ..bucket.clone() };
    for (bucket, fix) in [
        (&wrong_secret, "check `accessKeyId` and `secretAccessKey`"),
        (&wrong_id, "check `accessKeyId` and `secretAccessKey`"),
        (&missing, "create the bucket"),
    ] {
        let stage = stage(31, bucket)?;
        told(&stage.run_fails(&[], 1, &["s3://", fix])?)?;
        let listed = stage.command(&["checkpoints"], "").arg(&stage.manifest).output()?;
        let said = String::from_utf8_lossy(&listed.stderr).into_owned();
        ensure!(listed.status.code() == Some(1) && said.contains(fix) && !canaries(&listed.stderr), "{said}");
        ensure!(!stage.state.exists(), "something was written");
    }
    Ok(())
}

#[test]
fn settings_that_lack_something_are_refused_by_their_field() -> Result<()> {
    let gateway = Gateway::start()?;
    let stage = stage(32, &Bucket::new(&gateway, "shop")?)?;
    fs::remove_file(stage.folder().join("secrets/s3/secret"))?;
    stage.run_fails(&[], 2, &["spec.checkpoint.storage.s3.credentials.secretAccessKey", "s3/secret is missing"])?;
    let amazon = stage.folder().join("amazon.yaml");
    let text =
        fs::read_to_string(&stage.manifest)?.replace(&format!("endpoint: \"http://{}\", ", gateway.address()), "");
    fs::write(&amazon, text)?;
    fs::write(stage.folder().join("secrets/s3/secret"), "x")?;
    let mut command = stage.command(&["run"], "");
    command.arg(&amazon).args(["--output", "json"]).env_remove("AWS_REGION").env_remove("AWS_DEFAULT_REGION");
    let ended = Child::start(&mut command)?.finish()?;
    let said = "spec.checkpoint.storage.s3.region is absent, and AWS_REGION is not set";
    ensure!(ended.code() == Some(2) && ended.lines().any(|line| line.contains(said)), "{}", ended.describe());
    Ok(())
}

#[test]
fn a_server_that_is_away_at_the_start_is_waited_for_as_the_restart_policy_says() -> Result<()> {
    let mut gateway = Gateway::start()?;
    let stage = stage(33, &Bucket::new(&gateway, "shop")?)?;
    gateway.kill()?;
    let ended = stage.run_fails(&["--set", "restartPolicy={never: {}}"], 1, &["s3://shop/", "no answer", "refused"])?;
    told(&ended)?;
    let mut waits = stage.start("", &[])?;
    waits.wait_for(|said| said.is_event("attempt.failed"))?;
    gateway.start_again()?;
    let ended = waits.finish()?;
    ensure!(ended.code() == Some(0), "{}", ended.describe());
    stage.assert_exact_and_tidy()?;
    Ok(())
}

#[test]
fn a_store_behind_tls_is_trusted_by_the_authority_that_is_named_and_by_no_other() -> Result<()> {
    let gateway = Gateway::start_tls()?;
    let bucket = Bucket::new(&gateway, "shop")?;
    let foreign = gateway.certificates().map(|certificates| certificates.foreign_authority.clone());
    for ca in [None, foreign] {
        let stage = stage(38, &Bucket { ca, ..bucket.clone() })?;
        let fix = "certificate is not trusted: name its authority in `spec.checkpoint.storage.s3.ca`";
        told(&stage.run_fails(&[], 1, &["s3://shop/", fix])?)?;
        ensure!(!stage.state.exists(), "something was written");
    }
    let stage = stage(38, &bucket)?;
    stage.crash_at("coordinator.all_committed", 2, &[])?;
    stage.run_well()?;
    stage.assert_exact_and_tidy()?;
    Ok(())
}

#[test]
fn a_run_on_a_server_that_ignores_conditions_is_refused_before_it_claims() -> Result<()> {
    let gateway = Gateway::start()?;
    let proxy = Proxy::start(&gateway.address())?;
    let bucket = Bucket::new(&gateway, "shop")?;
    let stage = stage(34, &bucket.through(&proxy.address()))?;
    proxy.inject(("PUT", "/probe/"), Fault::Forget(bucket.buckets()), 2, 1);
    stage.run_fails(&[], 1, &["cannot be used", "an existing object was created again", "create-if-absent"])?;
    ensure!(proxy.injected() == 1 && stage.log()?.is_empty(), "{:?}", stage.log()?.keys());
    Ok(())
}

#[test]
fn another_pipeline_on_the_same_prefix_is_refused_and_fences_nobody() -> Result<()> {
    let gateway = Gateway::start()?;
    let bucket = Bucket::new(&gateway, "shop")?;
    let stage = stage(35, &bucket)?;
    stage.crash_at("coordinator.all_committed", 3, &[])?;
    let log = stage.log()?;
    let window = Window::Session { gap: 2_000_000 };
    let other = Stage::in_bucket(Workload { seed: 36, records: 20_000, window, ..Workload::default() }, &bucket)?;
    let refused = other.run("", &[])?;
    ensure!(refused.code() == Some(2), "{}", refused.describe());
    ensure!(other.log()? == log, "a refused start left a trace");
    stage.run_well()?;
    stage.assert_exact_and_tidy()?;
    Ok(())
}

/// Files below a folder, but for the secrets themselves, that hold a canary.
fn search(folder: &Path, found: &mut Vec<String>) -> Result<usize> {
    let mut count = 0;
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            count += if path.ends_with("secrets") { 0 } else { search(&path, found)? };
        } else {
            count += 1;
            if canaries(&fs::read(&path)?) {
                found.push(path.display().to_string());
            }
        }
    }
    Ok(count)
}

/// Logs at TRACE, a panic with its backtrace, a death, an answer that is an error, checkpoints.
#[test]
fn no_secret_of_the_store_is_in_anything_that_a_run_says_or_keeps() -> Result<()> {
    let gateway = Gateway::start()?;
    let proxy = Proxy::start(&gateway.address())?;
    let stage = stage(37, &Bucket::new(&gateway, "shop")?.through(&proxy.address()))?;
    proxy.inject(("PUT", "/attempts/"), Fault::LoseReply, 4, 3);
    for faults in [format!("coordinator.decided:2=panic,coordinator.decided:4=kill,{SLOW}"), String::new()] {
        let mut command = stage.run_command(&faults, &[]);
        command.env("ONCEWARD_LOG", "trace").env("RUST_BACKTRACE", "full");
        let ended = Child::start(&mut command)?.finish()?;
        let talks = |line: &str| line.contains("DEBUG") || line.contains("TRACE");
        ensure!(ended.lines().any(talks), "nothing is said beyond warnings: {}", ended.describe());
        told(&ended)?;
    }
    ensure!(proxy.injected() == 3, "{} errors", proxy.injected());
    stage.assert_exact_and_tidy()?;
    let mut found = vec![];
    let count = search(stage.folder(), &mut found)? + search(&stage.state, &mut found)?;
    ensure!(count > 10 && found.is_empty(), "{found:?} of {count}");
    Ok(())
}
