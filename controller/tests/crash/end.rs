//! The end of a run as far as two runs of one scenario must agree in it, and what must hold in each by itself.

use serde_json::{Value, json};
use stage::inprocess::{CONFIG_MAPS, PIPELINES, PODS};
use stage::script::Log;

use crate::world::{World, bystanders};

/// Objects, status and what is visible, without times, versions and how far a run had come at a certain moment.
pub(crate) fn end(world: &World) -> Value {
    let mut objects = vec![];
    for kind in [&PIPELINES, &PODS, &CONFIG_MAPS] {
        for (key, object) in world.server.list(kind) {
            let mut object = object.as_ref().clone();
            timeless(&mut object);
            objects.push(json!({ "kind": kind.kind, "name": key.name, "object": object }));
        }
    }
    let store = world.store();
    let told = |log: &Log| json!({ "id": log.id.to_string(), "owes": log.owed().is_some(), "cleared": log.is_cleared });
    let logs = store.logs.iter().map(told);
    json!({ "objects": objects, "logs": logs.collect::<Vec<_>>() })
}

/// Numbers of the log go with the moment at which somebody asked it to stop; that they are the log's newest is judged apart.
fn timeless(value: &mut Value) {
    const OF_THE_MOMENT: [&str; 14] = [
        "attempt",
        "checkpoints",
        "creationTimestamp",
        "epoch",
        "finishedAt",
        "floor",
        "log",
        "message",
        "observedGeneration",
        "podIP",
        "podIPs",
        "resourceVersion",
        "selector",
        "startedAt",
    ];
    match value {
        Value::Object(fields) => {
            fields.retain(|field, _| !OF_THE_MOMENT.contains(&field.as_str()) && !field.ends_with("Time"));
            fields.values_mut().for_each(timeless);
        }
        Value::Array(items) => {
            // Whoever was away as a worker died without last words knows of no floor.
            if let Some(floor) = items.iter().position(|item| item == "--floor") {
                items.drain(floor..(floor + 2).min(items.len()));
            }
            items.iter_mut().for_each(timeless);
        }
        // A log's id is the Pipeline's uid, written without dashes once the log is known.
        Value::String(text) => *text = text.replace('-', ""),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// What holds at every end.
///
/// # Errors
/// What does not, in words.
pub(crate) fn judge(world: &World) -> Result<(), String> {
    let store = world.store();
    for log in &store.logs {
        let decided: Vec<u64> = log.decisions.iter().filter_map(|decision| decision.unit).collect();
        let visible: Vec<u64> = store.visible.iter().filter(|(id, _)| *id == log.id).map(|(_, unit)| *unit).collect();
        if decided != (1..=decided.len() as u64).collect::<Vec<_>>() {
            return Err(format!("decided units are {decided:?}"));
        }
        if log.is_cleared && log.owed().is_some() {
            return Err("checkpoints are deleted, and not everything decided is visible".to_owned());
        }
        if log.is_cleared && world.pipeline().is_some_and(|found| found["metadata"]["deletionTimestamp"].is_null()) {
            return Err("checkpoints are deleted of a Pipeline that is not".to_owned());
        }
        if !store.is_blocked && visible != decided {
            return Err(format!("{decided:?} are decided, {visible:?} are visible"));
        }
    }
    let status = world.status();
    if let (Some(known), Some(log)) = (&status.checkpoints.last_completed, store.logs.last()) {
        let newest = log.newest().ok_or("status knows a checkpoint, the log none")?;
        if (known.attempt, known.epoch) != (newest.attempt.0, newest.epoch.0) {
            return Err(format!("status has {known:?}, the log {newest:?}"));
        }
    }
    for (key, object) in bystanders() {
        let found = world.server.get(&key).ok_or_else(|| format!("{} of another one is gone", key.name))?;
        if found["metadata"]["labels"] != object["metadata"]["labels"]
            || found["metadata"]["deletionTimestamp"].is_string()
        {
            return Err(format!("{} of another one is changed: {found}", key.name));
        }
    }
    let generation = world.pipeline().and_then(|found| found["metadata"]["generation"].as_i64());
    if generation.is_some() && status.observed_generation != generation {
        return Err(format!("generation {generation:?} is not observed: {:?}", status.observed_generation));
    }
    history(world)
}

/// What holds at every moment.
fn history(world: &World) -> Result<(), String> {
    let mut wrong = None;
    let mut highest = None;
    let mut restarts = 0;
    world.server.changes(|change| {
        if change.key.kind != &PIPELINES || wrong.is_some() {
            return;
        }
        // It goes, or a restored server has forgotten what was said.
        let Some(after) = change.after.as_ref().filter(|after| after.get("status").is_some()) else {
            (highest, restarts) = (None, 0);
            return;
        };
        let number = |pointer: &str| after.pointer(pointer).and_then(Value::as_u64);
        let place = (number("/status/log/floor/attempt"), number("/status/log/floor/epoch"));
        if place < highest.unwrap_or_default() {
            wrong = Some(format!("the floor goes back from {highest:?} to {place:?}"));
        }
        let total = number("/status/restarts/total").unwrap_or_default();
        if total < restarts {
            wrong = Some(format!("restarts go back from {restarts} to {total}"));
        }
        (highest, restarts) = (Some(place), total);
    });
    wrong.map_or(Ok(()), Err)
}

/// Lines that only one of them has.
pub(crate) fn difference(one: &Value, other: &Value) -> String {
    let (one, other) = (format!("{one:#}"), format!("{other:#}"));
    let missing = |of: &str, sign: char, from: &str| -> Vec<String> {
        let known: std::collections::BTreeSet<&str> = from.lines().collect();
        of.lines().filter(|line| !known.contains(line)).map(|line| format!("{sign} {}", line.trim())).collect()
    };
    [missing(&one, '+', &other), missing(&other, '-', &one)].concat().join("\n")
}
