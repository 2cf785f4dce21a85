//! The page that a run serves, in a real browser: it shows what the run's own figures say, on any screen, and says so when
//! they come no more. The pictures in the docs are made here (`UPDATE=1`).

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use e2e::browser::{Browser, Scheme};
use e2e::http::{free_port, get};
use e2e::kafka::broker::Listener;
use e2e::kafka::proxy::END_TXN;
use e2e::kafka::{Broker, Judge, Options, Proxy, Version};
use e2e::site::Site;
use serde_json::Value;

const CANARY: &str = "canary-8f2d61";

/// Two sources, a window and two sinks, for longer than the test looks at it.
fn pipeline() -> Result<Site> {
    let mut site = Site::new()?;
    let out = site.folder().join("out");
    let source = |name: &str, seed: u32| {
        format!(
            "  - name: {name}
    generator: {{rows: 100000000, rowsPerSecond: 4000, seed: {seed}}}
    columns:
    - {{name: at, type: TIMESTAMP, generate: {{sequence: {{start: \"2026-01-01T00:00:00Z\", step: 5ms}}}}}}
    - {{name: customer, type: BIGINT, generate: {{random: {{min: 0, max: 99}}}}}}
    - {{name: cents, type: BIGINT, generate: {{random: {{min: 1, max: 900}}}}}}
    eventTime: {{column: at, maxOutOfOrderness: 1s}}
"
        )
    };
    let manifest = format!(
        "apiVersion: onceward.dev/v1alpha1
kind: Pipeline
metadata: {{name: revenue}}
spec:
  parallelism: 2
  sources:
{web}{shop}  transforms:
  - {{name: orders, sql: \"SELECT at, customer, cents FROM web UNION ALL SELECT at, customer, cents FROM shop\"}}
  - name: per_customer
    sql: |
      SELECT window_start, customer, SUM(cents) AS total FROM TUMBLE(orders, at, INTERVAL '1 second')
      GROUP BY window_start, window_end, customer
  sinks:
  - {{name: totals, input: per_customer, files: {{path: {out}/}}, format: {{json: {{}}}}}}
  - {{name: audit, input: orders, discard: {{}}}}
  checkpoint: {{interval: 500ms, storage: {{local: {{path: {state}}}}}}}
  restartPolicy: {{fixedDelay: {{attempts: 100, delay: 100ms}}}}
  podTemplate: {{spec: {{containers: [{{name: worker, env: [{{name: PASSWORD, value: {CANARY}}}]}}]}}}}
",
        web = source("web", 1),
        shop = source("shop", 2),
        out = out.display(),
        state = site.state.display(),
    );
    std::fs::write(&site.manifest, manifest)?;
    site.sinks = vec![out];
    Ok(site)
}

fn number(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

/// Epochs as the page lists them, newest first.
fn epochs(browser: &Browser) -> Result<Vec<u64>> {
    let cells = browser.run(
        "return [...document.querySelectorAll('#checkpoints tr td:first-child')].map((cell) => cell.textContent)",
    )?;
    Ok(cells.as_array().context("a list")?.iter().filter_map(|cell| number(cell.as_str()?)).collect())
}

fn is_within_its_screen(browser: &Browser) -> Result<bool> {
    let beyond = browser.run("return document.documentElement.scrollWidth - document.documentElement.clientWidth")?;
    Ok(beyond.as_i64().context("a number")? <= 0)
}

fn ground(browser: &Browser) -> Result<String> {
    let colour = browser.run("return getComputedStyle(document.body).backgroundColor")?;
    Ok(colour.as_str().context("a colour")?.to_owned())
}

/// Keeps a picture, or writes it into the docs; never an empty one.
fn picture(browser: &Browser, name: &str) -> Result<()> {
    let png = browser.picture()?;
    ensure!(png.len() > 10_000 && png.starts_with(b"\x89PNG"), "{name}: {} bytes are no picture", png.len());
    if std::env::var_os("UPDATE").is_some() {
        let folder: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/images");
        std::fs::create_dir_all(&folder)?;
        std::fs::write(folder.join(format!("{name}.png")), png)?;
    }
    Ok(())
}

#[test]
fn the_page_shows_what_a_run_does_on_any_screen_and_says_when_it_has_gone() -> Result<()> {
    let site = pipeline()?;
    let address = free_port()?;
    // One attempt fails, after some checkpoints.
    let mut child = site.start("coordinator.all_acknowledged:6=error", &["--metrics", &address.to_string()])?;
    child.wait_for(|said| said.is_event("attempt.failed"))?;
    child.wait_for(|said| said.is_event("commit.completed"))?;
    let browser = Browser::start()?;
    browser.resize(1_280, 1_500, false)?;
    browser.prefer(Scheme::Light)?;
    browser.open(&format!("http://{address}/"))?;

    browser.wait("it runs", |page| Ok(page.text("#word")? == "running"))?;
    browser.wait("rates", |page| Ok(page.text("#graph")?.contains("/s")))?;
    browser.wait("checkpoints", |page| Ok(epochs(page)?.len() >= 8))?;
    ensure!(browser.text("h1")? == "revenue" && browser.text("#facts")?.contains("ExactlyOnce"));
    let graph: Value = serde_json::from_str(&get(address, "/graph")?.1)?;
    let stages = graph["stages"].as_array().context("stages")?;
    ensure!(browser.count(".stage")? == stages.len() && stages.len() >= 3, "{graph}");
    ensure!(browser.count(".edges path")? >= 2, "stages are not joined");
    ensure!(browser.count(".stage .bar rect")? > 0, "nobody is busy");
    browser.wait("watermarks", |page| Ok(page.text("#graph")?.contains("event time 2026-01-01 ")))?;

    let shown = epochs(&browser)?;
    ensure!(shown.windows(2).all(|pair| pair[0] > pair[1]), "newest first: {shown:?}");
    let history: Value = serde_json::from_str(&get(address, "/history")?.1)?;
    let told = history["checkpoints"].as_array().context("checkpoints")?;
    let known: Vec<u64> = told.iter().filter_map(|one| one["epoch"].as_u64()).collect();
    ensure!(shown.iter().all(|epoch| known.contains(epoch)), "{shown:?} of {known:?}");
    ensure!(browser.count("#checkpoints .bar rect")? > 0 && browser.count("#commits tr")? == 2);
    ensure!(browser.text("#events")?.contains("attempt 1 failed") && browser.text("#events")?.contains("goes on from"));

    let manifest = browser.run("return document.getElementById('configuration').textContent")?;
    let manifest = manifest.as_str().context("a text")?.to_owned();
    ensure!(manifest.contains("TUMBLE") && !manifest.contains(CANARY), "{manifest}");
    for path in ["/", "/graph", "/history", "/metrics", "/page.js"] {
        let (head, body) = get(address, path)?;
        ensure!(head.starts_with("HTTP/1.1 200") && !body.contains(CANARY), "{path}: {head}");
    }

    let light = ground(&browser)?;
    picture(&browser, "page-light")?;
    browser.prefer(Scheme::Dark)?;
    ensure!(ground(&browser)? != light, "dark is as light");
    picture(&browser, "page-dark")?;
    ensure!(is_within_its_screen(&browser)?);
    browser.resize(390, 844, true)?;
    browser.wait("it fits a phone", is_within_its_screen)?;
    picture(&browser, "page-phone")?;
    browser.assert_quiet()?;

    child.kill()?;
    child.finish()?;
    browser.wait("it says that nobody answers", |page| Ok(page.text("#stale")?.contains("does not answer")))?;
    ensure!(browser.text("#word")? == "not reachable");
    Ok(())
}

/// Texts of all that the selector finds, or of one of their attributes.
fn texts(browser: &Browser, selector: &str, property: &str) -> Result<Vec<String>> {
    let script = format!("return [...document.querySelectorAll('{selector}')].map((one) => one.{property})");
    Ok(serde_json::from_value(browser.run(&script)?)?)
}

/// The share of its time for which a stage is held up by those behind it, in percent: of the one that is most.
fn held_up(browser: &Browser) -> Result<u64> {
    let titles = texts(browser, ".stage [title*=back-pressured]", "title")?;
    let share = |title: &String| number(title.split("back-pressured ").nth(1)?.split(' ').next()?);
    Ok(titles.iter().filter_map(share).max().unwrap_or(0))
}

/// A generator without a limit, into a topic: ends of its transactions do not arrive for a while.
#[test]
fn the_page_shows_commits_that_wait_with_their_deadline_and_who_is_held_up() -> Result<()> {
    let proxy = Proxy::start()?;
    let options = Options { proxy: Some(proxy.port()), ..Options::default() };
    let nodes = Broker::cluster(Version::Newest, &options, 1)?;
    let node = nodes.first().context("a broker")?;
    Judge::start(&node.address())?.create("waiting", 1)?;
    proxy.forward_to(node.address_of(Listener::Proxied)?);
    let site = Site::new()?;
    let manifest = format!(
        "apiVersion: onceward.dev/v1alpha1
kind: Pipeline
metadata: {{name: waiting}}
spec:
  connections:
  - name: main
    kafka: {{bootstrapServers: [\"{address}\"], properties: {{queue.buffering.max.messages: 1000, linger.ms: 5}}}}
  sources:
  - name: numbers
    generator: {{rows: 100000000, seed: 3}}
    columns: [{{name: id, type: BIGINT, generate: {{sequence: {{start: 0}}}}}}]
  sinks:
  - {{name: out, input: numbers, kafka: {{connection: main, topic: waiting, transactionTimeout: 15m}}}}
  checkpoint: {{interval: 500ms, storage: {{local: {{path: {state}}}}}}}
",
        address = proxy.address(),
        state = site.state.display(),
    );
    std::fs::write(&site.manifest, manifest)?;
    let address = free_port()?;
    let mut child = site.start("", &["--metrics", &address.to_string()])?;
    child.wait_for(|said| said.is_event("commit.completed"))?;
    proxy.lose_requests(END_TXN, u64::MAX);
    let browser = Browser::start()?;
    browser.open(&format!("http://{address}/"))?;
    // Of the only sink, once it is shown.
    let row = |page: &Browser| -> Result<Option<[String; 7]>> {
        Ok(texts(page, "#commits td", "textContent")?.try_into().ok())
    };
    browser.wait("a commit waits, with its age, its transaction and its deadline", |page| {
        let Some([sink, _, pending, age, open, deadline, _]) = row(page)? else { return Ok(false) };
        let has_dates = age != "–" && open.starts_with("since ") && deadline.starts_with("in ");
        Ok(sink == "out" && number(&pending) > Some(0) && has_dates)
    })?;
    browser.wait("its source is held up", |page| Ok(held_up(page)? >= 50))?;
    ensure!(proxy.lost() > 0, "nothing was lost: this proves nothing");
    proxy.lose_requests(END_TXN, 0);
    browser.wait("it is settled", |page| Ok(row(page)?.is_some_and(|row| row[3] == "–")))?;
    browser.assert_quiet()?;
    child.kill()?;
    child.finish()?;
    Ok(())
}
