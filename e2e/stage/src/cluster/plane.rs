//! The control plane's components: processes in the cluster's network namespace.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};
use rustix::process::Signal;

use super::layout::{Layout, PLANE, SERVICES};
use super::system::{Process, within};

/// One process of the control plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Component {
    Etcd,
    Apiserver,
    ControllerManager,
    Scheduler,
}

impl Component {
    /// In the order in which they can be started.
    pub const ALL: [Self; 4] = [Self::Etcd, Self::Apiserver, Self::ControllerManager, Self::Scheduler];

    fn name(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::Apiserver => "apiserver",
            Self::ControllerManager => "controller-manager",
            Self::Scheduler => "scheduler",
        }
    }
}

/// A component of a cluster.
pub struct Plane<'a> {
    pub(super) layout: &'a Layout,
    pub(super) program: &'a Path,
    pub(super) component: Component,
}

impl Plane<'_> {
    /// Starts it on its data; returns at once.
    ///
    /// # Errors
    /// It runs already, or cannot be started.
    pub fn start(&self) -> Result<()> {
        let name = self.component.name();
        ensure!(!self.process().is_some_and(Process::is_alive), "{name} runs already");
        let mut command: Command = within(&self.layout.namespace(), self.program);
        command.arg(name);
        command.args(self.arguments().iter().map(|(flag, value)| format!("--{flag}={value}")));
        let folder = self.layout.folder();
        Process::start(command, &folder.join(format!("{name}.process")), &folder.join(format!("{name}.log")))?;
        Ok(())
    }

    /// `SIGKILL`; returns when it is gone.
    ///
    /// # Errors
    /// It does not run: then this kill proves nothing.
    pub fn kill(&self) -> Result<()> {
        let running = self.process().filter(|process| process.is_alive());
        ensure!(running.is_some(), "{} does not run", self.component.name());
        self.end()
    }

    /// As [`Self::kill`], whether it runs or not.
    pub(super) fn end(&self) -> Result<()> {
        self.process().map_or(Ok(()), Process::kill)
    }

    /// `SIGSTOP`: connections stay open and nothing is answered.
    ///
    /// # Errors
    /// It does not run.
    pub fn pause(&self) -> Result<()> {
        self.signal(Signal::STOP)
    }

    /// `SIGCONT`.
    ///
    /// # Errors
    /// It does not run.
    pub fn resume(&self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let process = self.process();
        ensure!(process.is_some(), "{} was not started", self.component.name());
        process.map_or(Ok(()), |process| process.signal(signal))
    }

    fn process(&self) -> Option<Process> {
        Process::recorded(&self.layout.folder().join(format!("{}.process", self.component.name())))
    }

    fn arguments(&self) -> Vec<(&'static str, String)> {
        match self.component {
            Component::Etcd => self.etcd(),
            Component::Apiserver => self.apiserver(),
            Component::ControllerManager => self.controller_manager(),
            Component::Scheduler => self.client("scheduler"),
        }
    }

    fn certificate(&self, name: &str) -> String {
        self.layout.certificates().join(name).display().to_string()
    }

    fn etcd(&self) -> Vec<(&'static str, String)> {
        let (clients, peers) = ("http://127.0.0.1:2379".to_owned(), "http://127.0.0.1:2380".to_owned());
        vec![
            ("data-dir", self.layout.folder().join("etcd").display().to_string()),
            // Processes are killed here, not machines.
            ("unsafe-no-fsync", "true".to_owned()),
            ("listen-client-urls", clients.clone()),
            ("advertise-client-urls", clients),
            ("listen-peer-urls", peers.clone()),
            ("initial-advertise-peer-urls", peers.clone()),
            ("initial-cluster", format!("default={peers}")),
            ("log-level", "warn".to_owned()),
        ]
    }

    fn apiserver(&self) -> Vec<(&'static str, String)> {
        let issuer = "https://kubernetes.default.svc.cluster.local".to_owned();
        let fixed = [
            ("etcd-servers", "http://127.0.0.1:2379"),
            ("advertise-address", PLANE),
            ("secure-port", "6443"),
            ("service-cluster-ip-range", SERVICES),
            ("kubelet-preferred-address-types", "InternalIP"),
            ("requestheader-allowed-names", "front-proxy"),
            ("requestheader-username-headers", "X-Remote-User"),
            ("requestheader-group-headers", "X-Remote-Group"),
            ("requestheader-extra-headers-prefix", "X-Remote-Extra-"),
            ("authorization-mode", "Node,RBAC"),
            ("enable-admission-plugins", "NodeRestriction"),
            // It has no kube-proxy: it reaches pods by their own addresses.
            ("enable-aggregator-routing", "true"),
            ("allow-privileged", "true"),
        ];
        let files = [
            ("tls-cert-file", "apiserver.crt"),
            ("tls-private-key-file", "apiserver.key"),
            ("client-ca-file", "ca.crt"),
            ("kubelet-client-certificate", "apiserver-kubelet-client.crt"),
            ("kubelet-client-key", "apiserver-kubelet-client.key"),
            ("kubelet-certificate-authority", "ca.crt"),
            ("service-account-key-file", "accounts.pub"),
            ("service-account-signing-key-file", "accounts.key"),
            ("requestheader-client-ca-file", "front-proxy-ca.crt"),
            ("proxy-client-cert-file", "front-proxy.crt"),
            ("proxy-client-key-file", "front-proxy.key"),
        ];
        let mut all: Vec<_> = fixed.map(|(flag, value)| (flag, value.to_owned())).to_vec();
        all.extend(files.map(|(flag, file)| (flag, self.certificate(file))));
        all.push(("service-account-issuer", issuer));
        all
    }

    /// What those have in common that are clients of the API server.
    fn client(&self, name: &str) -> Vec<(&'static str, String)> {
        let kubeconfig = self.certificate(&format!("{name}.conf"));
        let mut all = ["kubeconfig", "authentication-kubeconfig", "authorization-kubeconfig"]
            .map(|flag| (flag, kubeconfig.clone()))
            .to_vec();
        all.push(("bind-address", "127.0.0.1".to_owned()));
        all.push(("leader-elect", "false".to_owned()));
        all
    }

    fn controller_manager(&self) -> Vec<(&'static str, String)> {
        let mut all = self.client("controller-manager");
        all.extend([
            ("use-service-account-credentials", "true".to_owned()),
            ("service-account-private-key-file", self.certificate("accounts.key")),
            ("root-ca-file", self.certificate("ca.crt")),
            ("cluster-signing-cert-file", self.certificate("ca.crt")),
            ("cluster-signing-key-file", self.certificate("ca.key")),
            // A node that is cut off is known to be after seconds, not after most of a minute.
            ("node-monitor-period", "1s".to_owned()),
            ("node-monitor-grace-period", "12s".to_owned()),
        ]);
        all
    }
}
