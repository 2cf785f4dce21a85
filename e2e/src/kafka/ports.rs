//! Loopback ports that stay ours while a broker is down: below the range from which the system hands out ports, and
//! locked against other tests.

use std::fs::File;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};

use anyhow::{Context as _, Result, bail};
use rustix::fs::{FlockOperation, flock};

use super::libraries::cache;

/// Linux hands out 32768 and up by default.
const FIRST: u16 = 20_000;
const COUNT: u16 = 10_000;

/// A port of 127.0.0.1 that no other test takes while this lives.
#[derive(Debug)]
pub(crate) struct Port {
    pub(crate) number: u16,
    /// The lock goes with the file.
    _lock: File,
}

impl Port {
    /// # Errors
    /// No port is free, or the cache cannot be written.
    pub(crate) fn reserve() -> Result<Self> {
        static NEXT: AtomicU16 = AtomicU16::new(0);
        let folder = cache()?.join("ports");
        std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
        // Processes begin at different places, so that they rarely meet.
        let begin = (std::process::id() % u32::from(COUNT)) as u16;
        for _ in 0..COUNT {
            let step = NEXT.fetch_add(1, Ordering::Relaxed);
            let number = FIRST + (begin + step % COUNT) % COUNT;
            let lock = File::create(folder.join(number.to_string())).context("the lock of a port")?;
            let is_ours = flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok();
            if is_ours && TcpListener::bind((Ipv4Addr::LOCALHOST, number)).is_ok() {
                return Ok(Self { number, _lock: lock });
            }
        }
        bail!("no free port between {FIRST} and {}", FIRST + COUNT)
    }
}
