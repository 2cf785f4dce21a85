//! A real Prometheus in the cluster's network with the rules of the chart, which reads the pods that the chart's
//! `PodMonitor`s select, as the Prometheus operator would have it: Debian's program finds no pods by itself.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde::Deserialize as _;
use serde_json::{Value, json};
use stage::cluster::Cluster;
use stage::helm::Helm;
use stage::prometheus::{Job, Prometheus};

use crate::stand::Stand;
use crate::{Begin, say};

/// The operator's default.
const EVALUATION: &str = "30s";
const LOOK: Duration = Duration::from_secs(2);
/// Most of them wait for a quarter of an hour; lag has to grow meanwhile.
const MOST_SECONDS: f64 = 2_400.0;
const TEMPLATES: [&str; 2] = ["templates/podmonitors.yaml", "templates/prometheusrule.yaml"];

/// Prometheus, and what it is to read.
pub(super) struct Watch {
    prometheus: Prometheus,
    monitors: Vec<Value>,
    pub(super) alerts: Vec<String>,
    is_over: AtomicBool,
}

/// A Pipeline's alert; the one of the controller has no Pipeline.
#[derive(Clone, Copy)]
pub(super) struct Wanted {
    pub(super) alert: &'static str,
    pub(super) pipeline: &'static str,
}

impl Watch {
    /// With the chart's objects on the cluster, too, as its values say when monitoring is turned on and nothing else.
    pub(super) fn start(stand: &Stand) -> Result<Self> {
        let rendered = rendered()?;
        stand.cluster.apply(&kinds().to_string())?;
        let of = |kind: &str| rendered.iter().filter(|object| object["kind"] == kind).cloned().collect::<Vec<_>>();
        let objects = json!({ "apiVersion": "v1", "kind": "List", "items": rendered }).to_string();
        crate::stand::until("the kinds of the operator are served", || Ok(stand.cluster.apply(&objects).ok()))?;
        let [rules] = of("PrometheusRule").try_into().ok().context("one PrometheusRule")?;
        let monitors = of("PodMonitor");
        let jobs = monitors.iter().map(job).collect::<Result<Vec<_>>>()?;
        let prometheus = Prometheus::start_with(&rules["spec"], EVALUATION, &jobs)?;
        let all = rules.pointer("/spec/groups/0/rules").and_then(Value::as_array).into_iter().flatten();
        let alerts = all.filter_map(|rule| rule["alert"].as_str().map(str::to_owned)).collect();
        Ok(Self { prometheus, monitors, alerts, is_over: AtomicBool::new(false) })
    }

    /// Keeps telling Prometheus which pods there are, until [`Self::end`].
    pub(super) fn discover(&self, cluster: &Cluster) -> Result<()> {
        let stand = Stand::begin(Cluster::find(cluster.layout().name())?)?;
        while !self.is_over.load(Ordering::Relaxed) {
            for monitor in &self.monitors {
                // A look that fails is taken again.
                if let Ok(targets) = targets(&stand, monitor) {
                    self.prometheus.read(name(monitor)?, &targets)?;
                }
            }
            std::thread::sleep(LOOK);
        }
        Ok(())
    }

    pub(super) fn end(&self) {
        self.is_over.store(true, Ordering::Relaxed);
    }

    /// Labels of the alert where it fires; `None`: Prometheus does not answer.
    fn firing(&self, wanted: Wanted) -> Result<Option<Vec<Value>>> {
        let is_it = |labels: &Value| {
            labels["alertname"] == wanted.alert && (wanted.pipeline.is_empty() || labels["pipeline"] == wanted.pipeline)
        };
        let Some(alerts) = self.prometheus.alerts()? else { return Ok(None) };
        let fire = alerts.into_iter().filter(|alert| alert.is_firing && is_it(&alert.labels));
        Ok(Some(fire.map(|alert| alert.labels).collect()))
    }

    /// The alert's labels once it fires, and the seconds that this took.
    pub(super) fn fires(&self, wanted: Wanted) -> Result<(Value, f64)> {
        self.until(wanted, "fires", |firing| firing.into_iter().next())
    }

    /// The seconds until it does not fire any more.
    pub(super) fn resolves(&self, wanted: Wanted) -> Result<f64> {
        Ok(self.until(wanted, "resolves", |firing| firing.is_empty().then_some(()))?.1)
    }

    fn until<T>(&self, wanted: Wanted, what: &str, mut is_so: impl FnMut(Vec<Value>) -> Option<T>) -> Result<(T, f64)> {
        let begin = Begin::now();
        while begin.seconds() < MOST_SECONDS {
            if let Some(found) = self.firing(wanted)?.and_then(&mut is_so) {
                return Ok((found, begin.seconds()));
            }
            std::thread::sleep(LOOK);
        }
        bail!("{} of {} never {what}; Prometheus: {}", wanted.alert, wanted.pipeline, self.prometheus.said())
    }

