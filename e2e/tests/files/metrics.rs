//! `--metrics`: scraped over HTTP while the run works, parsed as Prometheus text, compared with counts of its own.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use e2e::http::{free_port, get};
use e2e::stage::{SLOW, Stage};
use onceward::child::{Child, Said};
use onceward::workload::Workload;

/// Series by name and labels, as they stand in the text.
#[derive(Debug, Default)]
struct Scrape {
    samples: BTreeMap<String, f64>,
    types: BTreeMap<String, String>,
}

/// The text format: `# HELP`, `# TYPE`, then `name{label="value",...} number`; a type comes before its samples.
fn parse(body: &str) -> Result<Scrape> {
    let mut scrape = Scrape::default();
    for line in body.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').context("a type")?;
            ensure!(matches!(kind, "counter" | "gauge" | "histogram"), "{line}");
            ensure!(scrape.types.insert(name.to_owned(), kind.to_owned()).is_none(), "twice: {line}");
            continue;
        }
        if line.starts_with("# HELP ") {
            continue;
        }
        let (series, value) = line.rsplit_once(' ').with_context(|| format!("no sample: {line}"))?;
        let name = series.split('{').next().unwrap_or_default();
        let family = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
        let kind =
            scrape.types.get(name).or_else(|| scrape.types.get(family)).with_context(|| format!("no type: {line}"))?;
        ensure!(
            name.starts_with("onceward_") && name.bytes().all(|b| b.is_ascii_lowercase() || b"_".contains(&b)),
            "{line}"
        );
        ensure!(
            (kind == "counter") == name.ends_with("_total") || name.ends_with("_seconds_total"),
            "{line} is a {kind}"
        );
        ensure!(series.contains("pipeline=\"orders\""), "no pipeline: {line}");
        let value: f64 = value.parse().with_context(|| format!("no number: {line}"))?;
        ensure!(scrape.samples.insert(series.to_owned(), value).is_none(), "twice: {line}");
    }
    Ok(scrape)
}

impl Scrape {
    fn of(address: SocketAddr) -> Result<Self> {
        let (head, body) = get(address, "/metrics")?;
        ensure!(
            head.starts_with("HTTP/1.1 200") && head.to_lowercase().contains("text/plain; version=0.0.4"),
            "{head}"
        );
        parse(&body)
    }

    /// The sum of all series of `name` with all of `labels`, of which there must be one.
    fn sum(&self, name: &str, labels: &[(&str, &str)]) -> Result<f64> {
        let wanted = |series: &&String| {
            series.split('{').next() == Some(name)
                && labels.iter().all(|(label, value)| series.contains(&format!("{label}=\"{value}\"")))
        };
        let found: Vec<f64> = self.samples.iter().filter(|(series, _)| wanted(series)).map(|(_, v)| *v).collect();
        ensure!(!found.is_empty(), "no series {name} {labels:?}");
        Ok(found.iter().sum())
    }

    fn count(&self, name: &str, labels: &[(&str, &str)]) -> Result<u64> {
        Ok(self.sum(name, labels)? as u64)
    }
}

/// Scrapes until `enough`; the child must live until then.
fn scrape_until(child: &Child, address: SocketAddr, mut enough: impl FnMut(&Scrape) -> Result<bool>) -> Result<Scrape> {
    /// Of a tenth of a second each.
    const MOST: u32 = 300;
    for _ in 0..MOST {
        let scrape = Scrape::of(address)?;
        if enough(&scrape)? {
            return Ok(scrape);
        }
        ensure!(child.outlives(Duration::from_millis(100)), "the run ended before its metrics said so: {scrape:?}");
    }
    bail!("the metrics never said so: {:#?}", Scrape::of(address)?.samples)
}

/// Two for each checkpoint with output of that sink, the longest and the shortest.
fn assert_waits(scrape: &Scrape, checkpoints: u64) -> Result<()> {
    for sink in ["windows", "copy"] {
        let name = "onceward_record_visible_latency_seconds";
        let (waits, seconds) = (
            scrape.count(&format!("{name}_count"), &[("sink", sink)])?,
            scrape.sum(&format!("{name}_sum"), &[("sink", sink)])?,
        );
        ensure!(waits > 0 && waits.is_multiple_of(2) && waits <= 2 * checkpoints, "{sink}: {waits} waits");
        // Within a millisecond nothing is decided, synced and committed.
        let instant = scrape.count(&format!("{name}_bucket"), &[("sink", sink), ("le", "0.001")])?;
        ensure!(seconds > 0.0 && instant == 0, "{sink}: {instant} of {waits} waits took no time");
    }
    Ok(())
}

