//! `kubectl onceward status`: one Pipeline in full, or all of them, a line each.

mod one;
mod watch;

use api::pipeline::Pipeline;
use kube::core::DeserializeGuard;
use kube::core::error_boundary::InvalidObject;
use kube::{Api, ResourceExt as _};
use serde_json::{Value, json};

use crate::cli::{Output, StatusArgs};
use crate::health::{Health, Judgement, condition, judge};
use crate::layout::{Cell, Table, WIDTH, since, wrap};
use crate::site::{Error, Site};
use crate::terminal::{Tone, say_all};

pub(crate) use self::one::lines;
pub(crate) use self::watch::{endured, watch};

const LIST: &str = "list Pipelines";

/// One that is of another version takes no other's place.
type Guarded = DeserializeGuard<Pipeline>;

/// Shows. The exit code is that of the worst Pipeline.
///
/// # Errors
/// Those of requests.
pub(crate) async fn execute(site: &Site<'_>, args: &StatusArgs) -> Result<u8, Error> {
    let Some(name) = &args.name else { return all(site, args).await };
    let pipeline = site.pipeline(name).await?;
    let judged = judge(&pipeline, site.now_ms());
    let _ = match args.output {
        Output::Json => site.terminal.say(&as_json(site, &pipeline).to_string()),
        Output::Text => say_all(site.terminal, lines(&pipeline, &judged, site.now_ms(), site.terminal)),
    };
    Ok(judged.health.exit_code())
}

async fn all(site: &Site<'_>, args: &StatusArgs) -> Result<u8, Error> {
    let (mut found, mut worst) = (vec![], Health::Healthy);
    for DeserializeGuard(one) in site.list(LIST, &reach(site, args), "").await? {
        match one {
            Ok(pipeline) => {
                worst = worst.max(judge(&pipeline, site.now_ms()).health);
                found.push(pipeline);
            }
            Err(invalid) => {
                worst = worst.max(Health::Degraded);
                site.terminal.fault(&unread(&invalid).to_string());
            }
        }
    }
    // Nobody who reads is no reason for a better verdict.
    let _ = match args.output {
        Output::Json => site
            .terminal
            .say(&json!({ "items": found.iter().map(|one| as_json(site, one)).collect::<Vec<_>>() }).to_string()),
        Output::Text if found.is_empty() && worst == Health::Healthy => {
            say_all(site.terminal, wrap(&nothing(site, args), WIDTH))
        }
        Output::Text => say_all(site.terminal, table(site, args, &found)),
    };
    Ok(worst.exit_code())
}

/// Of one that cannot be judged.
fn unread(invalid: &InvalidObject) -> Error {
    let metadata = &invalid.metadata;
    let (namespace, name) = (metadata.namespace.as_deref(), metadata.name.as_deref());
    let what = format!("read Pipeline {}/{}", namespace.unwrap_or_default(), name.unwrap_or_default());
    Error::Unread { what, why: invalid.error.clone() }
}

fn reach(site: &Site<'_>, args: &StatusArgs) -> Api<Guarded> {
    if args.all_namespaces {
        return Api::all(site.client.clone());
    }
    Api::namespaced(site.client.clone(), &site.namespace)
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
