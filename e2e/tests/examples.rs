//! The examples as they are shipped: each is run to its end, or until it has done what its first lines say. Only addresses are
//! changed. `08` is the README's, run by `kafka_readme`; `10` is for a cluster, and run on one.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use e2e::kafka::broker::{Listener, PASSWORD, USER};
use e2e::kafka::judge::Input;
use e2e::kafka::{Broker, Judge, Options, Version};
use e2e::s3::gateway::{ACCESS_KEY_ID, SECRET_ACCESS_KEY};
use e2e::s3::{Bucket, Gateway};
use e2e::site::Site;
use onceward::checker::output::visible_files;
use onceward::child::Child;
use runtime::clock::{Clock as _, SystemClock};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// Those that a test below runs, and the two that others run.
const RUN: [&str; 10] = ["01", "02", "03", "04", "05", "06", "07", "08", "09", "10"];
/// What the examples with Kafka name.
const BROKER: &str = "127.0.0.1:9092";
const LOOK: Duration = Duration::from_millis(200);
/// Two minutes.
const MOST_LOOKS: u32 = 600;

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples")
}

/// The example beside its data, in a folder of its own.
fn site(number: &str) -> Result<Site> {
    let mut site = Site::new()?;
    site.state = site.folder().join(".onceward").join(number);
    let names = fs::read_dir(examples())?.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let name = names.into_iter().find(|name| name.starts_with(number)).context("an example")?;
    fs::copy(examples().join(name), &site.manifest)?;
    let data = site.folder().join("data");
    fs::create_dir(&data)?;
    for entry in fs::read_dir(examples().join("data"))? {
        let entry = entry?;
        fs::copy(entry.path(), data.join(entry.file_name()))?;
    }
    Ok(site)
}

fn secret(site: &Site, name: &str, key: &str, value: impl AsRef<[u8]>) -> Result<()> {
    let folder = site.folder().join("secrets").join(name);
    fs::create_dir_all(&folder)?;
    Ok(fs::write(folder.join(key), value)?)
}

/// Lines of JSON that are visible below `out/<name>`.
fn rows(site: &Site, name: &str) -> Result<Vec<Value>> {
    let mut rows = vec![];
    for file in visible_files(&site.folder().join("out").join(name))? {
        for line in fs::read_to_string(file)?.lines() {
            rows.push(serde_json::from_str(line)?);
        }
    }
    Ok(rows)
}

fn sum(rows: &[Value], column: &str) -> u64 {
    rows.iter().filter_map(|row| row[column].as_u64()).sum()
}

/// No two rows agree in all of these columns.
fn assert_once(rows: &[Value], columns: &[&str]) -> Result<()> {
    let keys: BTreeSet<String> =
        rows.iter().map(|row| columns.iter().map(|column| row[*column].to_string()).collect()).collect();
    ensure!(keys.len() == rows.len(), "{} of {} rows are doubled", rows.len() - keys.len(), rows.len());
    Ok(())
}

/// Looks until it is so while the child lives; then tells it to stop, which it must do well.
fn stop_when(child: Child, what: &str, mut is: impl FnMut() -> Result<bool>) -> Result<()> {
    for _ in 0..MOST_LOOKS {
        if is()? {
            let id = Pid::from_raw(child.id().cast_signed()).context("a process id")?;
            kill_process(id, Signal::TERM)?;
            let ended = child.finish()?;
            ensure!(ended.code() == Some(0), "{}", ended.describe());
            return Ok(());
        }
        if !child.outlives(LOOK) {
            bail!("it ended before this: {what}; {}", child.finish()?.describe());
        }
    }
    bail!("it never came to this: {what}")
}

fn now_ms() -> Result<i64> {
    Ok(i64::try_from(SystemClock.wall_ms())?)
}

fn input(count: u64, begin_ms: i64) -> Input {
    Input { first: 0, count, keys: 7, begin_ms, rate: 0 }
}

