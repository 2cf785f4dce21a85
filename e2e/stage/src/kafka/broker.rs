//! One node of Apache Kafka (broker and controller in one) as a child process: started, killed, paused, started again.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

use super::certificates::Certificates;
use super::libraries::{class_path, classes, stage};
use crate::ports::Port;

/// A start that takes longer is taken for stuck.
const MOST_START: Duration = Duration::from_mins(2);
const LOOK: Duration = Duration::from_millis(20);
/// Any fixed one: every stage is a cluster of its own.
const CLUSTER_ID: &str = "b25jZXdhcmQtdGVzdHMtMQ";

/// May do everything.
pub const USER: &str = "alice";
/// May do nothing.
pub const POWERLESS: &str = "bob";
/// Of both; a canary too: it must never be printed.
pub const PASSWORD: &str = "canary-p4ssw0rd";

/// Which Kafka.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// The newest 4.x.
    Newest,
    /// The newest 4.x with `transaction.version=0`: what a cluster is that was upgraded from 3.x.
    NewestWithOldTransactions,
    /// The last of the 3.x line.
    V3,
}

impl Version {
    pub const ALL: [Self; 3] = [Self::Newest, Self::NewestWithOldTransactions, Self::V3];

    fn release(self) -> &'static str {
        match self {
            Self::Newest | Self::NewestWithOldTransactions => "4.3.1",
            Self::V3 => "3.9.2",
        }
    }
}

/// Beyond the defaults, which are those of a small machine and of quick tests.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Lines of `server.properties`.
    pub properties: Vec<(String, String)>,
    /// Adds listeners with TLS and SASL, and access control: [`POWERLESS`] may do nothing.
    pub is_secured: bool,
    /// Adds a listener that is reached through a proxy on this port of the host.
    pub proxy: Option<u16>,
    /// Where it listens, if not at 127.0.0.1.
    pub host: Option<String>,
    /// Arguments for Java, after ours.
    pub java: Vec<String>,
}

/// Where clients connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listener {
    Plain,
    /// Advertises the address of [`Options::proxy`].
    Proxied,
    /// TLS; demands a client's certificate.
    Tls,
    /// TLS with PLAIN or SCRAM.
    SaslTls,
    /// PLAIN or SCRAM without encryption.
    SaslPlain,
}

impl Listener {
    const ALL: [Self; 5] = [Self::Plain, Self::Proxied, Self::Tls, Self::SaslTls, Self::SaslPlain];

    /// Its name, and the protocol that it speaks.
    fn name(self) -> (&'static str, &'static str) {
        match self {
            Self::Plain => ("PLAINTEXT", "PLAINTEXT"),
            Self::Proxied => ("PROXIED", "PLAINTEXT"),
            Self::Tls => ("SSL", "SSL"),
            Self::SaslTls => ("SASL_SSL", "SASL_SSL"),
            Self::SaslPlain => ("SASL_PLAINTEXT", "SASL_PLAINTEXT"),
        }
    }
}

/// A running node. Dropping it kills it and removes its folder, which is kept when a test fails.
pub struct Broker {
    version: Version,
    options: Options,
    node: usize,
    folder: Option<tempfile::TempDir>,
    certificates: Option<Certificates>,
    listeners: Vec<(Listener, Port)>,
    controller: Port,
    process: Option<Child>,
    starts: u32,
}

impl Broker {
    /// A cluster of one node; returns when it serves.
    ///
    /// # Errors
    /// Java, Maven or a library is missing, or the broker does not start; with what it said.
    pub fn start(version: Version, options: &Options) -> Result<Self> {
        let mut nodes = Self::cluster(version, options, 1)?;
        nodes.pop().context("a cluster of one has one")
    }

