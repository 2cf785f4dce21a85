//! The wish to stop, from a signal handler to the coordinator.

use tokio::sync::watch;

/// Held by whoever may ask for a stop.
#[derive(Clone, Debug)]
pub struct StopHandle {
    sender: watch::Sender<bool>,
}

/// Held by the run.
#[derive(Clone, Debug)]
pub struct StopSignal {
    receiver: watch::Receiver<bool>,
}

/// A handle and the signal it gives.
pub fn stop_channel() -> (StopHandle, StopSignal) {
    let (sender, receiver) = watch::channel(false);
    (StopHandle { sender }, StopSignal { receiver })
}

impl StopHandle {
    /// Asks for a last checkpoint, its commit, and an end. Asking again changes nothing.
    pub fn stop(&self) {
        self.sender.send_replace(true);
    }
}

impl StopSignal {
    /// A signal that is never given.
    pub fn never() -> Self {
        stop_channel().1
    }

    pub fn is_set(&self) -> bool {
        *self.receiver.borrow()
    }

    /// Returns once a stop was asked for; never if nobody can ask any more.
    pub async fn wait(&mut self) {
        if self.receiver.wait_for(|stop| *stop).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_stop_is_seen_by_those_who_look_later() {
        let (handle, mut signal) = stop_channel();
        assert!(!signal.is_set());
        handle.stop();
        handle.stop();
        signal.wait().await;
        assert!(signal.clone().is_set());
        drop(handle);
        signal.wait().await;
        assert!(futures::poll!(Box::pin(StopSignal::never().wait())).is_pending());
    }
}
