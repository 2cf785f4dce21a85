//! versitygw as a child process: an S3 server that keeps each object as a file, so that what it holds can be read past it.
//!
//! Needs Go; it is built once into the cache (`${XDG_CACHE_HOME:-$HOME/.cache}/onceward/s3`).

use std::fs;
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::kafka::certificates::Certificates;
use crate::ports::Port;
use crate::{cache, go};

const VERSION: &str = "v1.8.0";
const MODULE: &str = "github.com/versity/versitygw/cmd/versitygw";
const LOOK: Duration = Duration::from_millis(10);
/// A server that does not listen after so many looks is taken for stuck.
const MOST_LOOKS: u32 = 3_000;

/// Who may do everything. Both are canaries too: they must never be printed.
pub const ACCESS_KEY_ID: &str = "canary-key-id";
pub const SECRET_ACCESS_KEY: &str = "canary-s3cret-key";

/// A server with a folder of its own and a port that stays its own while it is down.
pub struct Gateway {
    folder: tempfile::TempDir,
    host: String,
    port: Port,
    /// Whose server certificate it shows; `None`: it speaks plainly.
    certificates: Option<Certificates>,
    process: Option<Child>,
}

impl Gateway {
    /// Starts one; it holds nothing.
    ///
    /// # Errors
    /// It cannot be built, or does not listen.
    pub fn start() -> Result<Self> {
        Self::start_at("127.0.0.1")
    }

    /// Starts one that listens at another address of this machine.
    ///
    /// # Errors
    /// As for [`Self::start`].
    pub fn start_at(host: &str) -> Result<Self> {
        Self::begin(tempfile::Builder::new().prefix("onceward-s3-").tempdir()?, host, None)
    }

    /// Starts one that speaks TLS.
    ///
    /// # Errors
    /// As for [`Self::start`].
    pub fn start_tls() -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("onceward-s3-").tempdir()?;
        let certificates = Certificates::make(folder.path())?;
        Self::begin(folder, "127.0.0.1", Some(certificates))
    }

    fn begin(folder: tempfile::TempDir, host: &str, certificates: Option<Certificates>) -> Result<Self> {
        fs::create_dir(folder.path().join("buckets"))?;
        let host = host.to_owned();
        let mut gateway = Self { folder, host, port: Port::reserve()?, certificates, process: None };
        gateway.start_again()?;
        Ok(gateway)
    }

    /// Starts the killed server again, on its port and with what it held.
    ///
    /// # Errors
    /// It runs already, or does not listen.
    pub fn start_again(&mut self) -> Result<()> {
        ensure!(self.process.is_none(), "it runs already");
        let log = fs::OpenOptions::new().create(true).append(true).open(self.folder.path().join("log"))?;
        let mut command = Command::new(binary()?);
        command.args(["--quiet", "--keep-alive", "--port", &self.address()]);
        if let Some(certificates) = &self.certificates {
            // One file holds both.
            command.arg("--cert").arg(&certificates.broker).arg("--key").arg(&certificates.broker);
        }
        command.arg("posix").arg(self.buckets());
        command.env("ROOT_ACCESS_KEY", ACCESS_KEY_ID).env("ROOT_SECRET_KEY", SECRET_ACCESS_KEY);
        let mut process = command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn()?;
        for _ in 0..MOST_LOOKS {
            if TcpStream::connect(self.address()).is_ok() {
                self.process = Some(process);
                return Ok(());
            }
            if let Some(status) = process.try_wait()? {
                anyhow::bail!("the server ended with {status}: {}", self.log());
            }
            std::thread::sleep(LOOK);
        }
        let _ = process.kill();
        let _ = process.wait();
        anyhow::bail!("the server does not listen: {}", self.log())
    }

    /// `SIGKILL`; what it held stays.
    ///
    /// # Errors
    /// What the system says.
    pub fn kill(&mut self) -> Result<()> {
        let mut process = self.process.take().context("it does not run")?;
        process.kill()?;
        process.wait()?;
        Ok(())
    }

    /// `127.0.0.1:<port>`, unless it was started at another address.
    pub fn address(&self) -> String {
        format!("{}:{}", self.host, self.port.number)
    }

    /// `http://127.0.0.1:<port>`, or `https`.
    pub fn endpoint(&self) -> String {
        format!("{}://{}", if self.certificates.is_some() { "https" } else { "http" }, self.address())
    }

    /// What it is certified by, if it speaks TLS.
    pub fn certificates(&self) -> Option<&Certificates> {
        self.certificates.as_ref()
    }

    /// One folder for each bucket.
    pub fn buckets(&self) -> PathBuf {
        self.folder.path().join("buckets")
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}

/// The server's binary, built when it is not there yet.
///
/// # Errors
/// There is no Go, or nothing can be fetched.
pub fn binary() -> Result<PathBuf> {
    let folder = cache::once("s3", &format!("versitygw-{VERSION}"), |folder| {
        let mut go = go::command();
        go.args(["install", "-trimpath", &format!("{MODULE}@{VERSION}")]).env("GOBIN", folder).current_dir(folder);
        cache::run(&mut go, go::FIX).map(drop)
    })?;
    Ok(folder.join("versitygw"))
}
