//! The line between the coordinator and a worker: serialisable messages, nothing shared.

use api::control::{FromWorker, ToWorker};
use futures::future::BoxFuture;
use tokio::sync::mpsc;

/// One worker. Both futures may be dropped without losing a message that was not yet handed over.
pub trait WorkerPort: Send {
    /// `false`: the worker is gone.
    fn send(&mut self, message: ToWorker) -> BoxFuture<'_, bool>;
    /// `None`: the worker is gone.
    fn recv(&mut self) -> BoxFuture<'_, Option<FromWorker>>;
}

/// Messages that may be on their way in one direction; enough for all tasks to answer at once.
pub const CAPACITY: usize = 1_024;

/// A worker in this process.
pub struct ChannelPort {
    commands: mpsc::Sender<ToWorker>,
    reports: mpsc::Receiver<FromWorker>,
}

/// A port, and the worker's ends of it.
pub fn channel_port() -> (ChannelPort, mpsc::Receiver<ToWorker>, mpsc::Sender<FromWorker>) {
    let (commands, obey) = mpsc::channel(CAPACITY);
    let (report, reports) = mpsc::channel(CAPACITY);
    (ChannelPort { commands, reports }, obey, report)
}

impl WorkerPort for ChannelPort {
    fn send(&mut self, message: ToWorker) -> BoxFuture<'_, bool> {
        Box::pin(async move { self.commands.send(message).await.is_ok() })
    }

    fn recv(&mut self) -> BoxFuture<'_, Option<FromWorker>> {
        Box::pin(self.reports.recv())
    }
}
