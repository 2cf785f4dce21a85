//! A whole Kubernetes of two nodes on one machine, without a container engine or a registry: control plane and nodes are
//! processes in namespaces of their own, pods are run by containerd and runc.
//!
//! The control plane has a network namespace with a bridge and no uplink. A node is plugged into that bridge and has its
//! own network, mount, pid, uts and ipc namespaces and cgroup: it can be powered off, cut off and healed. Everything else
//! that a test wants to be reached by pods (a broker, a bucket's server) runs in the control plane's network namespace.
//!
//! Needs root, and from Debian containerd, runc, containernetworking-plugins, iptables and iproute2. A cluster outlives
//! the process that started it; its state lies in `/var/lib/onceward-stage/<name>`, so that whoever comes next can take
//! down what was left behind. Clusters of different names stand side by side.

mod certificates;
pub mod image;
mod layout;
mod node;
mod plane;
mod pods;
mod system;

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use rustix::fs::{FlockOperation, flock};
use serde_json::{Value, json};

pub use self::layout::{Layout, PLANE, node_name};
pub use self::node::Node;
pub use self::plane::{Component, Plane};
pub use self::system::Process;
use crate::cache;
use crate::kubernetes;

/// Of every cluster.
pub const NODES: usize = 2;
const OBJECTS: &str = include_str!("objects.yaml");
/// A program is started at each look.
const LOOK: Duration = Duration::from_millis(300);
/// A step of a start that takes more of them is taken for stuck. Nothing takes more than seconds on a machine that has time.
const MOST_LOOKS: u32 = 1_000;
/// Of those that wait themselves, for [`WAIT`] each.
const MOST_WAITS: u32 = 15;
const WAIT: &str = "--timeout=20s";
/// Until nobody is left in a network that is taken down.
const MOST_ROUNDS: u32 = 100;

/// A cluster that is up.
pub struct Cluster {
    layout: Layout,
    /// All components in one.
    program: PathBuf,
    /// Goes with the process that holds it. `None`: somebody else holds it.
    _lock: Option<File>,
}

impl Cluster {
    /// Brings up a cluster, after what was left behind under its name was taken down; returns when both nodes are ready
    /// and names are answered. Nodes have the image of this repository, [`image::ONCEWARD`].
    ///
    /// # Errors
    /// Not root, a program is missing, the name is in use by a living process, or something does not start.
    pub fn up(name: &str) -> Result<Self> {
        let layout = Layout::new(name)?;
        ensure!(rustix::process::geteuid().is_root(), "a cluster needs root: namespaces, mounts and cgroups are made");
        let (program, mut images) = (kubernetes::binary()?, pods::images()?);
        let lock = lock(&layout)?;
        remove(&layout, &program)?;
        let folder = layout.folder();
        fs::create_dir_all(layout.shared())?;
        in_turn(|| system::save_settings(&settings()))?;
        let (own, busybox) = (folder.join("onceward.tar"), folder.join("busybox.tar"));
        image::onceward(&own)?;
        image::busybox(&busybox)?;
        images.extend([own, busybox]);
        let cluster = Self { layout, program, _lock: Some(lock) };
        cluster.begin(&images).with_context(|| format!("what was said is in {}", folder.display()))?;
        Ok(cluster)
    }

    /// A cluster that was brought up by somebody else.
    ///
    /// # Errors
    /// There is none.
    pub fn find(name: &str) -> Result<Self> {
        let layout = Layout::new(name)?;
        ensure!(layout.folder().join("up").exists(), "there is no cluster {name}");
        Ok(Self { layout, program: kubernetes::binary()?, _lock: None })
    }

