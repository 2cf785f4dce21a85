//! Prometheus' programs: those on the path, or of Debian's package, unpacked into the cache.
//!
//! The package is not installed: its service would start, and only two programs of it are wanted.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};

use crate::cache::{self, run};

const FIX: &str =
    "put prometheus and promtool 2.42 or newer on the path (Debian: apt-get update; the rest is done here)";
const PROGRAMS: [&str; 2] = ["./usr/bin/prometheus", "./usr/bin/promtool"];

pub struct Promtool(PathBuf);

impl Promtool {
    /// # Errors
    /// There is none, and Debian's package cannot be had.
    pub fn new() -> Result<Self> {
        program("promtool").map(Self)
    }

    /// What a successful call prints.
    ///
    /// # Errors
    /// It fails; with what it said.
    pub fn run(&self, folder: &Path, arguments: &[&str]) -> Result<String> {
        run(Command::new(&self.0).current_dir(folder).args(arguments), FIX)
    }
}

/// `prometheus` or `promtool`.
pub fn program(name: &str) -> Result<PathBuf> {
    let on_path = Command::new(name).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if on_path.is_ok_and(|status| status.success()) {
        return Ok(name.into());
    }
    let folder = cache::once("prometheus", "debian", |folder| {
        // A new machine may have no lists of packages yet; only root can fetch them.
        if let Err(first) = fetch(folder) {
            run(Command::new("apt-get").args(["update", "-qq"]), FIX).context(first)?;
            fetch(folder)?;
        }
        unpack(folder)
    })?;
    Ok(folder.join("usr/bin").join(name))
}

fn fetch(folder: &Path) -> Result<()> {
    // As root apt would fetch as another user, who may not write here.
    let options = ["-qq", "-o", "APT::Sandbox::User=root", "download", "prometheus"];
    run(Command::new("apt-get").current_dir(folder).args(options), FIX).map(drop)
}

fn unpack(folder: &Path) -> Result<()> {
    let packages: Vec<_> = std::fs::read_dir(folder)?.filter_map(|entry| Some(entry.ok()?.path())).collect();
    let [package] = packages.as_slice() else { anyhow::bail!("{} packages were fetched, not one", packages.len()) };
    let mut contents = Command::new("dpkg-deb");
    contents.arg("--fsys-tarfile").arg(package).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut contents = contents.spawn().context("dpkg-deb, which is Debian's")?;
    let pipe = contents.stdout.take().context("a pipe")?;
    let taken = Command::new("tar").current_dir(folder).arg("-x").args(PROGRAMS).stdin(pipe).status()?;
    // Its own end says nothing: tar may leave as soon as it has the files.
    contents.wait()?;
    ensure!(taken.success(), "{PROGRAMS:?} are not in {}", package.display());
    Ok(std::fs::remove_file(package)?)
}
