//! `kubectl onceward` as people have it: `kubectl` finds the binary on the path under the plugin's name, and speaks with a real
//! API server. What its verbs ask for is looked for where it must happen: in pods, epochs and what the status says.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use stage::http::get;

use crate::desk::Desk;
use crate::installed::SHARED_CLAIM;
use crate::orders::Orders;
use crate::stand::{PIPELINES, Stand, epoch, serial};

const NAME: &str = "asked";

pub(crate) fn kubectl_finds_its_plugin_and_every_verb_does_what_it_says(stand: &Stand) -> Result<()> {
    let desk = Desk::new(stand)?;
    let orders = Orders { name: NAME, rows: 1 << 40, rows_per_second: 500, claim: SHARED_CLAIM, storage: None };
    stand.create(PIPELINES, &orders.manifest())?;
    let type_it = |words: &str, code: i32| -> Result<String> {
        let (ended, said) = desk.types(&format!("kubectl onceward -n shop {words}"), &[])?;
        ensure!(ended == code, "`{words}` ends with {ended}, not {code}: {said}");
        Ok(said)
    };
    let (listed, plugins) = desk.types("kubectl plugin list", &[])?;
    ensure!(listed == 0 && plugins.contains("/kubectl-onceward"), "kubectl does not find it ({listed}): {plugins}");
    type_it(&format!("wait {NAME} --for=ready"), 0)?;
    it_shows(stand, &desk, &type_it)?;
    it_asks(stand, &type_it)?;
    it_stops_and_goes_on(stand, &type_it)?;
    a_page_is_served(&desk)?;
    stand.delete(&format!("{PIPELINES}/{NAME}"), false)?;
    type_it(&format!("wait {NAME} --for=deleted"), 0)?;
    type_it(&format!("status {NAME}"), 2).map(drop)
}

type Typed<'a> = &'a dyn Fn(&str, i32) -> Result<String>;

fn shows(said: &str, words: &[&str]) -> Result<()> {
    for word in words {
        ensure!(said.contains(word), "`{word}` is not in: {said}");
    }
    Ok(())
}

fn it_shows(stand: &Stand, desk: &Desk<'_>, types: Typed<'_>) -> Result<()> {
    shows(&types(&format!("status {NAME}"), 0)?, &["shop/asked", "healthy", "Running"])?;
    // Of all in the namespace: how others are is theirs to say, the exit code among it.
    shows(&desk.types("kubectl onceward -n shop status", &[])?.1, &["NAME", NAME])?;
    let status: Value = serde_json::from_str(&types(&format!("status {NAME} -o json"), 0)?)?;
    ensure!(status["health"] == "healthy", "{status}");
    shows(&types(&format!("logs {NAME} --tail=50"), 0)?, &["claimed", "running"])?;
    let version: Value = serde_json::from_str(&types(&format!("version {NAME} -o json"), 0)?)?;
    ensure!(version["worker"] == version["client"] && version["apiServer"].is_string(), "{version}");
    shows(version["controller"].as_str().unwrap_or_default(), &["onceward-system"])?;
    shows(&types(&format!("transactions {NAME}"), 0)?, &["shop/asked"])?;
    types(&format!("report {NAME} --file report.zip"), 0)?;
    let names = archived(&std::fs::read(desk.folder().join("report.zip"))?)?;
    let logs = names.iter().filter(|name| name.starts_with("logs/")).count();
    for file in ["README.txt", "pipeline.json", "events.json", "worker/graph.json", "worker/metrics.txt"] {
        ensure!(names.iter().any(|name| name == file), "{file} is not in the report: {names:?}");
    }
    ensure!(logs > 0, "no log is in the report: {names:?}");
    let manifest = stand.get(&format!("{PIPELINES}/{NAME}"))?;
    std::fs::write(desk.folder().join("pipeline.yaml"), manifest.to_string())?;
    shows(&types("lint pipeline.yaml", 0)?, &["ok"])
}