    /// `nodes` nodes that are all brokers and controllers; topics of the broker's own are on all of them.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn cluster(version: Version, options: &Options, nodes: usize) -> Result<Vec<Self>> {
        let mut brokers = (0..nodes).map(|node| Self::reserve(version, options, node)).collect::<Result<Vec<_>>>()?;
        let voters: Vec<_> =
            brokers.iter().map(|broker| format!("{}@127.0.0.1:{}", broker.id(), broker.controller.number)).collect();
        for broker in &mut brokers {
            let path = broker.folder().join("server.properties");
            fs::write(path, broker.configuration(&voters)?)?;
            broker.spawn()?;
        }
        brokers.iter_mut().try_for_each(Self::wait_until_it_serves)?;
        Ok(brokers)
    }

    fn reserve(version: Version, options: &Options, node: usize) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("onceward-kafka-").tempdir()?;
        let certificates = options.is_secured.then(|| Certificates::make(folder.path())).transpose()?;
        let wanted = Listener::ALL.into_iter().filter(|listener| match listener {
            Listener::Plain => true,
            Listener::Proxied => options.proxy.is_some(),
            Listener::Tls | Listener::SaslTls | Listener::SaslPlain => options.is_secured,
        });
        let listeners = wanted.map(|listener| Ok((listener, Port::reserve()?))).collect::<Result<_>>()?;
        let (options, folder) = (options.clone(), Some(folder));
        let controller = Port::reserve()?;
        Ok(Self { version, options, node, folder, certificates, listeners, controller, process: None, starts: 0 })
    }

    /// Node id in the cluster.
    pub fn id(&self) -> i32 {
        self.node as i32 + 1
    }

    pub fn version(&self) -> Version {
        self.version
    }

    /// `127.0.0.1:port` of the plain listener, unless it listens at another address.
    pub fn address(&self) -> String {
        format!("{}:{}", self.host(), self.listeners.first().map_or(0, |(_, port)| port.number))
    }

    /// # Errors
    /// The options ask for no such listener.
    pub fn address_of(&self, listener: Listener) -> Result<String> {
        let found = self.listeners.iter().find(|(kind, _)| *kind == listener);
        let (_, port) = found.with_context(|| format!("this broker has no listener {listener:?}"))?;
        Ok(format!("{}:{}", self.host(), port.number))
    }

    fn host(&self) -> &str {
        self.options.host.as_deref().unwrap_or("127.0.0.1")
    }

    /// # Errors
    /// The broker has none: see [`Options::is_secured`].
    pub fn certificates(&self) -> Result<&Certificates> {
        self.certificates.as_ref().context("this broker is not secured")
    }

    pub fn folder(&self) -> &Path {
        self.folder.as_ref().map_or(Path::new(""), |folder| folder.path())
    }

    /// Folder of the logs, for `DumpLogSegments`.
    pub fn data(&self) -> PathBuf {
        self.folder().join("data")
    }

    /// A command of Kafka's own tools: `tool("org.apache.kafka.tools.DumpLogSegments")`, without its arguments.
    ///
    /// # Errors
    /// A library is missing.
    pub fn tool(&self, class: &str) -> Result<Command> {
        java(self.version.release(), &[], class)
    }

    /// `SIGKILL`; returns when the process is gone.
    ///
    /// # Errors
    /// It had ended already: then this kill proves nothing.
    pub fn kill(&mut self) -> Result<()> {
        let mut process = self.process.take().context("there is no process to kill")?;
        ensure!(process.try_wait()?.is_none(), "the broker had ended before it was killed: {}", self.said());
        process.kill()?;
        let status = process.wait()?;
        ensure!(std::os::unix::process::ExitStatusExt::signal(&status) == Some(9), "it ended with {status}");
        Ok(())
    }

    /// Starts a killed node again on its data and ports; returns when it serves.
    ///
    /// # Errors
    /// It runs already, or does not start.
    pub fn restart(&mut self) -> Result<()> {
        ensure!(self.process.is_none(), "the broker runs already");
        self.spawn()?;
        self.wait_until_it_serves()
    }

    /// `SIGSTOP`: connections stay open and nothing is answered.
    ///
    /// # Errors
    /// What the system says.
    pub fn pause(&self) -> Result<()> {
        self.signal(Signal::STOP)
    }

    /// `SIGCONT`.
    ///
    /// # Errors
    /// What the system says.
    pub fn resume(&self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let process = self.process.as_ref().context("the broker does not run")?;
        Ok(kill_process(Pid::from_child(process), signal)?)
    }

    fn said_path(&self) -> PathBuf {
        self.folder().join(format!("said-{}.log", self.starts))
    }

    /// Everything that the present process said.
    pub fn said(&self) -> String {
        fs::read_to_string(self.said_path()).unwrap_or_default()
    }

    fn spawn(&mut self) -> Result<()> {
        self.starts += 1;
        let configuration = self.folder().join("server.properties");
        let mut command = java(self.version.release(), &self.options.java, "Node")?;
        command.arg(&configuration).arg(self.data());
        command.args(["format", "--cluster-id", CLUSTER_ID, "--config"]).arg(&configuration);
        if self.version == Version::NewestWithOldTransactions {
            command.args(["--feature", "transaction.version=0"]);
        }
        if self.options.is_secured {
            for user in [USER, POWERLESS] {
                for mechanism in ["SCRAM-SHA-256", "SCRAM-SHA-512"] {
                    command.arg("--add-scram").arg(format!("{mechanism}=[name={user},password={PASSWORD}]"));
                }
            }
        }
        let said = File::create(self.said_path())?;
        command.stdin(Stdio::piped()).stdout(said.try_clone()?).stderr(said);
        self.process = Some(command.spawn().context("java")?);
        Ok(())
    }

    fn wait_until_it_serves(&mut self) -> Result<()> {
        for _ in 0..MOST_START.as_millis() / LOOK.as_millis() {
            if self.said().contains("Kafka Server started") {
                return Ok(());
            }
            let process = self.process.as_mut().context("the broker was not spawned")?;
            if let Some(status) = process.try_wait()? {
                bail!("the broker ended with {status}: {}", self.said());
            }
            std::thread::sleep(LOOK);
        }
        bail!("the broker does not serve after {MOST_START:?}: {}", self.said())
    }

    fn configuration(&self, voters: &[String]) -> Result<String> {
        let (mut text, copies) = (String::new(), voters.len());
        let mut set = |name: &str, value: &str| writeln!(text, "{name}={value}").context("text");
        set("process.roles", "broker,controller")?;
        set("node.id", &self.id().to_string())?;
        set("controller.quorum.voters", &voters.join(","))?;
        let mut listeners = vec![format!("CONTROLLER://127.0.0.1:{}", self.controller.number)];
        let (mut advertised, mut protocols) = (vec![], vec!["CONTROLLER:PLAINTEXT".to_owned()]);
        for (listener, port) in &self.listeners {
            let (name, protocol) = listener.name();
            listeners.push(format!("{name}://{}:{}", self.host(), port.number));
            let proxy = self.options.proxy.filter(|_| *listener == Listener::Proxied);
            advertised.push(format!("{name}://{}:{}", self.host(), proxy.unwrap_or(port.number)));
            protocols.push(format!("{name}:{protocol}"));
        }
        set("listeners", &listeners.join(","))?;
        set("advertised.listeners", &advertised.join(","))?;
        set("listener.security.protocol.map", &protocols.join(","))?;
        set("controller.listener.names", "CONTROLLER")?;
        set("inter.broker.listener.name", "PLAINTEXT")?;
        set("log.dirs", &self.data().to_string_lossy())?;
        for topic in ["offsets.topic", "transaction.state.log", "share.coordinator.state.topic"] {
            set(&format!("{topic}.replication.factor"), &copies.to_string())?;
        }
        let in_sync = if copies > 1 { "2" } else { "1" };
        set("transaction.state.log.min.isr", in_sync)?;
        set("share.coordinator.state.topic.min.isr", in_sync)?;
        for (name, value) in DEFAULTS {
            set(name, value)?;
        }
        if let Some(certificates) = &self.certificates {
            security(certificates, &mut set)?;
        }
        self.options.properties.iter().try_for_each(|(name, value)| set(name, value))?;
        Ok(text)
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
        if std::thread::panicking()
            && let Some(folder) = self.folder.take()
        {
            let kept = folder.keep();
            let _ = std::io::Write::write_fmt(&mut std::io::stderr(), format_args!("kept: {}\n", kept.display()));
        }
    }
}

