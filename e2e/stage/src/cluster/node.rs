//! A node: its own network, mount, pid, uts and ipc namespaces and cgroup; in them containerd, a kubelet and kube-proxy.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;
use serde_json::{Value, json};

use super::layout::{BRIDGE, DNS, Layout, MOST_NODES, PLANE, PODS, entry, node_address, node_name, node_pods};
use super::system::{Process, cgroups, ip, of_command, remove_cgroup, run, within};

/// Process 1.
const PROCESS_1: &str = include_str!("node.sh");
/// That which holds a pod's namespaces.
pub(super) const PAUSE: &str = "onceward.test/pause:1";
/// Volumes of each node: they are not handed out again.
pub(super) const VOLUMES: usize = 8;

/// One node of a cluster.
pub struct Node<'a> {
    pub(super) layout: &'a Layout,
    pub(super) program: &'a Path,
    /// Counted from 1.
    pub(super) number: usize,
}

impl Node<'_> {
    pub fn name(&self) -> String {
        node_name(self.number)
    }

    /// Boots it; returns at once. With what is on its disk, if it ran before.
    ///
    /// # Errors
    /// It runs already, or cannot be started.
    pub fn start(&self) -> Result<()> {
        ensure!(!self.is_running(), "node {} runs already", self.number);
        let folder = self.layout.node_folder(self.number);
        for volume in 1..=VOLUMES {
            fs::create_dir_all(self.layout.volume(self.number, volume))?;
        }
        self.connect()?;
        self.configure()?;
        let mut command = within(&self.layout.node_namespace(self.number), "unshare");
        command.args(["--mount", "--pid", "--uts", "--ipc", "--fork", "--kill-child=SIGKILL", "bash"]);
        command.arg(folder.join("node.sh"));
        command.env("NODE", self.name()).env("ADDRESS", node_address(self.number)).env("STATE", &folder);
        command.env("CGROUP", self.cgroup()).env("KUBE", self.program).env("CERTIFICATES", self.layout.certificates());
        Process::start(command, &folder.join("process"), &folder.join("node.log"))?;
        Ok(())
    }

    /// Ends everything on it at once, as a loss of power does. Its disk stays.
    ///
    /// # Errors
    /// It does not run: then this proves nothing.
    pub fn power_off(&self) -> Result<()> {
        ensure!(self.is_running(), "node {} does not run", self.number);
        self.end()
    }

    /// As [`Self::power_off`], whether it runs or not.
    fn end(&self) -> Result<()> {
        let Some(process) = Process::recorded(&self.layout.node_folder(self.number).join("process")) else {
            return Ok(());
        };
        // Its child is process 1 of the node; without that, the system ends all others.
        if process.is_alive()
            && let Some(first) = process.child()
        {
            first.kill()?;
        }
        process.kill()
    }

    /// Unplugs it from the network; everything on it runs on.
    ///
    /// # Errors
    /// What the system says.
    pub fn cut(&self) -> Result<()> {
        ip(&format!("-n {} link set node{} down", self.layout.namespace(), self.number)).map(drop)
    }

    /// Plugs it in again.
    ///
    /// # Errors
    /// What the system says.
    pub fn heal(&self) -> Result<()> {
        ip(&format!("-n {} link set node{} up", self.layout.namespace(), self.number)).map(drop)
    }

    /// `SIGSTOP` for its kubelet: nobody speaks for the node any more, and its pods run on.
    ///
    /// # Errors
    /// There is none.
    pub fn pause_kubelet(&self) -> Result<()> {
        self.kubelet_process()?.signal(Signal::STOP)
    }

    /// `SIGCONT`.
    ///
    /// # Errors
    /// There is none.
    pub fn resume_kubelet(&self) -> Result<()> {
        self.kubelet_process()?.signal(Signal::CONT)
    }

    /// It is started again whenever it ends, so that no record of it is of use.
    fn kubelet_process(&self) -> Result<Process> {
        let configuration = self.layout.node_folder(self.number).join("kubelet.json");
        let found = of_command(|words| {
            words.get(1) == Some(&"kubelet") && words.iter().any(|word| Path::new(word) == configuration)
        });
        found.into_iter().find_map(Process::of).with_context(|| format!("no kubelet on {}", self.name()))
    }

    /// Ids of processes in this node's pods that were started with this word behind their program, as this machine counts
    /// them, whether anybody knows of their pods or not.
    pub fn started_with(&self, word: &str) -> Vec<i32> {
        let pods = format!("/{}/kubepods", self.cgroup());
        let is_here =
            |pid: &i32| fs::read_to_string(format!("/proc/{pid}/cgroup")).is_ok_and(|cgroups| cgroups.contains(&pods));
        of_command(|words| words.get(1) == Some(&word)).into_iter().filter(is_here).collect()
    }

    /// Ends it and takes away what is left: its network and its cgroups.
    pub(super) fn remove(&self) -> Result<()> {
        self.end()?;
        let namespace = self.layout.node_namespace(self.number);
        if entry(&namespace).exists() {
            // Whoever started the node may have died before it wrote down which process it is.
            let left = ip(&format!("netns pids {namespace}"))?;
            let left = left.lines().filter_map(|pid| Process::of(pid.trim().parse().ok()?));
            left.into_iter().try_for_each(Process::kill)?;
            ip(&format!("netns del {namespace}"))?;
        }
        cgroups(&self.cgroup()).iter().try_for_each(|path| remove_cgroup(path))
    }

    /// Ids of the processes of a container, as this machine counts them.
    ///
    /// # Errors
    /// There is no such container on the node.
    pub fn processes(&self, pod_uid: &str, container_id: &str) -> Result<Vec<i32>> {
        let text = fs::read_to_string(self.container(pod_uid, container_id)?.join("cgroup.procs"))?;
        text.lines().map(|line| line.parse().with_context(|| line.to_owned())).collect()
    }

    /// Allows a container no more memory than it has at this moment: done again and again, its next need is the one for which
    /// the kernel kills it. Whether it could be had.
    ///
    /// # Errors
    /// There is no such container on the node.
    pub fn tighten_memory(&self, pod_uid: &str, container_id: &str) -> Result<bool> {
        let container = self.container(pod_uid, container_id)?;
        let used = fs::read_to_string(container.join("memory.usage_in_bytes"))?;
        Ok(fs::write(container.join("memory.limit_in_bytes"), used.trim()).is_ok())
    }

    /// Its cgroup.
    fn container(&self, pod_uid: &str, container_id: &str) -> Result<PathBuf> {
        let id = container_id.trim_start_matches("containerd://");
        let pods = Path::new("/sys/fs/cgroup/memory").join(self.cgroup()).join("kubepods");
        let of_class = ["", "burstable", "besteffort"];
        let mut paths = of_class.into_iter().map(|class| pods.join(class).join(format!("pod{pod_uid}")).join(id));
        let found = paths.find(|path| path.is_dir());
        found.with_context(|| format!("no container {id} of pod {pod_uid} on {}", self.name()))
    }

    /// Gives an image that it has another name beside the one it has.
    ///
    /// # Errors
    /// It has none of this name.
    pub fn tag_image(&self, from: &str, to: &str) -> Result<()> {
        let socket = self.socket();
        run("ctr", ["--address", &socket, "--namespace", "k8s.io", "images", "tag", "--force", from, to]).map(drop)
    }

    /// Puts an image, as `image::pack` makes it, where containers are made from.
    pub(super) fn import(&self, image: &Path) -> Result<()> {
        let arguments = ["--address", &self.socket(), "--namespace", "k8s.io", "images", "import"].map(str::to_owned);
        let image = image.display().to_string();
        run("ctr", arguments.into_iter().chain([image])).map(drop)
    }

    /// Whether containerd answers.
    pub(super) fn is_serving(&self) -> bool {
        run("ctr", ["--address", self.socket().as_str(), "version"]).is_ok()
    }

    fn is_running(&self) -> bool {
        let record = self.layout.node_folder(self.number).join("process");
        Process::recorded(&record).is_some_and(Process::is_alive)
    }

    fn cgroup(&self) -> String {
        format!("{}/{}", self.layout.namespace(), self.name())
    }

    fn socket(&self) -> String {
        self.layout.node_folder(self.number).join("containerd.sock").display().to_string()
    }

    /// A cable to the control plane's bridge, unless it is there. There is no way out of that network.
    fn connect(&self) -> Result<()> {
        let (number, plane) = (self.number, self.layout.namespace());
        let own = self.layout.node_namespace(number);
        if entry(&own).exists() {
            return Ok(());
        }
        let address = node_address(number);
        for words in [
            format!("netns add {own}"),
            format!("-n {own} link set lo up"),
            format!("-n {plane} link add node{number} type veth peer name eth0 netns {own}"),
            format!("-n {plane} link set node{number} master {BRIDGE} up"),
            format!("-n {own} addr add {address}/24 dev eth0"),
            format!("-n {own} link set eth0 up"),
            format!("-n {own} route add default via {PLANE}"),
            format!("-n {plane} route add {} via {address}", node_pods(number)),
        ] {
            ip(&words)?;
        }
        for other in (1..=MOST_NODES).filter(|other| *other != number) {
            ip(&format!("-n {own} route add {} via {}", node_pods(other), node_address(other)))?;
        }
        Ok(())
    }

    fn configure(&self) -> Result<()> {
        let folder = self.layout.node_folder(self.number);
        let write = |name: &str, text: String| fs::write(folder.join(name), text).with_context(|| name.to_owned());
        fs::create_dir_all(folder.join("cni"))?;
        write("cni/10-pods.conflist", self.network().to_string())?;
        write("node.sh", PROCESS_1.to_owned())?;
        write("containerd.toml", self.containerd())?;
        write("kubelet.json", self.kubelet().to_string())?;
        write("proxy.json", self.proxy().to_string())?;
        // Pods that do not ask the cluster for names have nobody to ask.
        write("resolv.conf", String::new())?;
        let _ = fs::remove_file(folder.join("containerd.sock"));
        Ok(())
    }

    fn network(&self) -> Value {
        let addresses = json!({
            "type": "host-local", "ranges": [[{ "subnet": node_pods(self.number) }]], "routes": [{ "dst": "0.0.0.0/0" }],
        });
        let bridge = json!({
            "type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": false, "hairpinMode": true,
            "ipam": addresses,
        });
        let ports = json!({ "type": "portmap", "capabilities": { "portMappings": true } });
        json!({ "cniVersion": "0.4.0", "name": "pods", "plugins": [bridge, ports] })
    }

    fn containerd(&self) -> String {
        let folder = self.layout.node_folder(self.number);
        format!(
            r#"version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
disabled_plugins = [
  "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.internal.v1.opt", "io.containerd.internal.v1.tracing",
]
[grpc]
address = "{}"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{PAUSE}"
enable_unprivileged_ports = true
# Where root may not lower it, everybody takes the score of being killed that containerd has.
restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/usr/lib/cni"
conf_dir = "{}"
[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "overlayfs"
default_runtime_name = "runc"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
SystemdCgroup = false
"#,
            self.socket(),
            folder.join("cni").display(),
        )
    }

    fn kubelet(&self) -> Value {
        let certificate = |ending: &str| self.layout.certificates().join(ending);
        let x509 = json!({ "clientCAFile": certificate("ca.crt") });
        json!({
            "apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
            "containerRuntimeEndpoint": format!("unix://{}", self.socket()),
            "authentication": { "anonymous": { "enabled": false }, "webhook": { "enabled": true }, "x509": x509 },
            "authorization": { "mode": "Webhook" },
            "tlsCertFile": certificate(&format!("{}-kubelet.crt", self.name())),
            "tlsPrivateKeyFile": certificate(&format!("{}-kubelet.key", self.name())),
            "cgroupDriver": "cgroupfs", "cgroupRoot": format!("/{}", self.cgroup()),
            "failSwapOn": false, "oomScoreAdj": 0,
            "clusterDomain": "cluster.local", "clusterDNS": [DNS],
            "resolvConf": self.layout.node_folder(self.number).join("resolv.conf"),
            // Quick to tell how it is, and quick to be missed.
            "nodeStatusUpdateFrequency": "4s", "nodeLeaseDurationSeconds": 8, "syncFrequency": "10s",
            // Images come from files here: one that is thrown away is gone.
            "imageGCHighThresholdPercent": 100,
            "evictionHard": {
                "memory.available": "100Mi", "nodefs.available": "1%", "nodefs.inodesFree": "1%",
                "imagefs.available": "1%",
            },
            "crashLoopBackOff": { "maxContainerRestartPeriod": "10s" },
            "featureGates": { "KubeletCrashLoopBackOffMax": true },
        })
    }

    fn proxy(&self) -> Value {
        json!({
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1", "kind": "KubeProxyConfiguration",
            "clientConnection": { "kubeconfig": self.layout.certificates().join("proxy.conf") },
            "mode": "iptables", "clusterCIDR": PODS, "oomScoreAdj": 0,
            // These settings are the machine's, and not this namespace's to change.
            "conntrack": {
                "maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s",
            },
            "iptables": { "minSyncPeriod": "100ms", "syncPeriod": "30s" },
        })
    }
}
