//! Checks of connections and of what uses them, each with the names and numbers that the schema's rules cannot put into
//! their messages; and doubts about logins.

use std::collections::BTreeSet;

use serde_json::Value;

use super::finding::nearest;
use super::findings::Findings;
use super::graph::{items, name, text};
use crate::pipeline::{CheckpointSpec, Duration, KafkaConnection, KafkaSink, SaslMechanism};

/// Looks at the object as far as it is whole; what the schema refused is null here.
pub(super) fn check(spec: &Value, findings: &mut Findings) {
    let connections = items(spec, "connections");
    let known: BTreeSet<&str> = connections.iter().filter_map(name).collect();
    let mut used = BTreeSet::new();
    for list in ["sources", "sinks"] {
        for (i, user) in items(spec, list).iter().enumerate() {
            let Some(kafka) = user.get("kafka") else { continue };
            let path = format!("spec.{list}[{i}].kafka");
            used.extend(check_name(kafka, &known, &path, findings));
            check_offsets(kafka, &path, findings);
            check_transaction(spec, kafka, &path, findings);
        }
    }
    check_columns(spec, findings);
    for (i, connection) in connections.iter().enumerate() {
        let path = format!("spec.connections[{i}]");
        warn_of_plaintext(connection, &path, findings);
        // With a misspelt name the connection that was meant would seem unused.
        if let Some(name) = name(connection).filter(|name| !used.contains(name))
            && !findings.has_faults()
        {
            let message = format!("no source or sink uses the connection `{name}`");
            findings.warn(&path, &message, Some("name it in one, or remove it"));
        }
    }
}

/// The connection's name.
fn check_name<'v>(kafka: &'v Value, known: &BTreeSet<&str>, path: &str, findings: &mut Findings) -> Option<&'v str> {
    let wanted = text(kafka, "connection")?;
    if !known.contains(wanted) {
        let fix = match nearest(wanted, known.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None if known.is_empty() => "add it to spec.connections".to_owned(),
            None => format!("write one of: {}", known.iter().copied().collect::<Vec<_>>().join(", ")),
        };
        findings.fault(&format!("{path}.connection"), &format!("there is no connection `{wanted}`"), Some(&fix));
    }
    Some(wanted)
}

/// Ends are given for topics that are read.
fn check_offsets(kafka: &Value, path: &str, findings: &mut Findings) {
    let topics: Vec<&str> = items(kafka, "topics").iter().filter_map(Value::as_str).collect();
    for (i, end) in items(kafka, "untilOffsets").iter().enumerate() {
        let Some(topic) = text(end, "topic").filter(|topic| !topics.contains(topic)) else { continue };
        let fix = match nearest(topic, topics.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => "add it to topics, or remove this end".to_owned(),
        };
        let message = format!("`{topic}` is none of the topics that are read");
        findings.fault(&format!("{path}.untilOffsets[{i}].topic"), &message, Some(&fix));
    }
}

/// A transaction must outlast all the checkpoints that may fail before one decides it, and then the commit.
fn check_transaction(spec: &Value, kafka: &Value, path: &str, findings: &mut Findings) {
    let read = |value: Option<&Value>| value.cloned().unwrap_or_default();
    let Ok(sink) = serde_json::from_value::<KafkaSink>(kafka.clone()) else { return };
    let Ok(checkpoint) = serde_json::from_value::<CheckpointSpec>(read(spec.get("checkpoint"))) else { return };
    let Some(timeout) = sink.transaction_timeout else { return };
    let needed = sink.needed_timeout(&checkpoint);
    if timeout <= needed {
        let (epochs, budget) = (checkpoint.tolerable_failed_checkpoints + 1, sink.commit_budget_of(timeout));
        let message = format!(
            "{timeout} is not longer than {epochs} * ({} + {}) + {budget} = {}: {epochs} checkpoints may pass before one decides the transaction, \
             then the commit needs its budget",
            checkpoint.interval,
            checkpoint.timeout,
            Duration::from_millis(checkpoint.longest_undecided().as_millis().saturating_add(budget.as_millis())),
        );
        let fix = format!(
            "write more than {needed}, or shorten checkpoint.timeout, checkpoint.interval or checkpoint.tolerableFailedCheckpoints"
        );
        findings.fault(&format!("{path}.transactionTimeout"), &message, Some(&fix));
    }
}

/// Names of metadata are columns, too.
fn check_columns(spec: &Value, findings: &mut Findings) {
    for (i, source) in items(spec, "sources").iter().enumerate() {
        let columns: BTreeSet<&str> = items(source, "columns").iter().filter_map(name).collect();
        for (k, metadata) in items(source, "metadata").iter().enumerate() {
            let Some(column) = text(metadata, "column").filter(|column| columns.contains(column)) else { continue };
            let message = format!("`{column}` is the name of one of columns, too");
            findings.fault(&format!("spec.sources[{i}].metadata[{k}].column"), &message, Some("rename one of them"));
        }
    }
}

fn warn_of_plaintext(connection: &Value, path: &str, findings: &mut Findings) {
    let kafka = connection.get("kafka").cloned().unwrap_or_default();
    let Ok(KafkaConnection { tls: None, sasl: Some(sasl), .. }) = serde_json::from_value(kafka) else { return };
    let message = match sasl.mechanism {
        SaslMechanism::Plain => "the password crosses the network in plaintext",
        SaslMechanism::ScramSha256 | SaslMechanism::ScramSha512 => {
            "whoever listens can guess the password at leisure, and reads all records"
        }
    };
    findings.warn(&format!("{path}.kafka.sasl"), message, Some("set tls"));
}

#[cfg(test)]
mod tests;