    /// It does not fire before anything is broken.
    pub(super) fn is_quiet(&self, wanted: Wanted) -> Result<()> {
        let firing = crate::stand::until("Prometheus answers", || self.firing(wanted))?;
        ensure!(firing.is_empty(), "{} of {} fires while nothing is broken", wanted.alert, wanted.pipeline);
        Ok(())
    }
}

/// The monitors and rules of the chart.
fn rendered() -> Result<Vec<Value>> {
    let mut arguments = vec![];
    for setting in ["monitoring.podMonitor.enabled=true", "monitoring.prometheusRule.enabled=true"] {
        arguments.extend(["--set", setting]);
    }
    for template in TEMPLATES {
        arguments.extend(["--show-only", template]);
    }
    let text = Helm::new()?.render(&arguments)?;
    let documents = serde_yaml_ng::Deserializer::from_str(&text);
    let objects = documents.map(Value::deserialize).collect::<Result<Vec<_>, _>>()?;
    Ok(objects.into_iter().filter(|object| !object.is_null()).collect())
}

/// The operator's kinds, as far as an API server must know them to keep what the chart has of them.
fn kinds() -> Value {
    let kind = |kind: &str, plural: &str| {
        let schema = json!({ "openAPIV3Schema": { "type": "object", "x-kubernetes-preserve-unknown-fields": true } });
        let version = json!({ "name": "v1", "served": true, "storage": true, "schema": schema });
        json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": { "name": format!("{plural}.monitoring.coreos.com") },
            "spec": {
                "group": "monitoring.coreos.com", "scope": "Namespaced", "versions": [version],
                "names": { "kind": kind, "plural": plural, "singular": kind.to_lowercase(), "listKind": format!("{kind}List") },
            },
        })
    };
    let items = [kind("PodMonitor", "podmonitors"), kind("PrometheusRule", "prometheusrules")];
    json!({ "apiVersion": "v1", "kind": "List", "items": items })
}

fn name(monitor: &Value) -> Result<&str> {
    monitor["metadata"]["name"].as_str().context("a name")
}

fn endpoint(monitor: &Value) -> &Value {
    &monitor["spec"]["podMetricsEndpoints"][0]
}

fn job(monitor: &Value) -> Result<Job> {
    let text = |field: &str| endpoint(monitor)[field].as_str().map(str::to_owned).with_context(|| field.to_owned());
    let has_honored_labels = endpoint(monitor)["honorLabels"] == true;
    Ok(Job { name: name(monitor)?.to_owned(), interval: text("interval")?, path: text("path")?, has_honored_labels })
}

/// Pods that a monitor selects, with the labels that the operator gives them.
fn targets(stand: &Stand, monitor: &Value) -> Result<Vec<(SocketAddr, Value)>> {
    let own = monitor["metadata"]["namespace"].as_str().context("a namespace")?;
    let selector = &monitor["spec"]["selector"];
    let labels: BTreeMap<String, String> = serde_json::from_value(selector["matchLabels"].clone()).unwrap_or_default();
    let mut words: Vec<_> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    for expression in selector["matchExpressions"].as_array().into_iter().flatten() {
        ensure!(expression["operator"] == "Exists", "it is not known here: {expression}");
        words.push(expression["key"].as_str().context("a key")?.to_owned());
    }
    ensure!(!words.is_empty(), "it would select every pod: {monitor}");
    let place = match &monitor["spec"]["namespaceSelector"] {
        Value::Null => format!("/namespaces/{own}"),
        selector if selector["any"] == true => String::new(),
        other => bail!("it is not known here: {other}"),
    };
    let words = words.join(",").replace('/', "%2F").replace('=', "%3D").replace(',', "%2C");
    let pods = stand.get(&format!("/api/v1{place}/pods?labelSelector={words}"))?;
    let port = endpoint(monitor)["port"].as_str().context("a port")?;
    let job = format!("{own}/{}", name(monitor)?);
    let mut found = vec![];
    for pod in pods["items"].as_array().into_iter().flatten() {
        let ended = pod["status"]["phase"] == "Failed" || pod["status"]["phase"] == "Succeeded";
        let Some(address) = pod["status"]["podIP"].as_str().filter(|_| !ended) else { continue };
        for container in pod["spec"]["containers"].as_array().into_iter().flatten() {
            let ports = container["ports"].as_array().into_iter().flatten();
            for number in ports.filter(|found| found["name"] == port).filter_map(|port| port["containerPort"].as_u64())
            {
                let labels = json!({
                    "job": job, "endpoint": port, "container": container["name"],
                    "namespace": pod["metadata"]["namespace"], "pod": pod["metadata"]["name"],
                });
                found.push((SocketAddr::new(address.parse()?, u16::try_from(number)?), labels));
            }
        }
    }
    Ok(found)
}

/// A line for each alert.
pub(super) fn tell(wanted: Wanted, fired: f64, resolved: f64, commands: usize) {
    say(&format!(
        "{}: fired {fired:.0} s after it was broken, resolved {resolved:.0} s after it was mended; {commands} commands",
        wanted.alert
    ));
}
