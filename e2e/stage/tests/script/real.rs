//! `onceward worker` as a process, in a folder that outlives it.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use stage::ports::Port;

use crate::seen::Seen;

const LOOK: Duration = Duration::from_millis(5);
const MOST_LOOKS: u32 = 12_000;
/// Long enough for every state to be seen.
const SLOW: &str = "claim.listed=pause:200ms,recovery.before_commit=pause:200ms,recovery.before_deploy=pause:200ms,\
                    coordinator.before_commit=pause:100ms";

/// The binary that the workspace's build puts beside its tests.
fn binary() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("ONCEWARD_BIN") {
        return Ok(path.into());
    }
    let test = std::env::current_exe()?;
    let built = test.parent().and_then(Path::parent).context("a folder")?.join("onceward");
    ensure!(built.exists(), "{} is missing: cargo build --workspace --bins", built.display());
    Ok(built)
}

/// Where workers of one pipeline run, one after another or beside each other.
pub(crate) struct Site {
    folder: tempfile::TempDir,
}

/// How many rows there are, a thousand in a second.
pub(crate) fn site(rows: u64) -> Result<Site> {
    let folder = tempfile::tempdir()?;
    let manifest = serde_json::json!({
        "apiVersion": "onceward.dev/v1alpha1", "kind": "Pipeline", "metadata": { "name": "revenue" },
        "spec": {
            "sources": [{ "name": "orders", "generator": { "rows": rows, "seed": 1, "rowsPerSecond": 1000 }, "columns": [
                { "name": "id", "type": "BIGINT", "generate": { "sequence": { "start": 0 } } },
            ] }],
            "sinks": [{ "name": "out", "input": "orders", "files": { "path": folder.path().join("out") } }],
            "checkpoint": { "interval": "500ms", "storage": { "local": { "path": folder.path().join("state") } } },
        },
    });
    std::fs::write(folder.path().join("pipeline.yaml"), manifest.to_string())?;
    Ok(Site { folder })
}

pub(crate) struct Real {
    child: Child,
    address: SocketAddr,
    left: PathBuf,
    _port: Port,
}

impl Real {
    pub(crate) fn start(site: &Site, name: &str, purpose: &str, faults: &str) -> Result<Self> {
        let port = Port::reserve()?;
        let left = site.folder.path().join(format!("left-{name}"));
        std::fs::write(&left, "")?;
        let address = SocketAddr::from(([127, 0, 0, 1], port.number));
        let mut command = Command::new(binary()?);
        command.args(["worker", "--configuration", "c0ffee", "--identity", "1f0e5b0a-6f4a-4f0f-9c57-3a1f6b1d2c3e"]);
        command.args(["--purpose", purpose, "--listen", &address.to_string(), "--pipeline"]);
        command.arg(site.folder.path().join("pipeline.yaml")).arg("--termination-log").arg(&left);
        let all = if faults.is_empty() { SLOW.to_owned() } else { format!("{faults},{SLOW}") };
        command.env("ONCEWARD_CRASHPOINT", all).stdout(Stdio::null()).stderr(Stdio::null());
        Ok(Self { child: command.spawn()?, address, left, _port: port })
    }

    fn state(&self) -> Option<Value> {
        let mut stream = TcpStream::connect_timeout(&self.address, Duration::from_secs(1)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(2))).ok()?;
        stream.write_all(b"GET /state HTTP/1.1\r\nHost: worker\r\nConnection: close\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (_, body) = answer.split_once("\r\n\r\n")?;
        serde_json::from_str(body).ok()
    }

    /// Looks until it ends; `meanwhile` is told each report.
    pub(crate) fn watch(mut self, mut meanwhile: impl FnMut(&Value, &Self) -> Result<()>) -> Result<Seen> {
        let mut seen = Seen::default();
        for _ in 0..MOST_LOOKS {
            if let Some(report) = self.state() {
                // What is told in the moment of its end is told again by the last words.
                if !matches!(report["state"].as_str(), Some("Stopped" | "Finished" | "Settled" | "Fenced" | "Failed")) {
                    seen.hears(&report);
                }
                meanwhile(&report, &self)?;
            }
            if let Some(status) = self.child.try_wait()? {
                let code = status.code().or(status.signal().map(|signal| 128 + signal)).unwrap_or(-1);
                seen.ends(code, &std::fs::read_to_string(&self.left)?);
                return Ok(seen);
            }
            std::thread::sleep(LOOK);
        }
        anyhow::bail!("it does not end: {seen:?}")
    }

    pub(crate) fn stop(&self) -> Result<()> {
        Ok(kill_process(Pid::from_child(&self.child), Signal::TERM)?)
    }
}

impl Drop for Real {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