/// What [`Input`] says of record n.
fn cents(n: u64) -> u64 {
    n * 7_919 % 10_007
}

#[test]
fn no_example_is_left_out() -> Result<()> {
    let paths = fs::read_dir(examples())?.filter_map(|entry| Some(entry.ok()?.path()));
    let manifests = paths.filter(|path| path.extension().is_some_and(|ending| ending == "yaml"));
    let names = manifests.filter_map(|path| path.file_name()?.to_str().map(str::to_owned));
    let mut numbers: Vec<String> = names.map(|name| name.chars().take(2).collect()).collect();
    numbers.sort();
    ensure!(numbers == RUN, "{numbers:?}");
    Ok(())
}

#[test]
fn a_million_made_up_orders_are_summed_once_each() -> Result<()> {
    let site = site("01")?;
    site.run_well()?;
    let found = rows(&site, "01")?;
    assert_once(&found, &["window_start", "customer"])?;
    ensure!(sum(&found, "orders") == 1_000_000, "{} orders", sum(&found, "orders"));
    Ok(())
}

#[test]
fn files_are_filtered_and_summed() -> Result<()> {
    let site = site("02")?;
    site.run_well()?;
    let large: Vec<u64> = orders()?.into_iter().filter(|cents| *cents >= 5_000).collect();
    let found = rows(&site, "02-large")?;
    ensure!(!large.is_empty() && found.len() == large.len(), "{} of {}", found.len(), large.len());
    ensure!(sum(&found, "cents") == large.iter().sum::<u64>());
    let totals = rows(&site, "02-totals")?;
    assert_once(&totals, &["window_start", "country"])?;
    ensure!((sum(&totals, "orders"), sum(&totals, "total")) == (large.len() as u64, large.iter().sum::<u64>()));
    Ok(())
}

/// Their cents.
fn orders() -> Result<Vec<u64>> {
    let mut cents = vec![];
    for name in ["orders-1.jsonl", "orders-2.jsonl"] {
        for line in fs::read_to_string(examples().join("data").join(name))?.lines() {
            cents.push(serde_json::from_str::<Value>(line)?["cents"].as_u64().context("cents")?);
        }
    }
    Ok(cents)
}

#[test]
fn every_click_is_in_one_visit_and_in_four_windows() -> Result<()> {
    let site = site("03")?;
    site.run_well()?;
    let clicks = fs::read_to_string(examples().join("data/clicks.csv"))?.lines().skip(1).count() as u64;
    ensure!(clicks > 0 && sum(&rows(&site, "03-visits")?, "clicks") == clicks);
    ensure!(sum(&rows(&site, "03-popular")?, "clicks") == 4 * clicks);
    Ok(())
}

#[test]
fn a_run_without_an_end_is_stopped_and_goes_on() -> Result<()> {
    let site = site("04")?;
    let mut before = 0;
    for _ in 0..2 {
        stop_when(site.start("", &[])?, "more windows", || Ok(rows(&site, "04")?.len() > before))?;
        let found = rows(&site, "04")?;
        assert_once(&found, &["window_start", "channel", "country"])?;
        before = found.len();
    }
    Ok(())
}

