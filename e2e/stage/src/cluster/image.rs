//! Images without an engine: a folder becomes the only layer of an OCI image in a tar file, as containerd imports it.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use ring::digest::{SHA256, digest};
use serde_json::{Value, json};

use super::system::run;
use crate::shipped;

/// The image of this repository, as nodes have it: as the README calls it.
pub const ONCEWARD: &str = "docker.io/library/onceward:dev";
/// What people read files with.
const BUSYBOX: &str = "docker.io/library/busybox:1.36";
const APPLETS: [&str; 3] = ["sh", "cat", "awk"];
/// Nobody in particular, as the Dockerfile and the chart have it.
pub const USER: &str = "65532:65532";
/// Where the Dockerfile puts the binary.
pub const PROGRAM: &str = "/usr/local/bin/onceward";

/// What an image is called, and what it runs.
pub(super) struct Image<'a> {
    /// As a pod names it.
    pub(super) reference: &'a str,
    pub(super) entrypoint: &'a str,
    /// `user:group`, as numbers.
    pub(super) user: &'a str,
}

impl Image<'_> {
    /// Packs everything below `root` into the file `to`.
    pub(super) fn pack(&self, root: &Path, to: &Path) -> Result<()> {
        // Who is not root must be able to enter it.
        fs::set_permissions(root, fs::Permissions::from_mode(0o755))?;
        let layout = tempfile::tempdir()?;
        fs::create_dir_all(layout.path().join("blobs/sha256"))?;
        let layer = layout.path().join("layer.tar");
        tar(root, &layer, &["--owner=0", "--group=0", "--numeric-owner", "--sort=name", "--mtime=@0"])?;
        let bytes = fs::read(&layer)?;
        fs::remove_file(&layer)?;
        let layer = blob(layout.path(), "application/vnd.oci.image.layer.v1.tar", &bytes)?;
        // Of a layer that is not compressed, both digests are the same.
        let files = json!({ "type": "layers", "diff_ids": [layer["digest"]] });
        let run = json!({ "User": self.user, "Entrypoint": [self.entrypoint], "WorkingDir": "/" });
        let config = json!({ "architecture": architecture(), "os": "linux", "config": run, "rootfs": files });
        let config = blob(layout.path(), "application/vnd.oci.image.config.v1+json", config.to_string().as_bytes())?;
        let kind = "application/vnd.oci.image.manifest.v1+json";
        let manifest = json!({ "schemaVersion": 2, "mediaType": kind, "config": config, "layers": [layer] });
        let mut manifest = blob(layout.path(), kind, manifest.to_string().as_bytes())?;
        manifest["annotations"] = json!({ "io.containerd.image.name": self.reference });
        let index = json!({ "schemaVersion": 2, "manifests": [manifest] });
        fs::write(layout.path().join("index.json"), index.to_string())?;
        fs::write(layout.path().join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#)?;
        tar(layout.path(), to, &[])
    }
}

/// The image of this repository from the binary that Cargo has built, with the libraries that it is linked with.
pub(super) fn onceward(to: &Path) -> Result<()> {
    let binary = shipped::binary()?;
    let root = tempfile::tempdir()?;
    let place = |path: &str| root.path().join(path.trim_start_matches('/'));
    let make = |path: &str| fs::create_dir_all(place(path).parent().unwrap_or(root.path()));
    make(PROGRAM)?;
    // Lines of backtraces make up most of it.
    let stripped = place(PROGRAM).display().to_string();
    run("strip", ["--strip-debug", "-o", stripped.as_str(), &binary.display().to_string()])?;
    libraries(root.path(), &run("ldd", [&binary])?)?;
    for (file, text) in [("/etc/passwd", "onceward:x:65532:65532::/:/none\n"), ("/etc/group", "onceward:x:65532:\n")] {
        make(file)?;
        fs::write(place(file), text)?;
    }
    let authorities = "/etc/ssl/certs/ca-certificates.crt";
    if Path::new(authorities).exists() {
        make(authorities)?;
        fs::copy(authorities, place(authorities))?;
    }
    Image { reference: ONCEWARD, entrypoint: PROGRAM, user: USER }.pack(root.path(), to)
}

