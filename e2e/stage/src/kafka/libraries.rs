//! The Java side of the stage: Kafka's libraries from Maven's central repository and our few classes, kept in the cache.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::cache::{self, fingerprint, run};

/// Where the stage's own files lie: `pom.xml`, settings of Maven and of logging, Java sources.
pub(super) fn stage() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("kafka")
}

/// Where those of the benchmark's peers lie.
pub fn peers() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("peers")
}

/// `${XDG_CACHE_HOME:-$HOME/.cache}/onceward/kafka`.
fn cache() -> Result<PathBuf> {
    cache::folder("kafka")
}

/// Class path of the broker and the tools of a released version (`4.3.1`).
pub(super) fn class_path(version: &str) -> Result<String> {
    let logging = if version.starts_with("3.") { "-Preload4j" } else { "-Plog4j2" };
    let arguments = [logging.to_owned(), format!("-Dkafka.version={version}")];
    let folder = once(version, |folder| fetch(&stage().join("pom.xml"), &arguments, folder))?;
    Ok(format!("{}/*", folder.display()))
}

/// Folder of our own compiled classes (`Node`, `Judge`, `Meter`). `libraries`: the class path to compile against.
pub(super) fn classes(libraries: &str) -> Result<PathBuf> {
    compiled(libraries, &["Judge.java", "Meter.java", "Node.java"].map(|name| stage().join(name)))
}

/// Class path of a peer: `<name>.xml` has its libraries, `sources` are its classes.
///
/// # Errors
/// Maven or a JDK is missing.
pub fn peer(name: &str, sources: &[&str]) -> Result<String> {
    let pom = peers().join(format!("{name}.xml"));
    let text = fs::read(&pom).with_context(|| pom.display().to_string())?;
    let folder = once(&format!("{name}-{:016x}", fingerprint(&text)), |folder| fetch(&pom, &[], folder))?;
    let libraries = format!("{}/*", folder.display());
    let sources: Vec<_> = sources.iter().map(|source| peers().join(source)).collect();
    let own = compiled(&libraries, &sources)?;
    Ok(format!("{}:{libraries}", own.display()))
}

fn compiled(libraries: &str, sources: &[PathBuf]) -> Result<PathBuf> {
    let mut text = libraries.as_bytes().to_vec();
    for source in sources {
        text.extend(fs::read(source).with_context(|| source.display().to_string())?);
    }
    // Another source, another folder: an old class file is never taken for the new one.
    once(&format!("classes-{:016x}", fingerprint(&text)), |folder| {
        let mut javac = Command::new("javac");
        javac.args(["-proc:none", "-nowarn", "-cp", libraries, "-d"]).arg(folder).args(sources);
        run(&mut javac, "install a JDK (Debian: apt-get install default-jdk-headless)").map(drop)
    })
}

fn fetch(pom: &Path, arguments: &[String], folder: &Path) -> Result<()> {
    let mut maven = Command::new("mvn");
    maven.args(["--batch-mode", "--quiet", "--global-settings"]).arg(stage().join("settings.xml"));
    maven.arg("--file").arg(pom).arg("dependency:copy-dependencies").args(arguments);
    maven.arg("-DincludeScope=runtime").arg(format!("-DoutputDirectory={}", folder.display()));
    maven.arg(format!("-Dmaven.repo.local={}", cache()?.join("maven").display()));
    run(&mut maven, "install Maven (Debian: apt-get install maven)").map(drop)
}

/// One lock for all: two Mavens in one local repository get into each other's way.
fn once(name: &str, fill: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    cache::once("kafka", name, fill)
}
