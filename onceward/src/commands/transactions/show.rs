//! Transactions as people read them.

use std::path::Path;
use std::time::Duration;

use runtime::connectors::Transaction;
use runtime::transactions::{Described, Judged, Standing};

use crate::screen::{Screen, Style, thousands};

/// Partitions that a line names; the others are counted.
const MOST_PARTITIONS: usize = 6;

/// Two lines for each: what it is, and what would be right to do.
pub(super) fn table(found: &[Judged], file: &Path, screen: Screen) -> Vec<String> {
    let mut lines = Vec::new();
    for judged in found {
        let Judged { transaction, age_ms, left_ms, .. } = judged;
        lines.push(transaction.id.clone());
        let owner = transaction.owner.as_ref().map_or_else(
            || "nobody's".to_owned(),
            |owner| {
                let (attempt, sink, writer, slot) = (owner.attempt, &owner.sink, owner.writer, owner.slot);
                format!("attempt {attempt}, sink {sink}, writer {writer}, slot {slot}")
            },
        );
        lines.push(format!(
            "  {}  {owner}; {}, age {}, {} left; {}",
            standing(judged, screen),
            transaction.state,
            time(*age_ms),
            time(*left_ms),
            partitions(transaction),
        ));
        lines.push(format!("  -> {}", advice(judged, file)));
    }
    lines
}

/// One line for each thing that is known.
pub(super) fn everything(id: &str, described: &Described, file: &Path) -> Vec<String> {
    let mut lines = vec![id.to_owned()];
    let mut say = |name: &str, value: String| lines.push(format!("  {name:<12} {value}"));
    match &described.transaction {
        None => say("coordinator", "knows no such id (any more)".to_owned()),
        Some(judged) => {
            let transaction = &judged.transaction;
            if let Some(owner) = &transaction.owner {
                say("pipeline", owner.pipeline.to_string());
                say("attempt", owner.attempt.to_string());
                say("sink", owner.sink.clone());
                say("writer", owner.writer.to_string());
                say("slot", owner.slot.to_string());
            }
            say("cluster", transaction.cluster.clone());
            let stamp = transaction.stamp;
            say("producer", format!("{}, epoch {}", stamp.producer_id, stamp.producer_epoch));
            say("state", transaction.state.clone());
            say("age", time(judged.age_ms));
            say("left", format!("{} of {}", time(judged.left_ms), time(Some(transaction.timeout_ms))));
            say("partitions", transaction.partitions.join(", "));
            say("decision", word(judged));
            say("right to do", advice(judged, file));
        }
    }
    for piece in &described.decided {
        say("checkpoint", format!("{} decided {} rows: {}", piece.checkpoint, thousands(piece.rows), piece.what));
        say("now", piece.now.clone());
        let settled = piece.settled.map_or_else(|| "not written down yet".to_owned(), |outcome| format!("{outcome:?}"));
        let reason = piece.reason.as_ref().map_or_else(String::new, |reason| format!(" ({reason})"));
        say("settled", format!("{settled}{reason}"));
    }
    lines
}

fn standing(judged: &Judged, screen: Screen) -> String {
    let style = match judged.standing {
        Standing::Decided => Style::Doubtful,
        Standing::Settled | Standing::Unknown => Style::Bad,
        Standing::Undecided => Style::Faint,
    };
    screen.paint(style, &word(judged))
}

fn word(judged: &Judged) -> String {
    let checkpoint = judged.checkpoint.as_deref().unwrap_or_default();
    match judged.standing {
        Standing::Decided => format!("decided by checkpoint {checkpoint}"),
        Standing::Settled => format!("settled with checkpoint {checkpoint}"),
        Standing::Undecided => "undecided".to_owned(),
        Standing::Unknown => "of no attempt known".to_owned(),
    }
}

fn partitions(transaction: &Transaction) -> String {
    let named = transaction.partitions.iter().take(MOST_PARTITIONS).cloned().collect::<Vec<_>>().join(", ");
    match transaction.partitions.len() {
        0 => "no partitions".to_owned(),
        count if count > MOST_PARTITIONS => format!("{named} and {} more", count - MOST_PARTITIONS),
        _ => named,
    }
}

/// The advice with the manifest's name and the id in it.
pub(super) fn advice(judged: &Judged, file: &Path) -> String {
    judged
        .advice
        .replace("FILE ID", &format!("{} {}", file.display(), judged.transaction.id))
        .replace(" FILE`", &format!(" {}`", file.display()))
}

/// `2h 5m`, `90s`, `250ms`; `-` for what is not known.
fn time(ms: Option<u64>) -> String {
    let Some(ms) = ms else { return "-".to_owned() };
    let seconds = Duration::from_millis(ms).as_secs();
    match seconds {
        0 => format!("{ms}ms"),
        1..=119 => format!("{seconds}s"),
        120..=7_199 => format!("{}m {}s", seconds / 60, seconds % 60),
        _ => format!("{}h {}m", seconds / 3_600, seconds % 3_600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_short_and_never_empty() {
        let shown = [None, Some(0), Some(999), Some(119_999), Some(120_000), Some(7_260_000)].map(time);
        assert_eq!(shown, ["-", "0ms", "999ms", "119s", "2m 0s", "2h 1m"]);
    }
}
