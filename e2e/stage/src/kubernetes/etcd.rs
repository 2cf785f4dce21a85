//! etcd: what the API server stores in.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::time::Duration;

use anyhow::{Result, bail};

use super::component::Component;
use crate::ports::Port;

/// A start that takes longer is taken for stuck.
const MOST_START: Duration = Duration::from_mins(1);
const LOOK: Duration = Duration::from_millis(20);

/// One member on loopback. It does not sync to the disk: tests kill processes, not machines.
pub struct Etcd {
    process: Component,
    clients: Port,
    _peers: Port,
}

impl Etcd {
    /// Starts it on `folder`; returns when it serves.
    pub(super) fn start(program: &Path, folder: &Path) -> Result<Self> {
        let (clients, peers) = (Port::reserve()?, Port::reserve()?);
        let url = |port: &Port| format!("http://127.0.0.1:{}", port.number);
        let set = [
            ("data-dir", folder.join("etcd").display().to_string()),
            ("listen-client-urls", url(&clients)),
            ("advertise-client-urls", url(&clients)),
            ("listen-peer-urls", url(&peers)),
            ("initial-advertise-peer-urls", url(&peers)),
            ("initial-cluster", format!("default={}", url(&peers))),
            ("log-level", "warn".to_owned()),
        ];
        let mut arguments: Vec<_> = set.into_iter().map(|(name, value)| format!("--{name}={value}")).collect();
        arguments.push("--unsafe-no-fsync".to_owned());
        let process = Component::new("etcd", program.to_owned(), arguments, folder.to_owned());
        let mut etcd = Self { process, clients, _peers: peers };
        etcd.restart()?;
        Ok(etcd)
    }

    /// Where clients find it.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.clients.number)
    }

    /// `SIGKILL`; returns when the process is gone.
    ///
    /// # Errors
    /// It had ended already.
    pub fn kill(&mut self) -> Result<()> {
        self.process.kill()
    }

    /// Starts a killed one again on its data and ports; returns when it serves.
    ///
    /// # Errors
    /// It runs already, or does not start.
    pub fn restart(&mut self) -> Result<()> {
        self.process.start()?;
        for _ in 0..MOST_START.as_millis() / LOOK.as_millis() {
            self.process.runs()?;
            if self.is_healthy().unwrap_or(false) {
                return Ok(());
            }
            std::thread::sleep(LOOK);
        }
        bail!("etcd does not serve after {MOST_START:?}: {}", self.process.said())
    }

    /// `SIGSTOP`; returns when it has stopped. Connections stay open and nothing is answered.
    ///
    /// # Errors
    /// What the system says.
    pub fn pause(&self) -> Result<()> {
        self.process.pause()
    }

    /// `SIGCONT`.
    ///
    /// # Errors
    /// What the system says.
    pub fn resume(&self) -> Result<()> {
        self.process.resume()
    }

    fn is_healthy(&self) -> Result<bool> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.clients.number))?;
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        stream.write_all(b"GET /health HTTP/1.0\r\nHost: etcd\r\n\r\n")?;
        let mut answer = String::new();
        stream.take(65_536).read_to_string(&mut answer)?;
        Ok(answer.contains("\"health\":\"true\""))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kubernetes::binary;

    /// A test that is killed cannot end what it started.
    #[test]
    fn a_component_ends_with_its_starter() {
        let folder = tempfile::tempdir().unwrap();
        let mut etcd = Etcd::start(&binary().unwrap(), folder.path()).unwrap();
        assert!(etcd.is_healthy().unwrap());
        etcd.process.leave();
        let mut looks = 0..MOST_START.as_millis() / LOOK.as_millis();
        while etcd.process.runs().is_ok() {
            assert!(looks.next().is_some(), "it lives on: {}", etcd.process.said());
            std::thread::sleep(LOOK);
        }
        assert!(etcd.is_healthy().is_err(), "nobody listens");
    }
}
