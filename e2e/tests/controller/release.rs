//! The chart, installed: what Helm renders is put on the server, and a pod of its Deployment is a process with exactly the
//! arguments, the environment and the mounts that are rendered, as its service account. Addresses and folders are this
//! machine's.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use e2e::helm::{Helm, granted};
use serde::Deserialize as _;
use serde_json::{Value, json};
use stage::kubernetes::{Apiserver, Body, call};

/// Of the chart's tests.
pub(crate) const NAMESPACE: &str = "onceward-system";
const ACCOUNT: &str = "onceward-controller";
/// Mounts that the Deployment has; one more needs a place here.
const MOUNTS: [&str; 2] = ["/etc/onceward/signing-key", "/tmp"];

/// Addresses given away: the port is the same everywhere.
static ADDRESSES: AtomicU16 = AtomicU16::new(1);

pub(crate) struct Release {
    objects: Vec<Value>,
    folder: PathBuf,
}

/// One of its controllers.
pub(crate) struct Replica {
    pub(crate) process: Child,
    pub(crate) address: SocketAddr,
    pub(crate) name: String,
}

impl Drop for Replica {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Release {
    /// Everything but the test's objects, by `kubectl apply`.
    pub(crate) async fn install(server: &Apiserver, folder: &Path) -> Result<Self> {
        let rendered = Helm::new()?.render(&["--skip-tests"])?;
        let documents = serde_yaml_ng::Deserializer::from_str(&rendered).map(Value::deserialize);
        let objects: Vec<Value> = documents.collect::<Result<_, _>>()?;
        let objects: Vec<Value> = objects.into_iter().filter(|object| !object.is_null()).collect();
        let client = server.client().await?;
        let namespace = json!({ "metadata": { "name": NAMESPACE } });
        let made = call(&client, "POST", "/api/v1/namespaces", Body::Json(&namespace)).await?;
        ensure!(made.is_success(), "{}", made.message());
        let file = folder.join("rendered.yaml");
        std::fs::write(&file, &rendered)?;
        let mut kubectl = server.kubectl()?;
        let applied = kubectl.args(["apply", "--server-side", "-f"]).arg(&file).output()?;
        ensure!(applied.status.success(), "{}", String::from_utf8_lossy(&applied.stderr));
        let release = Self { objects, folder: folder.to_owned() };
        let key = folder.join("signing-key");
        std::fs::create_dir_all(&key)?;
        let secret = release.only("Secret")?;
        for (file, content) in secret["data"].as_object().context("data")? {
            std::fs::write(key.join(file), STANDARD.decode(content.as_str().context("base64")?)?)?;
        }
        release.renew_token(server).await?;
        Ok(release)
    }

    /// Controllers that are started from now on have another token: the audit log tells them apart by it.
    pub(crate) async fn renew_token(&self, server: &Apiserver) -> Result<()> {
        let token = server.token_for(NAMESPACE, ACCOUNT).await?;
        Ok(std::fs::write(self.folder.join("controller.conf"), server.kubeconfig_with(&token))?)
    }

    fn only(&self, kind: &str) -> Result<&Value> {
        let mut found = self.objects.iter().filter(|object| object["kind"] == kind);
        let one = found.next().with_context(|| format!("no {kind}"))?;
        ensure!(found.next().is_none(), "several of {kind}");
        Ok(one)
    }

    /// A pod of the Deployment.
    pub(crate) fn start(&self) -> Result<Replica> {
        let spec = &self.only("Deployment")?["spec"]["template"]["spec"];
        ensure!(spec["serviceAccountName"] == ACCOUNT, "{spec}");
        let container = &spec["containers"][0];
        let mounts = container["volumeMounts"].as_array().context("mounts")?;
        let paths: Vec<_> = mounts.iter().filter_map(|mount| mount["mountPath"].as_str()).collect();
        ensure!(paths == MOUNTS, "{paths:?}");
        let number = ADDRESSES.fetch_add(1, Ordering::Relaxed);
        let [high, low] = number.to_be_bytes();
        let address = SocketAddr::from((Ipv4Addr::new(127, 2, high, low), 8080));
        let mut command = Command::new(e2e::site::binary()?);
        for argument in container["args"].as_array().context("arguments")? {
            let argument = argument.as_str().context("a text")?;
            let key = self.folder.join("signing-key");
            command
                .arg(argument.replace(MOUNTS[0], &key.to_string_lossy()).replace("0.0.0.0:8080", &address.to_string()));
        }
        let name = format!("onceward-controller-{number}");
        command.env_clear().env("HOSTNAME", &name).env("KUBECONFIG", self.folder.join("controller.conf"));
        for variable in container["env"].as_array().into_iter().flatten() {
            command.env(variable["name"].as_str().context("a name")?, variable["value"].as_str().context("a value")?);
        }
        let said = std::fs::File::options().create(true).append(true).open(self.said())?;
        let process = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(said).spawn()?;
        Ok(Replica { process, address, name })
    }

    /// What all of its controllers log.
    pub(crate) fn said(&self) -> PathBuf {
        self.folder.join("controller.log")
    }

    /// As the audit log calls it.
    pub(crate) fn user() -> String {
        format!("system:serviceaccount:{NAMESPACE}:{ACCOUNT}")
    }

    /// `group/resource verb`, of the roles that are bound to it.
    pub(crate) fn granted(&self) -> Result<BTreeSet<String>> {
        let bound = |binding: &&Value| {
            let subjects = binding["subjects"].as_array().into_iter().flatten();
            subjects.into_iter().any(|subject| subject["name"] == ACCOUNT)
        };
        let bindings = self
            .objects
            .iter()
            .filter(|object| object["kind"].as_str().is_some_and(|kind| kind.ends_with("RoleBinding")));
        let mut all = BTreeSet::new();
        for binding in bindings.filter(bound) {
            let (kind, name) = (&binding["roleRef"]["kind"], &binding["roleRef"]["name"]);
            let role = self.objects.iter().find(|role| role["kind"] == *kind && role["metadata"]["name"] == *name);
            all.extend(granted(role.context("a role")?));
        }
        Ok(all)
    }
}
