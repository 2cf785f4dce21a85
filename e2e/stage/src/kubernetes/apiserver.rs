//! kube-apiserver on loopback, with RBAC and an audit log: started, killed, paused, started again.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::audit::{self, Audited};
use super::call::{Body, call};
use super::certificates::Certificates;
use super::component::Component;
use super::etcd::Etcd;
use super::{binary, certificates};
use crate::ports::Port;

/// A start that takes longer is taken for stuck.
const MOST_START: Duration = Duration::from_mins(2);
const LOOK: Duration = Duration::from_millis(50);
/// So long a server may think about whether it is ready.
const MOST_ANSWER: Duration = Duration::from_secs(2);

/// Who asked for what, of every request; nothing of its content.
const AUDIT_POLICY: &str = "apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules: [{level: Metadata}]
";

/// One API server and its etcd, in a folder of their own; ended when this is dropped. When a test fails, the folder
/// stays.
pub struct Apiserver {
    process: Component,
    pub etcd: Etcd,
    certificates: Certificates,
    port: Port,
    folder: Option<TempDir>,
}

impl Apiserver {
    /// Starts both; returns when the server is ready.
    ///
    /// # Errors
    /// The binary cannot be built, or one of them does not start.
    pub async fn start() -> Result<Self> {
        let program = binary()?;
        let folder = tempfile::Builder::new().prefix("onceward-apiserver-").tempdir()?;
        let certificates = Certificates::make(folder.path())?;
        fs::write(folder.path().join("audit-policy.yaml"), AUDIT_POLICY)?;
        let (etcd, port) = (Etcd::start(&program, folder.path())?, Port::reserve()?);
        let arguments = arguments(folder.path(), &certificates, &etcd, &port);
        let process = Component::new("apiserver", program, arguments, folder.path().to_owned());
        let mut server = Self { process, etcd, certificates, port, folder: Some(folder) };
        let user = json!({
            "client-certificate": server.certificates.administrator.certificate,
            "client-key": server.certificates.administrator.key,
        });
        fs::write(server.kubeconfig(), server.kubeconfig_of(&user).to_string())?;
        server.restart().await?;
        Ok(server)
    }

    /// Of the administrator, who may do everything.
    pub fn kubeconfig(&self) -> PathBuf {
        self.folder().join("administrator.conf")
    }

    /// The administrator's client.
    ///
    /// # Errors
    /// What the client says of the configuration.
    pub async fn client(&self) -> Result<Client> {
        client_of(&self.kubeconfig()).await
    }

    /// A client that shows a token.
    ///
    /// # Errors
    /// What the client says of the configuration.
    pub async fn client_with(&self, token: &str) -> Result<Client> {
        let text = self.kubeconfig_with(token);
        Ok(Client::try_from(config(Kubeconfig::from_yaml(&text)?).await?)?)
    }

    /// A kubeconfig that shows a token, for programs.
    pub fn kubeconfig_with(&self, token: &str) -> String {
        self.kubeconfig_of(&json!({ "token": token })).to_string()
    }

    /// A token of a service account, which is made if it is not there.
    ///
    /// # Errors
    /// The server refuses it.
    pub async fn token_for(&self, namespace: &str, account: &str) -> Result<String> {
        let client = self.client().await?;
        let accounts = format!("/api/v1/namespaces/{namespace}/serviceaccounts");
        let made = call(&client, "POST", &accounts, Body::Json(&json!({ "metadata": { "name": account } }))).await?;
        ensure!(made.is_success() || made.status == 409, "{}", made.message());
        let path = format!("{accounts}/{account}/token");
        let given = call(&client, "POST", &path, Body::Json(&json!({ "spec": { "expirationSeconds": 3600 } }))).await?;
        let token = given.body.pointer("/status/token").and_then(Value::as_str);
        token.map(str::to_owned).with_context(|| format!("no token: {}", given.message()))
    }

    /// `kubectl` of the same version, as the administrator.
    ///
    /// # Errors
    /// The binary is not there.
    pub fn kubectl(&self) -> Result<Command> {
        let mut command = Command::new(binary()?);
        command.arg("kubectl").arg("--kubeconfig").arg(self.kubeconfig());
        // Its cache of what the server has.
        command.env("HOME", self.folder());
        Ok(command)
    }

    /// Requests that were answered so far, by whomever. A request's line may come a moment after its answer.
    ///
    /// # Errors
    /// The audit log is broken.
    pub fn audited(&self) -> Result<Vec<Audited>> {
        audit::read(&self.folder().join("audit.log"))
    }

