//! As much of a kubelet as it takes: one process for each pod, on an address of its own.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::{Api, Client, ResourceExt as _};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

/// Addresses given away, by all kubelets of this process: the port is the same everywhere.
static ADDRESSES: AtomicU16 = AtomicU16::new(1);
const LOOK: Duration = Duration::from_millis(50);

/// Shared by the test and the loop.
#[derive(Clone)]
pub(crate) struct Kubelet {
    client: Client,
    folder: PathBuf,
    binary: PathBuf,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    /// By uid of the pod.
    running: BTreeMap<String, Running>,
    /// Crash points of processes to come, in order.
    faults: Vec<String>,
    /// Purposes of pods in the order of their starts.
    started: Vec<String>,
    failure: Option<String>,
    /// Pods to come are not started.
    holds: bool,
}

struct Running {
    process: Child,
    last_words: PathBuf,
    is_told: bool,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Kubelet {
    pub(crate) fn new(client: Client, folder: &Path) -> Result<Self> {
        // Or that of another build, older or newer than the controller's.
        let other = std::env::var_os("ONCEWARD_WORKER_BIN");
        let binary = other.map_or_else(e2e::site::binary, |other| Ok(other.into()))?;
        Ok(Self { client, folder: folder.to_owned(), binary, state: Arc::default() })
    }

    /// Looks after pods until the task is dropped.
    pub(crate) async fn work(self) {
        loop {
            if let Err(error) = self.look().await {
                // The server may be away for a moment; what stays wrong ends the test by its own patience.
                self.with(|state| state.failure = Some(format!("{error:#}")));
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// The next process dies there.
    pub(crate) fn arm(&self, faults: &str) {
        self.with(|state| state.faults.push(faults.to_owned()));
    }

    /// Pods to come wait from now on, or do no longer.
    pub(crate) fn hold(&self, holds: bool) {
        self.with(|state| state.holds = holds);
    }

    /// Purposes of all pods that were started.
    pub(crate) fn started(&self) -> Vec<String> {
        self.with(|state| state.started.clone())
    }

    pub(crate) fn failure(&self) -> Option<String> {
        self.with(|state| state.failure.clone())
    }

    /// `SIGKILL` to the only process there is.
    pub(crate) fn kill(&self) -> Result<()> {
        self.with(|state| {
            ensure!(state.running.len() == 1, "there are {} workers", state.running.len());
            let running = state.running.values_mut().next().context("a worker")?;
            ensure!(running.process.try_wait()?.is_none(), "it had ended before it was killed");
            running.process.kill()?;
            Ok(())
        })
    }

    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), "default")
    }

    async fn look(&self) -> Result<()> {
        let pods = self.pods().list(&ListParams::default()).await?.items;
        for pod in &pods {
            let uid = pod.uid().context("a uid")?;
            let phase = pod.status.as_ref().and_then(|status| status.phase.clone()).unwrap_or_default();
            let is_over = matches!(phase.as_str(), "Succeeded" | "Failed");
            let is_known = self.with(|state| state.running.contains_key(&uid));
            let is_leaving = pod.metadata.deletion_timestamp.is_some();
            if !is_known && !is_over && !is_leaving && !self.with(|state| state.holds) {
                self.start(pod, uid.clone()).await?;
            }
            if is_leaving {
                self.terminate(&uid)?;
            }
            if let Some((status, last_words)) = self.ended(&uid)? {
                self.report(pod, status, &last_words).await?;
                self.with(|state| state.running.remove(&uid));
            }
            if is_leaving && self.with(|state| !state.running.contains_key(&uid)) {
                let now = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() };
                let _ = self.pods().delete(&pod.name_any(), &now).await;
            }
        }
        // What is gone from the server has no business here.
        let uids: Vec<String> = pods.iter().filter_map(|pod| pod.metadata.uid.clone()).collect();
        self.with(|state| state.running.retain(|uid, _| uids.contains(uid)));
        Ok(())
    }