#[test]
fn topics_are_summed_and_exported() -> Result<()> {
    let broker = Broker::start(Version::Newest, &Options::default())?;
    let judge = Judge::start(&broker.address())?;
    for topic in ["orders", "revenue", "web", "shops"] {
        judge.create(topic, 1)?;
    }
    let sums = site("05")?;
    sums.edit_manifest(BROKER, &broker.address())?;
    // One more, long after the others, closes their windows.
    let now_ms = now_ms()?;
    judge.produce("orders", &input(1_000, now_ms - 600_000))?;
    judge.produce("orders", &input(1, now_ms))?;
    let revenue = || -> Result<Vec<Value>> {
        let records = judge.committed("revenue", 1_000)?;
        records.iter().map(|record| Ok(serde_json::from_str(record.text())?)).collect()
    };
    stop_when(sums.start("", &[])?, "every order is in a sum", || Ok(sum(&revenue()?, "orders") >= 1_000))?;
    let found = revenue()?;
    assert_once(&found, &["window_start", "customer"])?;
    ensure!((sum(&found, "orders"), sum(&found, "total")) == (1_000, (0..1_000).map(cents).sum::<u64>()));

    // Each remainder of a division by 10,007 once: seven of them are large enough.
    for topic in ["web", "shops"] {
        judge.produce(topic, &input(10_007, now_ms))?;
    }
    let export = site("07")?;
    export.edit_manifest(BROKER, &broker.address())?;
    export.run_well()?;
    let found = rows(&export, "07")?;
    ensure!(found.len() == 14 && sum(&found, "cents") == 2 * (10_000..10_007).sum::<u64>(), "{found:?}");
    Ok(())
}

#[test]
fn records_are_copied_between_secured_clusters() -> Result<()> {
    let longest = ("transaction.max.timeout.ms".to_owned(), "3600000".to_owned());
    let options = Options { is_secured: true, properties: vec![longest], ..Options::default() };
    let (shop, archive) = (Broker::start(Version::Newest, &options)?, Broker::start(Version::Newest, &options)?);
    let (from, to) = (Judge::start(&shop.address())?, Judge::start(&archive.address())?);
    from.create("orders", 2)?;
    to.create("orders", 2)?;
    from.produce("orders", &input(500, now_ms()?))?;
    let site = site("06")?;
    let shops = "\"shop-1.example.org:9093\", \"shop-2.example.org:9093\"";
    site.edit_manifest(shops, &format!("\"{}\"", shop.address_of(Listener::SaslTls)?))?;
    site.edit_manifest("archive.example.org:9093", &archive.address_of(Listener::Tls)?)?;
    secret(&site, "shop-ca", "ca.crt", fs::read(&shop.certificates()?.authority)?)?;
    secret(&site, "orders-user", "username", USER)?;
    secret(&site, "orders-user", "password", PASSWORD)?;
    let certificates = archive.certificates()?;
    secret(&site, "archive-ca", "ca.crt", fs::read(&certificates.authority)?)?;
    secret(&site, "archive-client", "tls.crt", fs::read(&certificates.client_certificate)?)?;
    secret(&site, "archive-client", "tls.key", fs::read(&certificates.client_key)?)?;
    let content = |judge: &Judge| -> Result<Vec<_>> {
        let records = judge.committed("orders", 1_000)?;
        let mut content: Vec<_> = records.into_iter().map(|record| (record.key, record.value)).collect();
        content.sort();
        Ok(content)
    };
    stop_when(site.start("", &[])?, "all are there", || Ok(content(&to)?.len() >= 500))?;
    ensure!(content(&from)?.len() == 500 && content(&to)? == content(&from)?);
    Ok(())
}

#[test]
fn checkpoints_are_kept_in_a_bucket() -> Result<()> {
    let gateway = Gateway::start()?;
    let bucket = Bucket::new(&gateway, "shop-checkpoints")?;
    let site = site("09")?;
    site.edit_manifest("https://s3.example.com", &gateway.endpoint())?;
    // The only region that this server has.
    site.edit_manifest("eu-central-1", "us-east-1")?;
    secret(&site, "checkpoint-bucket", "accessKeyId", ACCESS_KEY_ID)?;
    secret(&site, "checkpoint-bucket", "secretAccessKey", SECRET_ACCESS_KEY)?;
    site.run_well()?;
    let (found, orders) = (rows(&site, "09-totals")?, orders()?);
    ensure!((sum(&found, "orders"), sum(&found, "total")) == (orders.len() as u64, orders.iter().sum::<u64>()));
    ensure!(fs::read_dir(bucket.folder.join("prod/orders-from-anywhere"))?.next().is_some());
    Ok(())
}
