//! `kubectl onceward status`: one Pipeline in full, or all of them, a line each.

mod one;

use std::collections::BTreeMap;

use api::pipeline::Pipeline;
use futures::future::BoxFuture;
use futures::{StreamExt as _, TryStreamExt as _};
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt as _, watcher::watcher};
use kube::{Api, ResourceExt as _};
use serde_json::{Value, json};

use crate::cli::{Output, StatusArgs};
use crate::health::{Health, Judgement, condition, judge};
use crate::layout::{Cell, Table, since};
use crate::site::{Error, Site, refused};
use crate::terminal::{Tone, say_all};

pub(crate) use self::one::lines;

const LIST: &str = "list Pipelines";

/// Shows, and with `--watch` goes on until `stop`. The exit code is that of the worst Pipeline.
///
/// # Errors
/// Those of requests.
pub(crate) async fn execute(site: &Site<'_>, args: &StatusArgs, stop: BoxFuture<'_, ()>) -> Result<u8, Error> {
    if args.watch {
        return watch(site, args, stop).await;
    }
    let Some(name) = &args.name else {
        let found = site.list(LIST, &reach(site, args), "").await?;
        let health = found.iter().map(|pipeline| judge(pipeline, site.now_ms()).health).max();
        // Nobody who reads is no reason for a better verdict.
        let _ = match args.output {
            Output::Json => site
                .terminal
                .say(&json!({ "items": found.iter().map(|one| as_json(site, one)).collect::<Vec<_>>() }).to_string()),
            Output::Text if found.is_empty() => site.terminal.say(&nothing(site, args)),
            Output::Text => say_all(site.terminal, table(site, args, &found)),
        };
        return Ok(health.unwrap_or(Health::Healthy).exit_code());
    };
    let pipeline = site.pipeline(name).await?;
    let judged = judge(&pipeline, site.now_ms());
    let _ = match args.output {
        Output::Json => site.terminal.say(&as_json(site, &pipeline).to_string()),
        Output::Text => say_all(site.terminal, lines(&pipeline, &judged, site.now_ms(), site.terminal)),
    };
    Ok(judged.health.exit_code())
}

fn reach(site: &Site<'_>, args: &StatusArgs) -> Api<Pipeline> {
    if args.all_namespaces { Api::all(site.client.clone()) } else { site.pipelines() }
}

fn nothing(site: &Site<'_>, args: &StatusArgs) -> String {
    if args.all_namespaces {
        return "no Pipelines in any namespace".to_owned();
    }
    format!("no Pipelines in namespace `{}`; -A looks into all", site.namespace)
}

/// For programs: the judgement, and the status as it is.
fn as_json(site: &Site<'_>, pipeline: &Pipeline) -> Value {
    let Judgement { health, reasons } = judge(pipeline, site.now_ms());
    json!({
        "namespace": pipeline.metadata.namespace,
        "name": pipeline.metadata.name,
        "health": health.word(),
        "reasons": reasons,
        "generation": pipeline.metadata.generation,
        "status": pipeline.status,
    })
}

pub(crate) fn tone(health: Health) -> Tone {
    match health {
        Health::Healthy => Tone::Good,
        Health::Degraded => Tone::Doubtful,
        Health::Failed => Tone::Bad,
    }
}

/// Columns; with those of all namespaces there is less room for names.
fn columns(all: bool) -> Table {
    let rest = [("HEALTH", 8), ("PHASE", 10), ("EPOCH", 9), ("CHECKPOINT", 10), ("PENDING", 7), ("RESTARTS", 8)];
    let names: &[_] = if all { &[("NAMESPACE", 14), ("NAME", 18)] } else { &[("NAME", 34)] };
    Table::new(&[names, &rest[..]].concat())
}

fn row(pipeline: &Pipeline, all: bool, now_ms: u64) -> Vec<Cell> {
    let health = judge(pipeline, now_ms).health;
    let status = pipeline.status.clone().unwrap_or_default();
    let last = status.checkpoints.last_completed.as_ref();
    let mut cells: Vec<Cell> = vec![];
    if all {
        cells.push(pipeline.namespace().unwrap_or_default().into());
    }
    cells.extend([
        pipeline.name_any().into(),
        Cell { text: health.word().to_owned(), tone: Some(tone(health)) },
        status.phase.map_or_else(|| "-".to_owned(), |phase| format!("{phase:?}")).into(),
        last.map_or_else(|| "-".to_owned(), |last| last.epoch.to_string()).into(),
        last.and_then(|last| Some(since(last.completed_time.as_deref()?, now_ms)))
            .unwrap_or_else(|| "-".to_owned())
            .into(),
        pending(pipeline).into(),
        status.restarts.total.to_string().into(),
    ]);
    cells
}