/// Small, and quick to notice what tests do to it.
const DEFAULTS: [(&str, &str); 11] = [
    ("offsets.topic.num.partitions", "1"),
    ("transaction.state.log.num.partitions", "1"),
    ("group.initial.rebalance.delay.ms", "0"),
    ("transaction.max.timeout.ms", "2147483647"),
    ("transaction.abort.timed.out.transaction.cleanup.interval.ms", "200"),
    ("broker.session.timeout.ms", "1000"),
    ("broker.heartbeat.interval.ms", "200"),
    ("num.network.threads", "2"),
    ("num.io.threads", "2"),
    ("log.cleaner.dedupe.buffer.size", "16777216"),
    // Retention goes by the time of the record: old test data would vanish.
    ("log.retention.ms", "-1"),
];

fn security(certificates: &Certificates, set: &mut impl FnMut(&str, &str) -> Result<()>) -> Result<()> {
    set("ssl.keystore.type", "PEM")?;
    set("ssl.keystore.location", &certificates.broker.to_string_lossy())?;
    set("ssl.truststore.type", "PEM")?;
    set("ssl.truststore.location", &certificates.authority.to_string_lossy())?;
    set("listener.name.ssl.ssl.client.auth", "required")?;
    set("sasl.enabled.mechanisms", "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512")?;
    let plain = format!(
        "org.apache.kafka.common.security.plain.PlainLoginModule required user_{USER}=\"{PASSWORD}\" user_{POWERLESS}=\"{PASSWORD}\";"
    );
    let scram = "org.apache.kafka.common.security.scram.ScramLoginModule required;";
    for listener in ["sasl_ssl", "sasl_plaintext"] {
        set(&format!("listener.name.{listener}.plain.sasl.jaas.config"), &plain)?;
        for mechanism in ["scram-sha-256", "scram-sha-512"] {
            set(&format!("listener.name.{listener}.{mechanism}.sasl.jaas.config"), scram)?;
        }
    }
    set("authorizer.class.name", "org.apache.kafka.metadata.authorizer.StandardAuthorizer")?;
    set("super.users", &format!("User:ANONYMOUS;User:CN=client;User:{USER}"))
}

/// Java with our classes and the libraries of `release`. Ends when its standard input does, if `class` is one of ours.
///
/// # Errors
/// A library is missing.
pub fn java(release: &str, arguments: &[String], class: &str) -> Result<Command> {
    let libraries = class_path(release)?;
    // Ours are compiled against the newest, whatever they then meet.
    let own = classes(&class_path(Version::Newest.release())?)?;
    let mut command = Command::new("java");
    // Quick starts and little memory: these processes live for seconds.
    command.args(["-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData"]);
    command.arg(format!("-Dlog4j2.configurationFile={}", stage().join("log4j2.properties").display()));
    command.arg(format!("-Dlog4j.configuration=file:{}", stage().join("log4j.properties").display()));
    command.args(arguments).arg("-cp").arg(format!("{}:{libraries}", own.display())).arg(class);
    Ok(command)
}