    async fn start(&self, pod: &Pod, uid: String) -> Result<()> {
        let name = pod.name_any();
        let folder = self.folder.join(&name);
        std::fs::create_dir_all(folder.join("secrets"))?;
        let spec = pod.spec.as_ref().context("a spec")?;
        let config_map =
            spec.volumes.iter().flatten().find_map(|volume| volume.config_map.as_ref()).context("files")?;
        let config_maps: Api<ConfigMap> = Api::namespaced(self.client.clone(), "default");
        for (file, text) in config_maps.get(&config_map.name).await?.data.unwrap_or_default() {
            std::fs::write(folder.join(file), text)?;
        }
        let number = ADDRESSES.fetch_add(1, Ordering::Relaxed);
        let [high, low] = number.to_be_bytes();
        let address = Ipv4Addr::new(127, 1, high, low);
        let last_words = folder.join("termination-log");
        std::fs::write(&last_words, "")?;
        let container = spec.containers.first().context("a container")?;
        let arguments = container.args.iter().flatten().map(|argument| {
            argument
                .replace("/etc/onceward/pipeline", &folder.to_string_lossy())
                .replace("/etc/onceward/secrets", &folder.join("secrets").to_string_lossy())
                .replace("/dev/termination-log", &last_words.to_string_lossy())
                .replace("0.0.0.0:", &format!("{address}:"))
        });
        let mut command = Command::new(&self.binary);
        command.args(arguments).stdout(std::process::Stdio::null());
        command.stderr(std::fs::File::create(folder.join("said.log"))?);
        let faults = self.with(|state| (!state.faults.is_empty()).then(|| state.faults.remove(0)));
        let slow = e2e::site::SLOW;
        command.env("ONCEWARD_CRASHPOINT", faults.map_or(slow.to_owned(), |faults| format!("{faults},{slow}")));
        let process = command.spawn()?;
        let purpose = pod.labels().get("onceward.dev/purpose").cloned().unwrap_or_default();
        self.with(|state| {
            state.started.push(purpose);
            state.running.insert(uid, Running { process, last_words, is_told: false });
        });
        let now = k8s_openapi::jiff::Timestamp::now();
        self.patch(
            &name,
            json!({
                "phase": "Running", "podIP": address.to_string(), "podIPs": [{ "ip": address.to_string() }],
                "containerStatuses": [container_status(&json!({ "running": { "startedAt": now } }))],
            }),
        )
        .await
    }

    fn terminate(&self, uid: &str) -> Result<()> {
        self.with(|state| {
            let Some(running) = state.running.get_mut(uid).filter(|running| !running.is_told) else { return Ok(()) };
            running.is_told = true;
            let pid = Pid::from_child(&running.process);
            match running.process.try_wait()? {
                Some(_) => Ok(()),
                None => Ok(kill_process(pid, Signal::TERM)?),
            }
        })
    }

    fn ended(&self, uid: &str) -> Result<Option<(ExitStatus, PathBuf)>> {
        self.with(|state| {
            let Some(running) = state.running.get_mut(uid) else { return Ok(None) };
            Ok(running.process.try_wait()?.map(|status| (status, running.last_words.clone())))
        })
    }

    async fn report(&self, pod: &Pod, status: ExitStatus, last_words: &Path) -> Result<()> {
        let code = status.code().or(status.signal().map(|signal| 128 + signal)).unwrap_or(-1);
        let now = k8s_openapi::jiff::Timestamp::now();
        let message = std::fs::read_to_string(last_words)?;
        let ended = json!({ "terminated": { "exitCode": code, "reason": if code == 0 { "Completed" } else { "Error" },
            "message": message, "startedAt": pod.metadata.creation_timestamp, "finishedAt": now } });
        let phase = if code == 0 { "Succeeded" } else { "Failed" };
        let status = json!({ "phase": phase, "containerStatuses": [container_status(&ended)] });
        self.patch(&pod.name_any(), status).await
    }

    async fn patch(&self, pod: &str, status: Value) -> Result<()> {
        let patch = json!({ "status": status });
        self.pods().patch_status(pod, &PatchParams::default(), &Patch::Merge(&patch)).await?;
        Ok(())
    }
}

fn container_status(state: &Value) -> Value {
    json!({ "name": "worker", "image": "", "imageID": "", "ready": state.get("running").is_some(), "restartCount": 0,
        "state": state })
}
