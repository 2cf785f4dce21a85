//! The one executable of all components, built once into the cache.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, Result, ensure};

use crate::cache;
use crate::go::{self, FIX};

/// Packages between two words about the build; there are some 2,700.
const TOLD: usize = 250;
/// Lines of a failed build that are worth reading.
const LAST: usize = 40;

/// The executable. From cold this takes some twelve minutes of a processor and 4 GB of Go's own caches; it is told on
/// standard error.
///
/// # Errors
/// There is no Go, or the build failed.
pub fn binary() -> Result<PathBuf> {
    let module = Path::new(env!("CARGO_MANIFEST_DIR")).join("kubernetes");
    let mut sources = Vec::new();
    for name in ["go.mod", "go.sum", "main.go"] {
        sources.extend(fs::read(module.join(name)).with_context(|| format!("{name} of {}", module.display()))?);
    }
    let version = version(&fs::read_to_string(module.join("go.mod"))?)?;
    // Another source, another folder: an old binary is never taken for the new one.
    let name = format!("v{version}-{:016x}", cache::fingerprint(&sources));
    let folder = cache::once("kubernetes", &name, |folder| build(&module, &version, &folder.join("kube")))?;
    Ok(folder.join("kube"))
}

/// The version of Kubernetes that `go.mod` pins, as 1.34.4.
fn version(module: &str) -> Result<String> {
    let line =
        module.lines().find_map(|line| line.trim().trim_start_matches("require ").strip_prefix("k8s.io/kubernetes v"));
    line.map(str::to_owned).context("go.mod requires no k8s.io/kubernetes")
}

fn build(module: &Path, version: &str, program: &Path) -> Result<()> {
    tell(&format!("{version}: Go builds it, once; from cold this takes minutes"));
    let mut go = go::command();
    go.args(["build", "-v", "-trimpath", "-buildvcs=false", "-ldflags", &format!("-s -w {}", stamps(version)), "-o"]);
    go.arg(program).arg(".").current_dir(module);
    let mut process = go.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().context(FIX)?;
    let lines = BufReader::new(process.stderr.take().context("its standard error is piped")?).lines();
    let mut last = Vec::new();
    for (i, line) in lines.enumerate() {
        if i % TOLD == TOLD - 1 {
            tell(&format!("{version}: {} modules and packages", i + 1));
        }
        last.push(line?);
        let spare = last.len().saturating_sub(LAST);
        last.drain(..spare);
    }
    let status = process.wait()?;
    ensure!(status.success(), "Go could not build Kubernetes ({status}); {FIX}:\n{}", last.join("\n"));
    tell(&format!("{version}: built"));
    Ok(())
}

/// What a release stamps in; without it every component calls itself v0.0.0-master.
fn stamps(version: &str) -> String {
    let minor = version.split('.').nth(1).unwrap_or_default();
    let of = |package: &str| {
        let values =
            [("gitVersion", format!("v{version}")), ("gitMajor", "1".to_owned()), ("gitMinor", minor.to_owned())];
        let fixed = [("gitTreeState", "clean".to_owned()), ("buildDate", "1970-01-01T00:00:00Z".to_owned())];
        let all = values.into_iter().chain(fixed);
        all.map(|(name, value)| format!("-X {package}.{name}={value}")).collect::<Vec<_>>().join(" ")
    };
    ["k8s.io/component-base/version", "k8s.io/client-go/pkg/version"].map(of).join(" ")
}

/// Around the test runner, which would keep it until the test has ended.
fn tell(what: &str) {
    let _ = writeln!(std::io::stderr(), "kubernetes {what}");
}