/// A shell and some tools, from this machine's busybox.
pub(super) fn busybox(to: &Path) -> Result<()> {
    let root = tempfile::tempdir()?;
    let folder = root.path().join("bin");
    fs::create_dir(&folder)?;
    let found = ["/usr/bin/busybox", "/bin/busybox"].into_iter().find(|path| Path::new(path).is_file());
    let program = found.context("busybox is missing; install it (Debian: apt-get install busybox)")?;
    fs::copy(program, folder.join("busybox"))?;
    for applet in APPLETS {
        std::os::unix::fs::symlink("busybox", folder.join(applet))?;
    }
    // One that is linked statically has none, and `ldd` says so by failing.
    libraries(root.path(), &run("ldd", [program]).unwrap_or_default())?;
    Image { reference: BUSYBOX, entrypoint: "/bin/sh", user: USER }.pack(root.path(), to)
}

/// Copies what `ldd` has named.
fn libraries(root: &Path, linked: &str) -> Result<()> {
    for library in linked.split_whitespace().filter(|word| word.starts_with('/')) {
        let place = root.join(library.trim_start_matches('/'));
        fs::create_dir_all(place.parent().unwrap_or(root))?;
        fs::copy(library, place).with_context(|| library.to_owned())?;
    }
    Ok(())
}

/// Writes a blob; how others name it.
fn blob(layout: &Path, kind: &str, bytes: &[u8]) -> Result<Value> {
    let mut hex = String::new();
    digest(&SHA256, bytes).as_ref().iter().try_for_each(|byte| write!(hex, "{byte:02x}"))?;
    fs::write(layout.join("blobs/sha256").join(&hex), bytes)?;
    Ok(json!({ "mediaType": kind, "digest": format!("sha256:{hex}"), "size": bytes.len() }))
}

fn tar(folder: &Path, to: &Path, options: &[&str]) -> Result<()> {
    let (folder, to) = (folder.display().to_string(), to.display().to_string());
    let fixed = ["--create", "--file", &to, "--directory", &folder, "."];
    run("tar", options.iter().chain(&fixed)).map(drop)
}

/// As Go names it.
fn architecture() -> &'static str {
    if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// People build it with an engine, tests without: both must be the same to whoever runs it.
    #[test]
    fn the_dockerfile_says_the_same() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../Dockerfile");
        let text = fs::read_to_string(path).unwrap();
        let last = text.rsplit("\nFROM ").next().unwrap();
        assert!(last.lines().any(|line| line == format!("USER {USER}")), "{last}");
        assert!(last.lines().any(|line| line == format!("ENTRYPOINT [\"{PROGRAM}\"]")), "{last}");
    }

    #[test]
    fn an_image_names_its_blobs_by_what_is_in_them() {
        let (root, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(root.path().join("file"), "text").unwrap();
        let (first, second) = (out.path().join("1.tar"), out.path().join("2.tar"));
        let image = Image { reference: "a.test/b:1", entrypoint: "/file", user: USER };
        image.pack(root.path(), &first).unwrap();
        let unpacked = out.path().join("layout");
        fs::create_dir(&unpacked).unwrap();
        run("tar", ["-x", "-C", unpacked.to_str().unwrap(), "-f", first.to_str().unwrap()]).unwrap();
        let index: Value = serde_json::from_slice(&fs::read(unpacked.join("index.json")).unwrap()).unwrap();
        let named = &index["manifests"][0];
        assert_eq!(named["annotations"]["io.containerd.image.name"], "a.test/b:1");
        let blobs: Vec<_> = fs::read_dir(unpacked.join("blobs/sha256")).unwrap().flatten().collect();
        assert_eq!(blobs.len(), 3, "layer, configuration, manifest");
        for blob in blobs {
            let said = run("sha256sum", [blob.path()]).unwrap();
            assert!(said.starts_with(blob.file_name().to_str().unwrap()), "{said}");
        }
        image.pack(root.path(), &second).unwrap();
        let digest = |tar: &Path| run("tar", ["-x", "-O", "-f", tar.to_str().unwrap(), "./index.json"]).unwrap();
        assert_eq!(digest(&first), digest(&second), "the same files are the same image");
    }
}
