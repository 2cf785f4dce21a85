//! What a cluster of a name is called and where it lies. The network of each is closed, so all have the same addresses.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};

/// The same for whoever starts a cluster: names of network namespaces are the machine's, so its state is, too.
pub(super) const ROOT: &str = "/var/lib/onceward-stage";
/// The control plane's bridge, and its address on it.
pub(super) const BRIDGE: &str = "nodes0";
pub const PLANE: &str = "10.99.0.1";
pub(super) const PODS: &str = "10.244.0.0/16";
pub(super) const SERVICES: &str = "10.96.0.0/16";
/// Of the Service `kubernetes`.
pub(super) const API: &str = "10.96.0.1";
/// Of the Service `kube-dns`.
pub(super) const DNS: &str = "10.96.0.10";
/// Nodes are counted from 1.
pub(super) const MOST_NODES: usize = 9;
/// A name is part of those of namespaces, cgroups and sockets, whose length is bounded.
const MOST_NAME: usize = 20;

/// A cluster's name, with everything that follows from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    name: String,
}

impl Layout {
    /// # Errors
    /// The name is not one of up to 20 of `a-z`, `0-9`, `-`.
    pub(super) fn new(name: &str) -> Result<Self> {
        let fits = |letter: u8| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == b'-';
        let begins = name.bytes().next().is_some_and(|letter| letter.is_ascii_lowercase());
        ensure!(
            begins && name.len() <= MOST_NAME && name.bytes().all(fits),
            "a cluster's name is a letter and up to {} more of a-z, 0-9 and -, not `{name}`",
            MOST_NAME - 1
        );
        Ok(Self { name: name.to_owned() })
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Everything that the cluster writes.
    pub fn folder(&self) -> PathBuf {
        Path::new(ROOT).join(&self.name)
    }

    /// Held by whoever uses the cluster.
    pub(super) fn lock(&self) -> PathBuf {
        Path::new(ROOT).join(format!("{}.lock", self.name))
    }

    /// The control plane's network namespace; the cgroup of all nodes has the same name.
    pub fn namespace(&self) -> String {
        format!("onceward-{}", self.name)
    }

    /// That of a node.
    pub(super) fn node_namespace(&self, node: usize) -> String {
        format!("onceward-{}-n{node}", self.name)
    }

    pub(super) fn certificates(&self) -> PathBuf {
        self.folder().join("certificates")
    }

    /// The administrator's.
    pub fn kubeconfig(&self) -> PathBuf {
        self.certificates().join("administrator.conf")
    }

    pub(super) fn node_folder(&self, node: usize) -> PathBuf {
        self.folder().join(node_name(node))
    }

    /// Where a node's volume lies: its files can be read from outside.
    pub fn volume(&self, node: usize, volume: usize) -> PathBuf {
        self.node_folder(node).join(format!("volumes/{volume}"))
    }

    /// A folder that both nodes see, as one on a file server.
    pub fn shared(&self) -> PathBuf {
        self.folder().join("shared")
    }
}

/// As Kubernetes calls it.
pub fn node_name(node: usize) -> String {
    format!("n{node}")
}

pub(super) fn node_address(node: usize) -> String {
    format!("10.99.0.{}", 10 + node)
}

/// Addresses of a node's pods.
pub(super) fn node_pods(node: usize) -> String {
    format!("10.244.{node}.0/24")
}

/// Where an existing network namespace is entered.
pub(super) fn entry(namespace: &str) -> PathBuf {
    Path::new("/run/netns").join(namespace)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_part_of_everything_and_checked() {
        let layout = Layout::new("tests-2").unwrap();
        assert_eq!(layout.node_namespace(1), "onceward-tests-2-n1");
        // 108 bytes is the most that the path of a socket may have.
        assert!(layout.node_folder(2).join("containerd.sock.ttrpc").as_os_str().len() < 100);
        for wrong in ["", "2", "-a", "a/b", "A", "..", "a-name-that-is-too-long-for-it"] {
            assert!(Layout::new(wrong).is_err(), "{wrong}");
        }
    }
}
