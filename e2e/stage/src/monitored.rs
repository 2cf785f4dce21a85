//! A Prometheus in a cluster's network with the rules of the chart, which reads the pods that the chart's `PodMonitor`s
//! select, as the Prometheus operator would have it: Debian's program finds no pods by itself.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use anyhow::{Context as _, Result, bail, ensure};
use serde::Deserialize as _;
use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::helm::Helm;
use crate::prometheus::{Job, Prometheus};

/// The operator's default.
const EVALUATION: &str = "30s";
const TEMPLATES: [&str; 2] = ["templates/podmonitors.yaml", "templates/prometheusrule.yaml"];

/// Prometheus, and what it is to read.
pub struct Monitored {
    pub prometheus: Prometheus,
    monitors: Vec<Value>,
    pub alerts: Vec<String>,
}

impl Monitored {
    /// By the chart's objects, as [`rendered`] has them. It finds nobody until [`Self::look`].
    ///
    /// # Errors
    /// There is no Prometheus, or the chart's objects are not as expected.
    pub fn start(rendered: &[Value]) -> Result<Self> {
        let of = |kind: &str| rendered.iter().filter(|object| object["kind"] == kind).cloned().collect::<Vec<_>>();
        let [rules] = of("PrometheusRule").try_into().ok().context("one PrometheusRule")?;
        let monitors = of("PodMonitor");
        let jobs = monitors.iter().map(job).collect::<Result<Vec<_>>>()?;
        let prometheus = Prometheus::start_with(&rules["spec"], EVALUATION, &jobs)?;
        let all = rules.pointer("/spec/groups/0/rules").and_then(Value::as_array).into_iter().flatten();
        let alerts = all.filter_map(|rule| rule["alert"].as_str().map(str::to_owned)).collect();
        Ok(Self { prometheus, monitors, alerts })
    }

    /// Tells Prometheus which pods there are at this moment.
    ///
    /// # Errors
    /// The API server does not answer, or what it says cannot be written down.
    pub fn look(&self, cluster: &Cluster) -> Result<()> {
        for monitor in &self.monitors {
            self.prometheus.read(name(monitor)?, &targets(cluster, monitor)?)?;
        }
        Ok(())
    }
}

/// The chart's monitors and rules, as its values say when monitoring is turned on and nothing else.
///
/// # Errors
/// There is no Helm, or it refuses the chart.
pub fn rendered() -> Result<Vec<Value>> {
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
fn targets(cluster: &Cluster, monitor: &Value) -> Result<Vec<(SocketAddr, Value)>> {
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
    let pods = cluster.told(&["get", "--raw", &format!("/api/v1{place}/pods?labelSelector={words}")])?;
    let pods: Value = serde_json::from_str(&pods)?;
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
