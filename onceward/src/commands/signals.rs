//! How a process is told to stop.

use runtime::run::StopHandle;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{Error, io};

/// `SIGINT` and `SIGTERM`: the first asks for a stop, the second ends the process.
pub(super) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    /// Never waited for: being listened to, it no longer kills, and a file that grows past a limit is an error with a name.
    _file_size: Signal,
    asked: bool,
}

impl Signals {
    /// # Errors
    /// The system does not let it listen.
    pub(super) fn listen() -> Result<Self, Error> {
        let listen = |kind| signal(kind).map_err(io("listen for signals"));
        let (interrupt, terminate) = (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?);
        let file_size = listen(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw()))?;
        Ok(Self { interrupt, terminate, _file_size: file_size, asked: false })
    }

    /// Asks for a stop when told the first time, and says so; returns the exit code, 128 + signal, once told twice.
    pub(super) async fn obey(&mut self, stop: &StopHandle, stopping: impl Fn()) -> u8 {
        loop {
            let number = self.next().await;
            if self.asked {
                return u8::try_from(128 + number).unwrap_or(u8::MAX);
            }
            self.asked = true;
            stopping();
            stop.stop();
        }
    }

    /// Returns with the first of them.
    pub(super) async fn told(mut self) {
        self.next().await;
    }

    async fn next(&mut self) -> i32 {
        tokio::select! {
            _ = self.interrupt.recv() => SignalKind::interrupt().as_raw_value(),
            _ = self.terminate.recv() => SignalKind::terminate().as_raw_value(),
        }
    }
}
