//! The only place that starts tasks. A task has a name and an owner: it is joined, or it ends when its handle is
//! dropped, and its panic becomes an error of the one who joins it.

use std::any::Any;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::FutureExt;
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::task::JoinHandle;

/// Why a task has no result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TaskError {
    #[error("task `{name}` panicked: {message}")]
    Panicked { name: String, message: String },
    #[error("task `{name}` was aborted")]
    Aborted { name: String },
}

/// A running task; awaiting it joins it. Dropping it aborts it at its next await (blocking work that has begun runs
/// to its end), so nothing outlives its owner unseen.
#[must_use = "a dropped task is aborted"]
pub struct Task<T> {
    name: String,
    handle: JoinHandle<Result<T, String>>,
}

impl<T> Task<T> {
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Ends the task at its next await. It must still be joined to know that it has ended.
    pub fn abort(&self) {
        self.handle.abort();
    }

    pub fn is_finished(&self) -> bool {
        self.handle.is_finished()
    }
}

impl<T> Future for Task<T> {
    type Output = Result<T, TaskError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let joined = std::task::ready!(Pin::new(&mut self.handle).poll(cx));
        let name = self.name.clone();
        Poll::Ready(match joined {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(message)) => Err(TaskError::Panicked { name, message }),
            Err(error) if error.is_panic() => {
                Err(TaskError::Panicked { name, message: panic_message(error.into_panic().as_ref()) })
            }
            Err(_) => Err(TaskError::Aborted { name }),
        })
    }
}

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        self.handle.abort();
    }
}

/// Starts `future` on the current runtime.
#[allow(clippy::disallowed_methods, reason = "this is the port")]
pub fn spawn<T: Send + 'static>(name: impl Into<String>, future: impl Future<Output = T> + Send + 'static) -> Task<T> {
    let caught =
        AssertUnwindSafe(future).catch_unwind().map(|done| done.map_err(|panic| panic_message(panic.as_ref())));
    Task { name: name.into(), handle: tokio::spawn(caught) }
}

/// Runs `work`, which may block on files, away from the data path.
///
/// On a single-threaded runtime (tests, simulation) it runs as an ordinary task, so that the order of everything is
/// decided by the runtime alone and a seed always gives the same run.
#[allow(clippy::disallowed_methods, reason = "this is the port")]
pub fn spawn_blocking<T: Send + 'static>(
    name: impl Into<String>,
    work: impl FnOnce() -> T + Send + 'static,
) -> Task<T> {
    let caught =
        move || std::panic::catch_unwind(AssertUnwindSafe(work)).map_err(|panic| panic_message(panic.as_ref()));
    let handle = match Handle::current().runtime_flavor() {
        RuntimeFlavor::CurrentThread => tokio::spawn(async move { caught() }),
        _ => tokio::task::spawn_blocking(caught),
    };
    Task { name: name.into(), handle }
}

/// Waits for `future` on a thread that may block ([`spawn_blocking`]), with the runtime that it belongs to.
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    Handle::current().block_on(future)
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_becomes_an_error_with_the_name_of_its_task() {
        let failed = spawn("window-0", async { panic!("group {} is missing", 3) }).await;
        assert_eq!(
            failed,
            Err::<(), _>(TaskError::Panicked { name: "window-0".into(), message: "group 3 is missing".into() })
        );
        let failed = spawn_blocking("fsync", || -> u8 { panic!("gone") }).await;
        assert_eq!(failed, Err(TaskError::Panicked { name: "fsync".into(), message: "gone".into() }));
    }

    #[tokio::test]
    async fn a_dropped_task_does_not_go_on() {
        let (alive, gone) = tokio::sync::oneshot::channel::<()>();
        let task = spawn("forever", async move {
            let _alive = alive;
            std::future::pending::<()>().await;
        });
        drop(task);
        assert!(gone.await.is_err());
    }

    #[tokio::test]
    async fn blocking_work_on_one_thread_runs_in_the_order_of_the_runtime() {
        let here = std::thread::current().id();
        assert_eq!(spawn_blocking("where", || std::thread::current().id()).await, Ok(here));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn blocking_work_on_a_threaded_runtime_leaves_its_thread_free() {
        let (send, receive) = std::sync::mpsc::channel::<()>();
        let blocked = spawn_blocking("wait", move || receive.recv().is_ok());
        spawn("wake", async move { send.send(()) }).await.unwrap().unwrap();
        assert_eq!(blocked.await, Ok(true));
    }
}
