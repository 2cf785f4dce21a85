//! `onceward worker` as a process, in a folder that outlives it.

use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::Result;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::lives::{Fate, Life};
use super::{IDENTITY, NAME, NAMESPACE, Place, Process};
use crate::inprocess::RuntimeClock;
use crate::ports::Port;

/// Long enough for every state to be seen.
const SLOW: &str = "claim.listed=pause:200ms,recovery.before_commit=pause:200ms,recovery.before_deploy=pause:200ms,\
                    coordinator.before_decide=pause:100ms,coordinator.before_commit=pause:100ms";
/// What a disk does that is away for three tries of the third commit.
const AWAY: &str = "committer.before_rename:3=error,committer.before_rename:4=error,committer.before_rename:5=error,";
const KILLED: &str = "coordinator.decided:3=kill,";
const ROWS_PER_SECOND: u64 = 1_000;

pub(super) struct Real {
    binary: PathBuf,
    folder: tempfile::TempDir,
    seconds: u64,
    key: String,
    started: u32,
    clock: RuntimeClock,
}

struct Running {
    child: Child,
    address: SocketAddr,
    left: PathBuf,
    _port: Port,
}

impl Real {
    pub(super) fn new(binary: &Path, seconds: u64, key: String) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("onceward-likeness-").tempdir()?;
        Ok(Self { binary: binary.to_owned(), folder, seconds, key, started: 0, clock: RuntimeClock::of_the_machine() })
    }

    fn manifest(&self, fate: Fate) -> Value {
        let input = if fate == Fate::Refused { "nobody" } else { "orders" };
        let folder = self.folder.path();
        json!({
            "apiVersion": "onceward.dev/v1alpha1", "kind": "Pipeline",
            "metadata": { "name": NAME, "namespace": NAMESPACE },
            "spec": {
                "sources": [{ "name": "orders", "columns": [
                    { "name": "id", "type": "BIGINT", "generate": { "sequence": { "start": 0 } } },
                ], "generator": { "rows": self.seconds * ROWS_PER_SECOND, "seed": 1, "rowsPerSecond": ROWS_PER_SECOND } }],
                "sinks": [{ "name": "out", "input": input, "files": { "path": folder.join("out") } }],
                "checkpoint": { "interval": "500ms", "storage": { "local": { "path": folder.join("state") } } },
                "restartPolicy": { "fixedDelay": { "attempts": 20, "delay": "200ms" } },
            },
        })
    }
}

impl Place for Real {
    async fn start(&mut self, life: &Life) -> Result<Box<dyn Process>> {
        let port = Port::reserve()?;
        let manifest = self.folder.path().join("pipeline.yaml");
        std::fs::write(&manifest, self.manifest(life.fate).to_string())?;
        let left = self.folder.path().join(format!("left-{}", self.started));
        self.started += 1;
        std::fs::write(&left, "")?;
        let address = SocketAddr::from(([127, 0, 0, 1], port.number));
        let mut command = Command::new(&self.binary);
        command.args(["worker", "--configuration", "c0ffee", "--identity", IDENTITY, "--purpose", life.purpose]);
        command.args(["--controller-key", &self.key, "--listen", &address.to_string(), "--pipeline"]);
        command.arg(&manifest).arg("--termination-log").arg(&left);
        let faults = match life.fate {
            Fate::Nothing | Fate::Refused => "",
            Fate::Killed => KILLED,
            Fate::Away => AWAY,
        };
        command.env("ONCEWARD_CRASHPOINT", format!("{faults}{SLOW}"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Ok(Box::new(Running { child: command.spawn()?, address, left, _port: port }))
    }

    /// It comes back by itself.
    fn meanwhile(&mut self, _: &Life, _: &Value) {}

    fn now_ms(&self) -> u64 {
        self.clock.now_ms()
    }
}

impl Process for Running {
    fn address(&self) -> SocketAddr {
        self.address
    }

    fn stop(&self) -> Result<()> {
        Ok(kill_process(Pid::from_child(&self.child), Signal::TERM)?)
    }

    fn ended(&mut self) -> Result<Option<(i32, String)>> {
        let Some(status) = self.child.try_wait()? else { return Ok(None) };
        let code = status.code().or(status.signal().map(|signal| 128 + signal)).unwrap_or(-1);
        Ok(Some((code, std::fs::read_to_string(&self.left)?)))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
