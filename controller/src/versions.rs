//! What is said where worker and controller are of different versions and do not understand each other.

use api::report::{OLDEST_REPORT_VERSION, REPORT_VERSION, Unread, WorkerReport};

/// Of conditions and failures.
pub const REASON: &str = "WorkerVersion";
/// Of this controller.
const OURS: &str = env!("CARGO_PKG_VERSION");

/// Of a worker that is at work.
pub(crate) fn at_work(unread: &Unread) -> String {
    if unread.report_version == 0 {
        return "the worker does not tell its state to this controller: it was started for one with another key. It is left as \
                it is; the annotation onceward.dev/restart-requested-at has it replaced"
            .to_owned();
    }
    format!("{}; the worker is left as it is: {}", not_understood(unread), what_to_do())
}

/// Of one that has ended: what it came to is not known.
pub(crate) fn ended(unread: &Unread) -> String {
    format!("{}, and the worker has ended; it is not started again: {}", not_understood(unread), what_to_do())
}

/// Of one that did not begin. `report`: its last words, where it left some.
pub(crate) fn refused(report: Option<&WorkerReport>) -> String {
    let Some(report) = report else {
        return format!(
            "the worker refuses what it is started with and does not say why, as one of another version would (this controller is \
             {OURS}): its log tells more; {}",
            what_to_do()
        );
    };
    let message = report.message.clone().unwrap_or_default();
    if report.version.is_empty() || report.version == OURS {
        return message;
    }
    format!("{message} (the worker is {}, this controller {OURS}: {})", report.version, what_to_do())
}

fn not_understood(unread: &Unread) -> String {
    let theirs = if unread.version.is_empty() { "of unknown version" } else { unread.version.as_str() };
    let format = unread.report_version;
    format!(
        "the worker is {theirs} and tells its state in format {format}; this controller is {OURS} and understands formats \
         {OLDEST_REPORT_VERSION} to {REPORT_VERSION}"
    )
}

fn what_to_do() -> &'static str {
    "use versions that are at most one minor apart, by spec.image or by the controller's own"
}
