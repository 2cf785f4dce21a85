//! What a worker leaves behind.

use std::path::Path;
use std::sync::Arc;

use api::report::WorkerState;
use runtime::report::Reporting;

/// Writes the report when it goes out of scope: at the end, or when a panic unwinds.
pub(super) struct LastWords<'a> {
    pub(super) file: Option<&'a Path>,
    pub(super) report: Arc<Reporting>,
}

impl Drop for LastWords<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.report.ended(WorkerState::Failed, "Panic", "this is a bug in onceward; nothing is lost");
        }
        let Some(file) = self.file else { return };
        // Numbers, strings and enums: this cannot fail. Written in place, as a container's file is a mount of its own.
        let line = serde_json::to_string(&self.report.now()).unwrap_or_default() + "\n";
        if let Err(error) = std::fs::write(file, line) {
            tracing::warn!(file = %file.display(), %error, "the report of the end could not be written");
        }
    }
}

#[cfg(test)]
mod tests {
    use api::report::WorkerReport;
    use runtime::clock::SystemClock;
    use runtime::report::About;

    use super::super::narrator::Narrator;
    use super::*;

    fn reporting() -> Arc<Reporting> {
        Arc::new(Reporting::new(About::default(), Arc::new(SystemClock), Arc::new(Narrator)))
    }

    #[test]
    fn a_panic_leaves_words_that_say_so() {
        let folder = tempfile::tempdir().unwrap();
        let (file, report) = (folder.path().join("log"), reporting());
        let struck = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _words = LastWords { file: Some(&file), report };
            std::panic::panic_any("struck");
        }));
        assert!(struck.is_err());
        let text = std::fs::read_to_string(&file).unwrap();
        let left: WorkerReport = serde_json::from_str(&text).unwrap();
        assert_eq!((left.state, left.reason.as_deref()), (WorkerState::Failed, Some("Panic")));
        assert_eq!(text.lines().count(), 1);
    }

    #[test]
    fn a_place_that_cannot_be_written_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        drop(LastWords { file: Some(&folder.path().join("no/where")), report: reporting() });
        drop(LastWords { file: None, report: reporting() });
    }
}
