//! A real Prometheus in the cluster's network with the rules of the chart: alerts that fire and resolve.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use serde_json::{Value, json};
use stage::cluster::Cluster;
use stage::monitored::{Monitored, rendered};

use crate::stand::Stand;
use crate::{Begin, say};

const LOOK: Duration = Duration::from_secs(2);
/// Most of them wait for a quarter of an hour; lag has to grow meanwhile.
const MOST_SECONDS: f64 = 2_400.0;

/// It watches until it is told to end.
pub(super) struct Watch {
    pub(super) monitored: Monitored,
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
        let objects = json!({ "apiVersion": "v1", "kind": "List", "items": rendered }).to_string();
        crate::stand::until("the kinds of the operator are served", || Ok(stand.cluster.apply(&objects).ok()))?;
        Ok(Self { monitored: Monitored::start(&rendered)?, is_over: AtomicBool::new(false) })
    }

    /// Keeps telling Prometheus which pods there are, until [`Self::end`].
    pub(super) fn discover(&self, cluster: &Cluster) {
        while !self.is_over.load(Ordering::Relaxed) {
            // A look that fails is taken again.
            let _ = self.monitored.look(cluster);
            std::thread::sleep(LOOK);
        }
    }

    pub(super) fn end(&self) {
        self.is_over.store(true, Ordering::Relaxed);
    }

    /// Labels of the alert where it fires; `None`: Prometheus does not answer.
    fn firing(&self, wanted: Wanted) -> Result<Option<Vec<Value>>> {
        let is_it = |labels: &Value| {
            labels["alertname"] == wanted.alert && (wanted.pipeline.is_empty() || labels["pipeline"] == wanted.pipeline)
        };
        let Some(alerts) = self.monitored.prometheus.alerts()? else { return Ok(None) };
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
        bail!("{} of {} never {what}; Prometheus: {}", wanted.alert, wanted.pipeline, self.monitored.prometheus.said())
    }

    /// It does not fire before anything is broken.
    pub(super) fn is_quiet(&self, wanted: Wanted) -> Result<()> {
        let firing = crate::stand::until("Prometheus answers", || self.firing(wanted))?;
        ensure!(firing.is_empty(), "{} of {} fires while nothing is broken", wanted.alert, wanted.pipeline);
        Ok(())
    }
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

/// A line for each alert.
pub(super) fn tell(wanted: Wanted, fired: f64, resolved: f64, commands: usize) {
    say(&format!(
        "{}: fired {fired:.0} s after it was broken, resolved {resolved:.0} s after it was mended; {commands} commands",
        wanted.alert
    ));
}