    /// Takes a cluster down, whatever state it is in, and everything that it has written away. None is fine, too.
    ///
    /// # Errors
    /// A living process uses it, or something does not go.
    pub fn down(name: &str) -> Result<()> {
        let layout = Layout::new(name)?;
        let _lock = lock(&layout)?;
        remove(&layout, Path::new(""))?;
        fs::remove_file(layout.lock())?;
        // The last one takes the folder away.
        let _ = fs::remove_file(Path::new(layout::ROOT).join("turn"));
        let _ = fs::remove_dir(layout::ROOT);
        Ok(())
    }

    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Nodes are counted from 1.
    pub fn node(&self, number: usize) -> Node<'_> {
        Node { layout: &self.layout, program: &self.program, number }
    }

    pub fn component(&self, component: Component) -> Plane<'_> {
        Plane { layout: &self.layout, program: &self.program, component }
    }

    /// A program in the control plane's network: pods and their services' pods are reached from there by address.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        system::within(&self.layout.namespace(), program)
    }

    /// A process in the control plane's network that outlives this one, and goes with the cluster. What it says is in
    /// `<name>.log` of the cluster's folder.
    ///
    /// # Errors
    /// It does not start.
    pub fn start_beside(&self, command: &Command, name: &str) -> Result<Process> {
        let mut within = self.command(command.get_program());
        within.args(command.get_args());
        within.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let folder = self.layout.folder();
        Process::start(within, &folder.join(format!("{name}.process")), &folder.join(format!("{name}.log")))
    }

    /// `kubectl` of the same version, as the administrator.
    pub fn kubectl(&self) -> Command {
        let mut command = self.command(&self.program);
        command.args(["kubectl", "--kubeconfig"]).arg(self.layout.kubeconfig());
        // Its cache of what the server has.
        command.env("HOME", self.layout.folder());
        command
    }

    /// A `kubectl` for the path of a shell that is in the control plane's network.
    ///
    /// # Errors
    /// What the file system says.
    pub fn tools(&self) -> Result<PathBuf> {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = self.layout.folder().join("tools");
        fs::create_dir_all(&folder)?;
        let (kubectl, text) =
            (folder.join("kubectl"), format!("#!/bin/sh\nexec {} kubectl \"$@\"\n", self.program.display()));
        // One that somebody runs at this moment cannot be written to.
        if fs::read_to_string(&kubectl).is_ok_and(|there| there == text) {
            return Ok(folder);
        }
        let made = tempfile::NamedTempFile::new_in(&folder)?;
        fs::write(made.path(), text)?;
        fs::set_permissions(made.path(), fs::Permissions::from_mode(0o755))?;
        made.into_temp_path().persist(&kubectl)?;
        Ok(folder)
    }

    /// What a successful call of `kubectl` prints.
    ///
    /// # Errors
    /// It fails; with what it said.
    pub fn told(&self, arguments: &[&str]) -> Result<String> {
        cache::run(self.kubectl().args(arguments), "it was built")
    }

    /// The administrator's client, for a process that is in the control plane's network.
    ///
    /// # Errors
    /// What the client says of the configuration.
    pub async fn client(&self) -> Result<kube::Client> {
        kubernetes::client_of(&self.layout.kubeconfig()).await
    }

    /// Applies manifests.
    ///
    /// # Errors
    /// What the server says.
    pub fn apply(&self, manifests: &str) -> Result<()> {
        use std::io::Write as _;
        let mut kubectl = self.kubectl();
        kubectl.args(["apply", "--server-side", "--force-conflicts", "-f", "-"]);
        let mut process = kubectl.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
        process.stdin.take().context("it is piped")?.write_all(manifests.as_bytes())?;
        let output = process.wait_with_output()?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }

    /// Waits until the API server is ready.
    ///
    /// # Errors
    /// It is not after minutes.
    pub fn until_served(&self) -> Result<()> {
        until("the API server is ready", MOST_LOOKS, || self.told(&["get", "--raw", "/readyz"]))
    }

    /// Waits until a node is ready.
    ///
    /// # Errors
    /// It is not after minutes.
    pub fn until_ready(&self, node: usize) -> Result<()> {
        let node = format!("node/{}", node_name(node));
        until(&format!("{node} is known"), MOST_LOOKS, || self.told(&["get", &node]))?;
        // It watches, which costs less than looking again and again.
        let wait = ["wait", "--for=condition=Ready", &node, WAIT];
        until(&format!("{node} is ready"), MOST_WAITS, || self.told(&wait))
    }

    fn begin(&self, images: &[PathBuf]) -> Result<()> {
        let layout = &self.layout;
        certificates::make(&layout.certificates(), NODES)?;
        let (namespace, bridge) = (layout.namespace(), layout::BRIDGE);
        for words in [
            format!("netns add {namespace}"),
            format!("-n {namespace} link set lo up"),
            format!("-n {namespace} link add {bridge} type bridge"),
            format!("-n {namespace} addr add {PLANE}/24 dev {bridge}"),
            format!("-n {namespace} link set {bridge} up"),
        ] {
            system::ip(&words)?;
        }
        let forward = "echo 1 >/proc/sys/net/ipv4/ip_forward";
        cache::run(self.command("sh").args(["-c", forward]), "it is everywhere")?;
        self.component(Component::Etcd).start()?;
        self.component(Component::Apiserver).start()?;
        self.until_served()?;
        self.component(Component::ControllerManager).start()?;
        self.component(Component::Scheduler).start()?;
        for node in 1..=NODES {
            self.node(node).start()?;
        }
        for node in 1..=NODES {
            until(&format!("containerd of node {node}"), MOST_LOOKS, || {
                ensure!(self.node(node).is_serving(), "it does not answer");
                Ok(String::new())
            })?;
            images.iter().try_for_each(|image| self.node(node).import(image))?;
        }
        let volumes = json!({ "apiVersion": "v1", "kind": "List", "items": volumes(layout) });
        self.apply(&format!("{OBJECTS}---\n{volumes}\n"))?;
        (1..=NODES).try_for_each(|node| self.until_ready(node))?;
        let available = ["rollout", "status", "--namespace", "kube-system", "deployment/coredns", WAIT];
        until("names are answered", MOST_WAITS, || self.told(&available))?;
        Ok(fs::write(layout.folder().join("up"), "")?)
    }
}