/// Pieces, or `?` where nobody knows.
fn pending(pipeline: &Pipeline) -> String {
    let Some(status) = &pipeline.status else { return "-".to_owned() };
    match condition(status, "CommitsSettled").map(|settled| settled.status.as_str()) {
        Some("Unknown") => "?".to_owned(),
        _ => status.pending_committables.to_string(),
    }
}

fn table(site: &Site<'_>, args: &StatusArgs, found: &[Pipeline]) -> Vec<String> {
    let now_ms = site.now_ms();
    let mut table = columns(args.all_namespaces);
    for pipeline in found {
        table.row(row(pipeline, args.all_namespaces, now_ms));
    }
    table.lines(site.terminal)
}

/// A line for each Pipeline, and one more whenever what it says has changed, but for times.
async fn watch(site: &Site<'_>, args: &StatusArgs, mut stop: BoxFuture<'_, ()>) -> Result<u8, Error> {
    let config = watcher::Config::default();
    let config = args.name.iter().fold(config, |config, name| config.fields(&format!("metadata.name={name}")));
    let mut events = watcher(reach(site, args), config).default_backoff().boxed();
    let mut shown: BTreeMap<(String, String), (Health, Vec<String>)> = BTreeMap::new();
    if args.output == Output::Text {
        site.terminal.say(&columns(args.all_namespaces).heading(site.terminal))?;
    }
    loop {
        let event = tokio::select! {
            event = events.try_next() => event,
            () = &mut stop => break,
        };
        match event {
            Ok(Some(Event::Apply(pipeline) | Event::InitApply(pipeline))) => {
                let key = (pipeline.namespace().unwrap_or_default(), pipeline.name_any());
                let (judged, words) = (judge(&pipeline, site.now_ms()), said(&pipeline));
                let now = (judged.health, words);
                if shown.get(&key) != Some(&now) {
                    shown.insert(key, now);
                    say_one(site, args, &pipeline)?;
                }
            }
            Ok(Some(Event::Delete(pipeline))) => {
                let (namespace, name) = (pipeline.namespace().unwrap_or_default(), pipeline.name_any());
                site.terminal.tell(&format!("{namespace}/{name} is gone"));
                shown.remove(&(namespace, name));
            }
            Ok(Some(Event::Init | Event::InitDone)) => {}
            Ok(None) => break,
            Err(error) => endured(site, &error)?,
        }
    }
    let worst = shown.values().map(|(health, _)| *health).max();
    Ok(worst.unwrap_or(Health::Healthy).exit_code())
}

fn say_one(site: &Site<'_>, args: &StatusArgs, pipeline: &Pipeline) -> Result<(), Error> {
    if args.output == Output::Json {
        return Ok(site.terminal.say(&as_json(site, pipeline).to_string())?);
    }
    let mut table = columns(args.all_namespaces);
    table.row(row(pipeline, args.all_namespaces, site.now_ms()));
    if let Some(line) = table.last(site.terminal) {
        site.terminal.say(&line)?;
    }
    Ok(())
}

/// What a line says but for times.
fn said(pipeline: &Pipeline) -> Vec<String> {
    let cells = row(pipeline, true, 0).into_iter().map(|cell| cell.text);
    // Ages count from the beginning of time here, and are left out: health is compared beside.
    cells.enumerate().filter(|(index, _)| !matches!(index, 2 | 5)).map(|(_, text)| text).collect()
}

/// A watch goes on by itself after an outage; what no waiting mends ends it.
///
/// # Errors
/// Such a one.
pub(crate) fn endured(site: &Site<'_>, error: &watcher::Error) -> Result<(), Error> {
    let error = match error {
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error) => refused("watch Pipelines", error),
        watcher::Error::WatchError(_) | watcher::Error::NoResourceVersion => return Ok(()),
    };
    match error {
        Error::Unreachable { .. } | Error::Conflict { .. } => {
            site.terminal.tell(&format!("{error}; trying again"));
            Ok(())
        }
        // 410: what is watched from is forgotten, and it begins anew.
        Error::Refused { why, .. } if why.contains("too old resource version") => Ok(()),
        error => Err(error),
    }
}
