//! A Prometheus on loopback with the rules of the chart, which reads controllers and workers every second.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use crate::http::{free_port, get};
use crate::promtool::program;

/// A running server. Dropping it kills it and removes what it holds.
pub struct Prometheus {
    folder: tempfile::TempDir,
    address: SocketAddr,
    process: Child,
}

impl Prometheus {
    /// `rules`: the `spec` of a `PrometheusRule`. It listens a moment later.
    ///
    /// # Errors
    /// The program cannot be had, or does not start.
    pub fn start(rules: &Value) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("onceward-prometheus-").tempdir()?;
        // Labels of a target give way to those of a series, as the chart's PodMonitors have it.
        let job = |name: &str| {
            json!({ "job_name": name, "honor_labels": true,
                "file_sd_configs": [{ "files": [format!("{name}.json")], "refresh_interval": "1s" }] })
        };
        let configuration = json!({
            "global": { "scrape_interval": "1s", "evaluation_interval": "1s" },
            "rule_files": ["rules.yaml"],
            "scrape_configs": [job("controller"), job("workers")],
        });
        let write = |name: &str, value: &Value| std::fs::write(folder.path().join(name), value.to_string());
        // JSON is YAML.
        write("prometheus.yaml", &configuration)?;
        write("rules.yaml", rules)?;
        write("controller.json", &json!([]))?;
        write("workers.json", &json!([]))?;
        let address = free_port()?;
        let log = std::fs::File::create(folder.path().join("log"))?;
        let mut command = Command::new(program("prometheus")?);
        command.current_dir(folder.path()).args(["--config.file=prometheus.yaml", "--storage.tsdb.path=data"]);
        command.arg(format!("--web.listen-address={address}"));
        let process = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn()?;
        Ok(Self { folder, address, process })
    }

    /// What a job (`controller` or `workers`) reads from now on: addresses, and labels of each.
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

    /// What it logs.
    pub fn said(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Names of alerts that fire, each with its Pipeline; `None`: it does not answer, or not yet.
    ///
    /// # Errors
    /// It speaks otherwise than expected.
    pub fn firing(&self) -> Result<Option<BTreeSet<(String, String)>>> {
        let Ok((head, body)) = get(self.address, "/api/v1/alerts") else { return Ok(None) };
        if !head.starts_with("HTTP/1.1 200") {
            return Ok(None);
        }
        // The answer may come in chunks.
        let (begin, end) = (body.find('{').context("JSON")?, body.rfind('}').context("JSON")?);
        let answer: Value = serde_json::from_str(&body[begin..=end]).with_context(|| body.clone())?;
        let alerts = answer["data"]["alerts"].as_array().context("alerts")?;
        let text = |alert: &Value, label: &str| alert["labels"][label].as_str().unwrap_or_default().to_owned();
        let fire = alerts.iter().filter(|alert| alert["state"] == "firing");
        Ok(Some(fire.map(|alert| (text(alert, "alertname"), text(alert, "pipeline"))).collect()))
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