/// Local volumes, which unlike others take a pod's group, so that nobody must be root to write to them.
fn volumes(layout: &Layout) -> Vec<Value> {
    let volume = |node: usize, number: usize| {
        let name = node_name(node);
        let is_there = json!({ "key": "kubernetes.io/hostname", "operator": "In", "values": [name] });
        let required = json!({ "nodeSelectorTerms": [{ "matchExpressions": [is_there] }] });
        json!({
            "apiVersion": "v1", "kind": "PersistentVolume", "metadata": { "name": format!("{name}-{number}") },
            "spec": {
                "capacity": { "storage": "1Gi" }, "accessModes": ["ReadWriteOnce"], "storageClassName": "local",
                "persistentVolumeReclaimPolicy": "Retain", "local": { "path": layout.volume(node, number) },
                "nodeAffinity": { "required": required },
            },
        })
    };
    (1..=NODES).flat_map(|node| (1..=node::VOLUMES).map(move |number| volume(node, number))).collect()
}

/// Waits for something to succeed.
fn until(what: &str, most_looks: u32, mut look: impl FnMut() -> Result<String>) -> Result<()> {
    let mut last = None;
    for _ in 0..most_looks {
        match look() {
            Ok(_) => return Ok(()),
            Err(error) => last = Some(error),
        }
        std::thread::sleep(LOOK);
    }
    bail!("it never came to this: {what}; {}", last.map_or(String::new(), |error| format!("{error:#}")))
}

/// Ends what runs under this name and takes away what is left of it.
fn remove(layout: &Layout, program: &Path) -> Result<()> {
    for number in 1..=NODES {
        Node { layout, program, number }.remove()?;
    }
    for component in Component::ALL.into_iter().rev() {
        Plane { layout, program, component }.end()?;
    }
    let namespace = layout.namespace();
    if layout::entry(&namespace).exists() {
        end_those_within(&namespace)?;
        system::ip(&format!("netns del {namespace}"))?;
    }
    system::cgroups(&namespace).iter().try_for_each(|path| system::remove_cgroup(path))?;
    if layout.folder().exists() {
        fs::remove_dir_all(layout.folder())?;
    }
    let others = fs::read_dir(layout::ROOT)?.flatten().any(|entry| entry.path().is_dir());
    if others { Ok(()) } else { in_turn(|| system::restore_settings(&settings())) }
}

/// What a test has started in a cluster's network, and could not end.
fn end_those_within(namespace: &str) -> Result<()> {
    let own = std::process::id().to_string();
    // Whoever is killed may just have started another one.
    for _ in 0..MOST_ROUNDS {
        let there = system::ip(&format!("netns pids {namespace}"))?;
        let others: Vec<_> = there.split_whitespace().filter(|pid| *pid != own).collect();
        if others.is_empty() {
            return Ok(());
        }
        for pid in others {
            if let Some(process) = system::Process::of(pid.parse()?) {
                process.kill()?;
            }
        }
    }
    bail!("processes in {namespace} come again and again")
}

fn settings() -> PathBuf {
    Path::new(layout::ROOT).join("settings")
}

/// One process at a time looks at what is all clusters'.
fn in_turn<T>(what: impl FnOnce() -> Result<T>) -> Result<T> {
    let turn = File::create(Path::new(layout::ROOT).join("turn"))?;
    flock(&turn, FlockOperation::LockExclusive)?;
    what()
}

/// For as long as it lives, nobody else uses the cluster of that name.
fn lock(layout: &Layout) -> Result<File> {
    fs::create_dir_all(layout::ROOT)?;
    let path = layout.lock();
    let file = File::options().create(true).truncate(false).write(true).open(&path)?;
    let held = flock(&file, FlockOperation::NonBlockingLockExclusive);
    held.with_context(|| format!("the cluster {} is in use by another process", layout.name()))?;
    // Whoever held it before may have taken the file away in between.
    let is_it = fs::metadata(&path).is_ok_and(|there| file.metadata().is_ok_and(|ours| ours.ino() == there.ino()));
    ensure!(is_it, "the cluster {} was taken down at this moment; try again", layout.name());
    Ok(file)
}