    /// `SIGKILL`; returns when the process is gone. etcd lives on.
    ///
    /// # Errors
    /// It had ended already.
    pub fn kill(&mut self) -> Result<()> {
        self.process.kill()
    }

    /// Starts a killed one again on its port; returns when it is ready.
    ///
    /// # Errors
    /// It runs already, or does not start.
    pub async fn restart(&mut self) -> Result<()> {
        self.process.start()?;
        // Connections of a client do not outlive a server: each start is asked by a new one.
        let mut asked = config(Kubeconfig::read_from(self.kubeconfig())?).await?;
        (asked.connect_timeout, asked.read_timeout) = (Some(MOST_ANSWER), Some(MOST_ANSWER));
        let client = Client::try_from(asked)?;
        for _ in 0..MOST_START.as_millis() / LOOK.as_millis() {
            self.process.runs()?;
            if is_ready(&client).await {
                return Ok(());
            }
            tokio::time::sleep(LOOK).await;
        }
        bail!("the API server is not ready after {MOST_START:?}: {}", self.process.said())
    }

    /// `SIGSTOP`; returns when it has stopped. Connections stay open and nothing is answered.
    ///
    /// # Errors
    /// What the system says.
    pub fn pause(&self) -> Result<()> {
        self.process.pause()
    }

    /// `SIGCONT`.
    ///
    /// # Errors
    /// What the system says.
    pub fn resume(&self) -> Result<()> {
        self.process.resume()
    }

    /// Everything that the present process said.
    pub fn said(&self) -> String {
        self.process.said()
    }

    fn folder(&self) -> &Path {
        self.folder.as_ref().map_or(Path::new(""), TempDir::path)
    }

    fn kubeconfig_of(&self, user: &Value) -> Value {
        let server = format!("https://127.0.0.1:{}", self.port.number);
        let cluster = json!({ "server": server, "certificate-authority": self.certificates.authority });
        json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "test",
            "clusters": [{ "name": "test", "cluster": cluster }],
            "users": [{ "name": "test", "user": user }],
            "contexts": [{ "name": "test", "context": { "cluster": "test", "user": "test" } }],
        })
    }
}

impl Drop for Apiserver {
    fn drop(&mut self) {
        if std::thread::panicking()
            && let Some(folder) = self.folder.take()
        {
            let kept = folder.keep();
            let _ = std::io::Write::write_fmt(&mut std::io::stderr(), format_args!("kept: {}\n", kept.display()));
        }
    }
}

/// The client that a kubeconfig describes.
pub(crate) async fn client_of(kubeconfig: &Path) -> Result<Client> {
    Ok(Client::try_from(config(Kubeconfig::read_from(kubeconfig)?).await?)?)
}

async fn config(kubeconfig: Kubeconfig) -> Result<Config> {
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    // A test sees what the server said, not what a repetition made of it.
    config.default_retry = false;
    Ok(config)
}

/// Ready, and with the namespace that tests use.
async fn is_ready(client: &Client) -> bool {
    for path in ["/readyz", "/api/v1/namespaces/default"] {
        if !call(client, "GET", path, Body::None).await.is_ok_and(|answer| answer.is_success()) {
            return false;
        }
    }
    true
}

fn arguments(folder: &Path, certificates: &Certificates, etcd: &Etcd, port: &Port) -> Vec<String> {
    let text = |path: &Path| path.display().to_string();
    let certificates::Pair { certificate, key } = &certificates.server;
    let set = [
        ("etcd-servers", etcd.url()),
        ("bind-address", "127.0.0.1".to_owned()),
        ("advertise-address", "127.0.0.1".to_owned()),
        ("secure-port", port.number.to_string()),
        // Nobody reaches it by the Service `kubernetes`, whose endpoints may not be loopback.
        ("endpoint-reconciler-type", "none".to_owned()),
        ("service-cluster-ip-range", "10.96.0.0/16".to_owned()),
        ("tls-cert-file", text(certificate)),
        ("tls-private-key-file", text(key)),
        ("client-ca-file", text(&certificates.authority)),
        ("service-account-issuer", "https://kubernetes.default.svc".to_owned()),
        ("service-account-key-file", text(&certificates.accounts_public)),
        ("service-account-signing-key-file", text(&certificates.accounts_private)),
        ("authorization-mode", "RBAC".to_owned()),
        ("audit-policy-file", text(&folder.join("audit-policy.yaml"))),
        ("audit-log-path", text(&folder.join("audit.log"))),
        ("cert-dir", text(&folder.join("made"))),
    ];
    set.into_iter().map(|(name, value)| format!("--{name}={value}")).collect()
}
