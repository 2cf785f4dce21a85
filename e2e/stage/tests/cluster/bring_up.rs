//! Clusters themselves: they come up, stand side by side, and go without a trace, whoever is killed.

use std::fs;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use stage::cluster::{Cluster, NODES};

use crate::{Begin, again, say};

const LOOK: Duration = Duration::from_millis(20);
/// Ten minutes.
const MOST_LOOKS: u32 = 30_000;
const FIRST: &str = "first";
const SECOND: &str = "second";

/// What of a cluster can be seen from outside of it.
#[derive(Debug, PartialEq, Eq)]
struct Traces {
    namespaces: Vec<String>,
    cgroups: Vec<String>,
    /// Processes that its folder is an argument of.
    processes: Vec<String>,
    /// In the mounts of any process.
    mounts: Vec<String>,
    has_folder: bool,
}

pub(crate) fn clusters_come_up_side_by_side_and_leave_nothing() -> Result<()> {
    let settings = settings()?;
    let begin = Begin::now();
    let first = Cluster::up(FIRST)?;
    let up = begin.seconds();
    names_are_answered(&first)?;
    security_is_enforced(&first)?;
    ensure!(Cluster::down(FIRST).is_err(), "a cluster that is in use was taken down");

    // Its starter is killed in the middle of the start, and so is the next one once it is up.
    let node = Path::new("/var/lib/onceward-stage").join(SECOND).join("n1/process");
    kill_when(owner()?, "its first node is started", || node.exists())?;
    ensure!(traces(SECOND).has_folder, "nothing was left behind: there is nothing to take away");
    kill_when(owner()?, "it is up", || Cluster::find(SECOND).is_ok())?;
    let second = Cluster::find(SECOND)?;
    for cluster in [&first, &second] {
        (1..=NODES).try_for_each(|node| cluster.until_ready(node))?;
    }
    Cluster::down(SECOND)?;
    gone(SECOND)?;
    (1..=NODES).try_for_each(|node| first.until_ready(node))?;

    drop(first);
    let begin = Begin::now();
    Cluster::down(FIRST)?;
    say(&format!("up after {up:.1} s, down after {:.1} s", begin.seconds()));
    gone(FIRST)?;
    ensure!(settings == self::settings()?, "settings of the machine were changed");
    Cluster::down(FIRST)
}

/// What the copy of this program does that is killed.
pub(crate) fn own(name: &str) -> Result<()> {
    let _cluster = Cluster::up(name)?;
    std::io::copy(&mut std::io::stdin(), &mut std::io::sink())?;
    Ok(())
}

fn owner() -> Result<Child> {
    Ok(again(&["--owner", SECOND])?.stdin(Stdio::piped()).spawn()?)
}

fn kill_when(mut owner: Child, what: &str, is_time: impl Fn() -> bool) -> Result<()> {
    for _ in 0..MOST_LOOKS {
        if is_time() {
            owner.kill()?;
            owner.wait()?;
            return Ok(());
        }
        if let Some(status) = owner.try_wait()? {
            bail!("it ended with {status} before {what}");
        }
        std::thread::sleep(LOOK);
    }
    let _ = owner.kill();
    let _ = owner.wait();
    bail!("it never came to this: {what}")
}

/// By both servers of names, from a pod.
fn names_are_answered(cluster: &Cluster) -> Result<()> {
    cluster.apply(
        "apiVersion: v1
kind: Pod
metadata: {name: asks, namespace: default}
spec:
  restartPolicy: Never
  containers:
  - {name: asks, image: \"onceward.test/pause:1\", imagePullPolicy: Never, args: [kubernetes.default.svc.cluster.local]}
",
    )?;
    let succeeded = "--for=jsonpath={.status.phase}=Succeeded";
    cluster.told(&["wait", "pod/asks", succeeded, "--timeout=120s"]).with_context(|| {
        cluster.told(&["describe", "pod/asks"]).unwrap_or_default()
            + &cluster.told(&["logs", "asks"]).unwrap_or_default()
    })?;
    let answer = cluster.told(&["logs", "asks"])?;
    ensure!(answer.trim() == "10.96.0.1", "the API server's address is `{answer}`");
    Ok(())
}

fn security_is_enforced(cluster: &Cluster) -> Result<()> {
    cluster.apply(
        "apiVersion: v1
kind: Namespace
metadata: {name: restricted, labels: {pod-security.kubernetes.io/enforce: restricted}}
",
    )?;
    let run = ["run", "wants-all", "--namespace", "restricted", "--image=onceward.test/pause:1", "--privileged"];
    let refused = cluster.told(&run).err().context("a privileged pod was taken")?;
    ensure!(format!("{refused:#}").contains("violates PodSecurity"), "{refused:#}");
    Ok(())
}

fn gone(name: &str) -> Result<()> {
    let left = traces(name);
    let nothing = Traces { namespaces: vec![], cgroups: vec![], processes: vec![], mounts: vec![], has_folder: false };
    ensure!(left == nothing, "left of {name}: {left:#?}");
    Ok(())
}

fn traces(name: &str) -> Traces {
    let (folder, mark) = (format!("/var/lib/onceward-stage/{name}"), format!("onceward-{name}"));
    let names = |folder: &Path| -> Vec<String> {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    };
    let is_ours = |found: &String| *found == mark || found.starts_with(&format!("{mark}-n"));
    let namespaces = names(Path::new("/run/netns")).into_iter().filter(is_ours).collect();
    let hierarchies = names(Path::new("/sys/fs/cgroup"));
    let cgroups = hierarchies.into_iter().map(|hierarchy| format!("/sys/fs/cgroup/{hierarchy}/{mark}"));
    let cgroups = cgroups.filter(|path| Path::new(path).exists()).collect();
    let (mut processes, mut mounts) = (vec![], vec![]);
    let within = format!("{folder}/");
    for pid in names(Path::new("/proc")).into_iter().filter(|name| name.bytes().all(|byte| byte.is_ascii_digit())) {
        // It may be gone by now.
        let read = |file: &str| fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
        let (command, mounted) = (read("cmdline"), read("mountinfo"));
        let command = String::from_utf8_lossy(&command).replace('\0', " ");
        if command.contains(&within) {
            processes.push(format!("{pid} {command}"));
        }
        mounts
            .extend(String::from_utf8_lossy(&mounted).lines().filter(|line| line.contains(&within)).map(str::to_owned));
    }
    Traces { namespaces, cgroups, processes, mounts, has_folder: Path::new(&folder).exists() }
}

/// Of the kernel, which kubelets change.
fn settings() -> Result<Vec<String>> {
    let names = ["vm/overcommit_memory", "vm/panic_on_oom", "kernel/panic", "kernel/panic_on_oops"];
    names.iter().map(|name| Ok(fs::read_to_string(Path::new("/proc/sys").join(name))?)).collect()
}
