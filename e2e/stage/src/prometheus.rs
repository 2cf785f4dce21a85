//! A Prometheus on loopback with the rules of the chart, which reads controllers and workers.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use crate::http::{free_port, get};
use crate::promtool::program;

/// What is read in the same way: pods of one `PodMonitor`.
#[derive(Clone, Debug)]
pub struct Job {
    /// Of [`Prometheus::read`].
    pub name: String,
    /// As `15s`.
    pub interval: String,
    pub path: String,
    /// Labels of a target give way to those of a series.
    pub has_honored_labels: bool,
}

/// An alert as it is told, whatever its state.
#[derive(Clone, Debug)]
pub struct Alert {
    pub is_firing: bool,
    /// Among them `alertname`.
    pub labels: Value,
}

/// A running server. Dropping it kills it and removes what it holds.
pub struct Prometheus {
    folder: tempfile::TempDir,
    address: SocketAddr,
    process: Child,
}

impl Prometheus {
    /// Reads `controller` and `workers`, and judges, every second. `rules`: the `spec` of a `PrometheusRule`. It listens a
    /// moment later.
    ///
    /// # Errors
    /// The program cannot be had, or does not start.
    pub fn start(rules: &Value) -> Result<Self> {
        let job = |name: &str| {
            let (name, interval, path) = (name.to_owned(), "1s".to_owned(), "/metrics".to_owned());
            Job { name, interval, path, has_honored_labels: true }
        };
        Self::start_with(rules, "1s", &[job("controller"), job("workers")])
    }

    /// Judges by the rules so often (`evaluation`, as `30s`), and reads these jobs as each of them says.
    ///
    /// # Errors
    /// As for [`Self::start`].
    pub fn start_with(rules: &Value, evaluation: &str, jobs: &[Job]) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("onceward-prometheus-").tempdir()?;
        let job = |Job { name, interval, path, has_honored_labels }: &Job| {
            json!({ "job_name": name, "honor_labels": has_honored_labels, "scrape_interval": interval, "metrics_path": path,
                "file_sd_configs": [{ "files": [format!("{name}.json")], "refresh_interval": "1s" }] })
        };
        let configuration = json!({
            "global": { "evaluation_interval": evaluation },
            "rule_files": ["rules.yaml"],
            "scrape_configs": jobs.iter().map(job).collect::<Vec<_>>(),
        });
        let write = |name: &str, value: &Value| std::fs::write(folder.path().join(name), value.to_string());
        // JSON is YAML.
        write("prometheus.yaml", &configuration)?;
        write("rules.yaml", rules)?;
        jobs.iter().try_for_each(|job| write(&format!("{}.json", job.name), &json!([])))?;
        let address = free_port()?;
        let log = std::fs::File::create(folder.path().join("log"))?;
        let mut command = Command::new(program("prometheus")?);
        command.current_dir(folder.path()).args(["--config.file=prometheus.yaml", "--storage.tsdb.path=data"]);
        command.arg(format!("--web.listen-address={address}"));
        let process = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn()?;
        Ok(Self { folder, address, process })
    }

    /// What a job reads from now on: addresses, and labels of each.
    ///
    /// # Errors
    /// What the file system says.
    pub fn read(&self, job: &str, targets: &[(SocketAddr, Value)]) -> Result<()> {
        let groups: Vec<Value> = targets
            .iter()
            .map(|(address, labels)| json!({ "targets": [address.to_string()], "labels": labels }))
            .collect();
        // It may look at any moment.
        let (made, there) = (self.folder.path().join("made"), self.folder.path().join(format!("{job}.json")));
        std::fs::write(&made, Value::from(groups).to_string())?;
        Ok(std::fs::rename(made, there)?)
    }

    /// Where its page and its API are.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it logs.
    pub fn said(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Alerts that fire or are about to; `None`: it does not answer, or not yet.
    ///
    /// # Errors
    /// It speaks otherwise than expected.
    pub fn alerts(&self) -> Result<Option<Vec<Alert>>> {
        let Ok((head, body)) = get(self.address, "/api/v1/alerts") else { return Ok(None) };
        if !head.starts_with("HTTP/1.1 200") {
            return Ok(None);
        }
        let answer: Value = serde_json::from_str(&body).with_context(|| body.clone())?;
        let alerts = answer["data"]["alerts"].as_array().context("alerts")?;
        let alert = |alert: &Value| Alert { is_firing: alert["state"] == "firing", labels: alert["labels"].clone() };
        Ok(Some(alerts.iter().map(alert).collect()))
    }

    /// Names of alerts that fire, each with its Pipeline; `None`: as for [`Self::alerts`].
    ///
    /// # Errors
    /// As for [`Self::alerts`].
    pub fn firing(&self) -> Result<Option<BTreeSet<(String, String)>>> {
        let text = |alert: &Alert, label: &str| alert.labels[label].as_str().unwrap_or_default().to_owned();
        let fire = |alerts: Vec<Alert>| {
            let fire = alerts.iter().filter(|alert| alert.is_firing);
            fire.map(|alert| (text(alert, "alertname"), text(alert, "pipeline"))).collect()
        };
        Ok(self.alerts()?.map(fire))
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