/// The run is held just before its end, so that it can be asked for its final values.
#[test]
fn what_a_run_tells_is_what_it_did() -> Result<()> {
    let stage = Stage::new(Workload { seed: 71, records: 30_000, customers: 500, ..Workload::default() })?;
    let address = free_port()?;
    let metrics = address.to_string();
    let mut child = stage.start(&format!("coordinator.before_release=pause:60s,{SLOW}"), &["--metrics", &metrics])?;
    child.wait_for(|said| said.is_event("checkpoint.completed"))?;
    // While it works: everything is there, nothing runs ahead of the input, counters only grow.
    let early = Scrape::of(address)?;
    let read = |scrape: &Scrape| scrape.count("onceward_source_records_total", &[("source", "orders")]);
    ensure!(read(&early)? < stage.workload.records && early.count("onceward_pipeline_ready", &[])? == 1);
    let all = stage.workload.records;
    // Rows that are written are not yet decided: only here has every checkpoint been decided and committed.
    child.wait_for(|said| *said == Said::Line("crashpoint coordinator.before_release 1".to_owned()))?;
    let last = scrape_until(&child, address, |scrape| {
        for (series, value) in &early.samples {
            let counts =
                series.split('{').next().is_some_and(|name| name.ends_with("_total") || name.ends_with("_bucket"));
            ensure!(
                !counts || scrape.samples.get(series).is_some_and(|now| now >= value),
                "{series} fell from {value}"
            );
        }
        let written = scrape.count("onceward_sink_records_total", &[("sink", "copy")])?;
        let open = scrape.count("onceward_commits_pending", &[])?;
        Ok(read(scrape)? == all && written == all && open == 0)
    })?;
    let expected = stage.assert_exact()?;
    let checkpoints = stage.checkpoints()?;
    let newest = checkpoints[0]["epoch"].as_u64().context("an epoch")?;
    let window = [("operator", "per_customer/window")];
    let rows = expected.rows.len() as u64;
    let bytes: usize =
        stage.written.inputs.iter().map(|path| std::fs::metadata(path).map_or(0, |m| m.len() as usize)).sum();
    let copied: usize =
        stage.visible()?.iter().filter(|(path, _)| path.starts_with(&stage.written.copy)).map(|(_, b)| b.len()).sum();
    for (name, labels, value) in [
        ("onceward_source_bytes_total", &[("source", "orders")][..], bytes as u64),
        ("onceward_source_decode_errors_total", &[("source", "orders")], 0),
        ("onceward_operator_late_records_dropped_total", &window, expected.late),
        ("onceward_operator_records_in_total", &window, all),
        ("onceward_operator_records_out_total", &window, rows),
        ("onceward_sink_records_total", &[("sink", "windows")], rows),
        ("onceward_sink_bytes_total", &[("sink", "copy")], copied as u64),
        ("onceward_sink_errors_total", &[], 0),
        ("onceward_commits_total", &[("result", "committed")], stage.visible()?.len() as u64),
        ("onceward_checkpoint_last_completed_epoch", &[], newest),
        // The first decision, before anything was read, is recovery's own.
        ("onceward_checkpoints_total", &[("result", "completed")], newest - 1),
        ("onceward_checkpoints_total", &[("result", "failed")], 0),
        ("onceward_checkpoint_duration_seconds_count", &[], newest - 1),
        ("onceward_checkpoint_consecutive_failures", &[], 0),
        ("onceward_pipeline_restarts_total", &[], 0),
        ("onceward_pipeline_info", &[("guarantee", "ExactlyOnce")], 1),
    ] {
        let told = last.count(name, labels)?;
        ensure!(told == value, "{name} {labels:?} is {told}, and should be {value}");
    }
    // Nothing but what was told to exist from the start, so that a rate never begins with a jump.
    let new: Vec<_> = last.samples.keys().filter(|series| !early.samples.contains_key(*series)).collect();
    ensure!(new.is_empty(), "not there from the start: {new:?}");
    for time in ["busy", "idle"] {
        let seconds = last.sum(&format!("onceward_operator_{time}_seconds_total"), &[])?;
        ensure!(seconds > 0.0, "nobody was {time}");
    }
    ensure!((last.sum("onceward_checkpoint_interval_seconds", &[])? - 0.1).abs() < 1e-9);
    assert_waits(&last, newest - 1)?;
    let (head, _) = get(address, "/nothing")?;
    ensure!(head.starts_with("HTTP/1.1 404"), "{head}");
    child.kill()?;
    stage.run_well()?;
    stage.assert_exact_and_tidy()?;
    Ok(())
}

#[test]
fn an_address_that_is_taken_ends_the_run_before_it_claims_anything() -> Result<()> {
    let stage = Stage::new(Workload { seed: 72, records: 2_000, ..Workload::default() })?;
    let taken = TcpListener::bind(("127.0.0.1", 0))?;
    let address = taken.local_addr()?.to_string();
    stage.run_fails(&["--metrics", &address], 1, &["metrics", &address])?;
    ensure!(stage.log()?.keys().all(|name| !name.ends_with("/claim")), "it has claimed");
    drop(taken);
    stage.run_well_with(&["--metrics", &address])?;
    Ok(())
}
