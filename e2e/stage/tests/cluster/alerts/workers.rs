//! Workers that die, and one whose metrics nobody reads.

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use super::{Site, dealt};
use crate::stand::{PIPELINES, Stand, kill, serial};

/// More than the alert bears.
const DEATHS: u64 = 5;

/// Kills the worker that is newer than `than`; its serial.
fn kill_one(stand: &Stand, name: &str, than: u64) -> Result<u64> {
    let worker = stand.worker(name, than)?;
    kill(stand.process_of(&worker)?)?;
    Ok(serial(&worker))
}

pub(super) fn it_dies_again_and_again(site: &Site<'_>) -> Result<()> {
    site.runs(&site.numbers(None))?;
    let mut than = 0;
    for _ in 0..DEATHS {
        than = kill_one(&site.stand, site.name(), than)?;
    }
    let shows = [
        ("get pipelines.onceward.dev", "reasons"),
        ("logs", "restored"),
        ("get events", "WorkerFailed"),
        ("describe pods", "Running"),
    ];
    // Nothing is to be mended: nobody kills it any more.
    site.judge(&site.desk()?, &shows, || Ok(()))?;
    let status = site.stand.phase(site.name(), "Running")?;
    dealt(status["restarts"]["total"].as_u64().unwrap_or(0).saturating_sub(DEATHS - 1), "each restart")?;
    site.stand.forget(site.name())
}

pub(super) fn it_dies_too_often_for_its_policy(site: &Site<'_>) -> Result<()> {
    let mut manifest = site.numbers(None);
    manifest["spec"]["restartPolicy"] = json!({ "fixedDelay": { "attempts": 2, "delay": "1s" } });
    site.runs(&manifest)?;
    let mut than = 0;
    for _ in 0..3 {
        than = kill_one(&site.stand, site.name(), than)?;
    }
    site.stand.phase(site.name(), "Failed")?;
    let shows = [("get pipelines.onceward.dev", "RestartLimitReached"), ("get events", "RestartLimitReached")];
    let desk = site.desk()?;
    site.judge(&desk, &shows, || {
        // As the page says.
        let page = std::fs::read_to_string(super::runbook::page(site.wanted.alert))?;
        let command =
            page.split('`').find(|text| text.contains("annotate")).context("a command that starts it again")?;
        let (code, said) = desk.types(command, &[("NAMESPACE", crate::stand::NAMESPACE), ("PIPELINE", site.name())])?;
        if code != 0 {
            bail!("`{command}` ends with {code}: {said}");
        }
        Ok(())
    })?;
    site.stand.phase(site.name(), "Running")?;
    site.stand.forget(site.name())
}

/// A firewall stands between Prometheus and the worker, as a network policy would.
pub(super) fn nobody_reads_its_metrics(site: &Site<'_>) -> Result<()> {
    site.runs(&site.numbers(None))?;
    let worker: Value = site.stand.worker(site.name(), 0)?;
    let address = worker["status"]["podIP"].as_str().context("an address")?;
    let rule = format!("OUTPUT -p tcp -d {address} --dport 9464 -j DROP");
    firewall(&site.stand, &format!("-A {rule}"))?;
    let shows = [("get podmonitors", "onceward-worker"), ("get pods", "onceward.dev/pipeline=not-scraped")];
    let ended = site.judge(&site.desk()?, &shows, || {
        let counted = firewall(&site.stand, "-vnxL OUTPUT")?;
        let ours = counted.lines().find(|line| line.contains(address)).with_context(|| counted.clone())?;
        let packets = ours.split_whitespace().next().and_then(|count| count.parse().ok());
        dealt(packets.with_context(|| ours.to_owned())?, "a packet's loss")?;
        firewall(&site.stand, &format!("-D {rule}")).map(drop)
    });
    ended?;
    site.stand.get(&format!("{PIPELINES}/{}", site.name()))?;
    site.stand.forget(site.name())
}

/// Of the network in which Prometheus is.
fn firewall(stand: &Stand, words: &str) -> Result<String> {
    stage::cache::run(stand.cluster.command("iptables").args(words.split_whitespace()), "apt-get install iptables")
}