/// Names of the files in a zip archive, from its directory at the end.
fn archived(bytes: &[u8]) -> Result<Vec<String>> {
    const ENTRY: &[u8] = b"PK\x01\x02";
    let mut names = vec![];
    for at in bytes.windows(ENTRY.len()).enumerate().filter_map(|(at, window)| (window == ENTRY).then_some(at)) {
        let length = bytes.get(at + 28..at + 30).context("an entry")?;
        let length = usize::from(u16::from_le_bytes(length.try_into()?));
        let name = bytes.get(at + 46..at + 46 + length).context("a name")?;
        names.push(String::from_utf8(name.to_vec())?);
    }
    ensure!(!names.is_empty(), "it is no zip archive");
    Ok(names)
}

fn it_asks(stand: &Stand, types: Typed<'_>) -> Result<()> {
    let taken = |what: &str| -> Result<Value> {
        Ok(stand.get(&format!("{PIPELINES}/{NAME}"))?["status"]["actions"][what]["taken"].take())
    };
    for what in ["checkpoint", "savepoint"] {
        let before = taken(what)?;
        ensure!(before.is_null(), "there is a {what} already: {before}");
        let said = types(&format!("{what} {NAME}"), 0)?;
        let handle =
            taken(what)?["handle"].as_str().map(str::to_owned).with_context(|| format!("no {what}: {said}"))?;
        shows(&said, &[&handle])?;
    }
    let checkpoints = types(&format!("checkpoints {NAME}"), 0)?;
    shows(&checkpoints, &["Newest", "On request", "Savepoint"])?;
    let before = epoch(&stand.get(&format!("{PIPELINES}/{NAME}"))?["status"]);
    types(&format!("wait {NAME} --for=checkpoint --timeout=2m"), 0)?;
    let after = epoch(&stand.get(&format!("{PIPELINES}/{NAME}"))?["status"]);
    ensure!(after > before, "epoch {before}, then {after}");
    Ok(())
}

fn it_stops_and_goes_on(stand: &Stand, types: Typed<'_>) -> Result<()> {
    let newest = |stand: &Stand| -> Result<u64> { Ok(stand.workers(NAME)?.first().map_or(0, serial)) };
    let first = newest(stand)?;
    types(&format!("restart {NAME}"), 0)?;
    let second = newest(stand)?;
    ensure!(second > first, "worker {first} is still the newest one");
    types(&format!("suspend {NAME}"), 0)?;
    ensure!(stand.get(&format!("{PIPELINES}/{NAME}"))?["status"]["phase"] == "Suspended", "it is not suspended");
    let works = |pod: &Value| pod["status"]["phase"] == "Running";
    ensure!(!stand.workers(NAME)?.iter().any(works), "a worker runs");
    shows(&types(&format!("status {NAME}"), 0)?, &["Suspended"])?;
    // Nothing runs that could take one.
    types(&format!("checkpoint {NAME}"), 1)?;
    types(&format!("resume {NAME}"), 0)?;
    types(&format!("wait {NAME} --for=ready"), 0)?;
    ensure!(newest(stand)? > second, "no worker came after {second}");
    Ok(())
}

/// Through the API server and the kubelet, under a port of this machine.
fn a_page_is_served(desk: &Desk<'_>) -> Result<()> {
    let mut shell = desk.shell(&format!("exec kubectl onceward -n shop dashboard {NAME} --port 0"), &[])?;
    let mut dashboard = shell.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    let asked = ask(&mut dashboard);
    let process = Pid::from_raw(i32::try_from(dashboard.id())?).context("an id")?;
    kill_process(process, Signal::INT)?;
    let ended = dashboard.wait()?;
    asked?;
    ensure!(ended.success(), "Ctrl-C ends it with {ended}");
    Ok(())
}

fn ask(dashboard: &mut std::process::Child) -> Result<()> {
    let mut line = String::new();
    BufReader::new(dashboard.stdout.take().context("it is piped")?).read_line(&mut line)?;
    let address = line.trim().strip_prefix("http://").and_then(|rest| rest.strip_suffix('/'));
    let address = address.with_context(|| format!("no address: {line}"))?.parse()?;
    let (head, body) = get(address, "/")?;
    ensure!(head.starts_with("HTTP/1.1 200") && body.contains("<html"), "{head}\n{body}");
    let (head, graph) = get(address, "/graph")?;
    ensure!(head.starts_with("HTTP/1.1 200") && graph.contains("orders"), "{head}\n{graph}");
    Ok(())
}
