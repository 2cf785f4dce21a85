//! How all subtasks of an attempt learn that they are to end.

use std::future::Future;

use tokio::sync::watch;

/// The worker's end: dropping it stops too.
pub(crate) struct Stopper(watch::Sender<bool>);

/// A subtask's end.
#[derive(Clone)]
pub struct StopSignal(watch::Receiver<bool>);

pub(crate) fn stop_signal() -> (Stopper, StopSignal) {
    let (sender, receiver) = watch::channel(false);
    (Stopper(sender), StopSignal(receiver))
}

impl Stopper {
    pub(crate) fn stop(&self) {
        self.0.send_replace(true);
    }
}

impl StopSignal {
    pub fn is_stopped(&self) -> bool {
        *self.0.borrow() || self.0.has_changed().is_err()
    }

    /// Runs `work` until it is done, or drops it where it stands (`None`).
    pub(crate) async fn unless_stopped<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let mut signal = self.0.clone();
        tokio::select! {
            biased;
            // An error means that the stopper is gone, which is a stop as well.
            _ = signal.wait_for(|stopped| *stopped) => None,
            done = work => Some(done),
        }
    }
}
