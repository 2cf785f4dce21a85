//! Images of the pods that every cluster has, built once into the cache from the Go module `e2e/stage/pods`.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::image::{Image, USER};
use super::node::PAUSE;
use crate::{cache, go};

const SOURCES: [&str; 4] = ["go.mod", "go.sum", "coredns/main.go", "pause/main.go"];
/// As objects.yaml names it.
const COREDNS: &str = "onceward.test/coredns:1";

/// The images' files. From cold this takes two minutes of a processor.
pub(super) fn images() -> Result<Vec<PathBuf>> {
    let module = Path::new(env!("CARGO_MANIFEST_DIR")).join("pods");
    let mut sources = Vec::new();
    for name in SOURCES {
        sources.extend(fs::read(module.join(name)).with_context(|| format!("{name} of {}", module.display()))?);
    }
    let name = format!("{:016x}", cache::fingerprint(&sources));
    let folder = cache::once("pods", &name, |folder| build(&module, folder))?;
    Ok(["pause.tar", "coredns.tar"].map(|file| folder.join(file)).to_vec())
}

fn build(module: &Path, folder: &Path) -> Result<()> {
    let programs = tempfile::tempdir()?;
    let mut go = go::command();
    go.args(["build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o"]).arg(programs.path().join(""));
    cache::run(go.args(["./coredns", "./pause"]).current_dir(module), go::FIX)?;
    for (program, reference) in [("pause", PAUSE), ("coredns", COREDNS)] {
        let root = tempfile::tempdir()?;
        fs::copy(programs.path().join(program), root.path().join(program))?;
        let image = Image { reference, entrypoint: &format!("/{program}"), user: USER };
        image.pack(root.path(), &folder.join(format!("{program}.tar")))?;
    }
    Ok(())
}
