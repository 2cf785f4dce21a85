//! What a report holds. Each part is bounded, and one that cannot be had keeps no other from being had.

use std::fmt::Write as _;

use api::names::{self, CONTAINER};
use api::pipeline::Pipeline;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use k8s_openapi::api::events::v1::Event;
use kube::api::LogParams;
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use super::redact::{MOST_VALUES, Redactor};
use crate::health::judge;
use crate::layout::time_of;
use crate::site::{Error, Site};
use crate::status;
use crate::worker;

/// Of each pod's log.
const MOST_LINES: i64 = 5_000;
const MOST_LOG_BYTES: i64 = 2 << 20;
/// Newest ones.
const MOST_PODS: usize = 10;
const MOST_EVENTS: usize = 1_000;
/// What the worker shows, and how it is called in the archive.
const PAGES: [(&str, &str); 3] =
    [("/graph", "worker/graph.json"), ("/history", "worker/history.json"), ("/metrics", "worker/metrics.txt")];

const PIPELINE: &str = "pipeline.json";
const STATUS: &str = "status.txt";
const PODS: &str = "pods.json";
const CONFIGURATION: &str = "configuration/";

/// Name and content of every file.
pub(super) type Files = Vec<(String, Vec<u8>)>;

struct Gathered<'a> {
    site: &'a Site<'a>,
    redactor: Redactor,
    objects: Vec<(String, Value)>,
    texts: Vec<(String, String)>,
    missing: Vec<String>,
}

/// Everything, cleaned, and a README of it first.
pub(super) async fn gather(site: &Site<'_>, pipeline: &Pipeline) -> Files {
    let mut gathered = Gathered { site, redactor: Redactor::new(), objects: vec![], texts: vec![], missing: vec![] };
    gathered.keep(PIPELINE, json!(pipeline));
    let pods = gathered.pods(&pipeline.name_any()).await;
    gathered.configuration(&pipeline.name_any()).await;
    gathered.events(&pipeline.name_any(), &pods).await;
    gathered.logs(&pods).await;
    gathered.pages(&pods).await;
    gathered.files(pipeline)
}

impl Gathered<'_> {
    fn keep(&mut self, name: &str, object: Value) {
        let object = self.redactor.learn(object);
        self.objects.push((name.to_owned(), object));
    }

    fn miss(&mut self, what: &str, error: &Error) {
        self.missing.push(format!("{what}: {error}"));
    }

    async fn pods(&mut self, name: &str) -> Vec<Pod> {
        match self.site.workers(name).await {
            Ok(mut pods) => {
                let surplus = pods.len().saturating_sub(MOST_PODS);
                let pods = pods.split_off(surplus);
                self.keep(PODS, json!(pods));
                pods
            }
            Err(error) => {
                self.miss(PODS, &error);
                vec![]
            }
        }
    }

    async fn configuration(&mut self, name: &str) {
        let maps: Api<ConfigMap> = Api::namespaced(self.site.client.clone(), &self.site.namespace);
        let labels = format!("{}={name}", names::PIPELINE);
        match self.site.list("list the worker's configuration", &maps, &labels).await {
            Ok(found) => {
                for map in found.into_iter().filter(|map| map.labels().contains_key(names::CONFIGURATION)) {
                    // The manifest as the worker reads it, which is JSON; anything else in it is not ours.
                    let manifest = map.data.as_ref().and_then(|data| data.get("pipeline.yaml"));
                    let manifest = manifest.and_then(|text| serde_json::from_str(text).ok()).unwrap_or(Value::Null);
                    self.keep(&format!("{CONFIGURATION}{}.json", map.name_any()), manifest);
                }
            }
            Err(error) => self.miss("configuration", &error),
        }
    }

    async fn events(&mut self, name: &str, pods: &[Pod]) {
        let events: Api<Event> = Api::namespaced(self.site.client.clone(), &self.site.namespace);
        match self.site.list("list events", &events, "").await {
            Ok(mut found) => {
                let pods: Vec<String> = pods.iter().map(ResourceExt::name_any).collect();
                found.retain(|event| is_about(event, name, &pods));
                found.sort_by_key(|event| event.metadata.creation_timestamp.as_ref().map(|time| time.0));
                let surplus = found.len().saturating_sub(MOST_EVENTS);
                let newest = found.split_off(surplus);
                self.keep("events.json", json!(newest));
            }
            Err(error) => self.miss("events.json", &error),
        }
    }

    async fn logs(&mut self, pods: &[Pod]) {
        for pod in pods {
            let name = pod.name_any();
            let params = LogParams {
                container: Some(CONTAINER.to_owned()),
                tail_lines: Some(MOST_LINES),
                limit_bytes: Some(MOST_LOG_BYTES),
                timestamps: true,
                ..LogParams::default()
            };
            match self.site.log(&name, &params).await {
                Ok(log) => self.texts.push((format!("logs/{name}.log"), log)),
                Err(error) => self.miss(&format!("logs/{name}.log"), &error),
            }
        }
    }

    async fn pages(&mut self, pods: &[Pod]) {
        let Some(pod) = pods.iter().rev().find(|pod| crate::site::is_running(pod)) else {
            self.missing.push("worker/: no worker runs".to_owned());
            return;
        };
        for (path, name) in PAGES {
            match worker::page(self.site, pod, path).await {
                Ok(body) => match serde_json::from_slice::<Value>(&body) {
                    Ok(object) => self.keep(name, object),
                    Err(_) => self.texts.push((name.to_owned(), String::from_utf8_lossy(&body).into_owned())),
                },
                Err(error) => {
                    self.miss(name, &error);
                    // The others would fail in the same way, each after its time.
                    return;
                }
            }
        }
    }

    /// Cleaned only now, when everything was learnt that is to be looked for.
    fn files(mut self, pipeline: &Pipeline) -> Files {
        if self.redactor.is_full() {
            self.keep_places();
        } else {
            match self.status(pipeline) {
                Some(status) => self.texts.push((STATUS.to_owned(), status)),
                None => self.missing.push(format!("{STATUS}: what is left of the Pipeline cannot be read")),
            }
        }
        let Self { site, redactor, objects, texts, missing } = self;
        let mut files: Files = vec![];
        for (name, object) in objects {
            files.push((name, format!("{:#}\n", redactor.clean(object)).into_bytes()));
        }
        for (name, text) in texts {
            files.push((name, redactor.text(&text).into_bytes()));
        }
        let missing: Vec<String> = missing.iter().map(|line| redactor.text(line)).collect();
        files.insert(0, ("README.txt".to_owned(), readme(site, pipeline, &missing).into_bytes()));
        files
    }

    /// Made of what is clean: in lines that are cut and broken nothing is found any more.
    fn status(&self, pipeline: &Pipeline) -> Option<String> {
        let (_, object) = self.objects.iter().find(|(name, _)| name == PIPELINE)?;
        let mut object = self.redactor.clean(object.clone());
        // A manifest that was applied is an object by now, and no line is about it.
        object.pointer_mut("/metadata").and_then(Value::as_object_mut).map(|metadata| metadata.remove("annotations"));
        let clean: Pipeline = serde_json::from_value(object).ok()?;
        let mut judged = judge(pipeline, self.site.now_ms());
        judged.reasons.iter_mut().for_each(|reason| *reason = self.redactor.text(reason));
        let shown = status::lines(&clean, &judged, self.site.now_ms(), self.site.terminal);
        Some(plain(&shown.join("\n")))
    }

    /// Of more values than are remembered the rest would be found nowhere: only what is clean by its place is kept.
    fn keep_places(&mut self) {
        self.texts.clear();
        self.objects.retain(|(name, _)| name == PIPELINE || name == PODS || name.starts_with(CONFIGURATION));
        for (_, object) in &mut self.objects {
            *object = self.redactor.bare(object.take());
        }
        self.missing.push(format!(
            "{STATUS}, logs/, events.json, worker/ and the status of every object: more than {MOST_VALUES} values were taken out elsewhere, too \
             many to be looked for in them"
        ));
    }
}

/// Of the Pipeline, or of a pod of it, also of one that is gone.
fn is_about(event: &Event, name: &str, pods: &[String]) -> bool {
    let Some(regarding) = &event.regarding else { return false };
    let of = regarding.name.as_deref().unwrap_or_default();
    match regarding.kind.as_deref() {
        Some("Pipeline") => of == name,
        Some("Pod") => pods.iter().any(|pod| pod == of) || of.starts_with(&format!("{name}-0-")),
        _ => false,
    }
}

fn readme(site: &Site<'_>, pipeline: &Pipeline, missing: &[String]) -> String {
    let mut text = format!(
        "Report of Pipeline {}/{}, {}\nMade by kubectl onceward {}\n\n\
         No Secret was read. Values of environment variables, arguments of containers, annotations of others and whatever\n\
         looks like a credential were replaced by <redacted>, also where they came up again. SQL, names of topics, paths\n\
         and messages of errors are in here as they are: look through it before you hand it on.\n",
        site.namespace,
        pipeline.name_any(),
        time_of(site.now_ms()),
        env!("CARGO_PKG_VERSION"),
    );
    if !missing.is_empty() {
        text += "\nNot in here:\n";
        for line in missing {
            let _ = writeln!(text, "- {line}");
        }
    }
    text
}

/// Without colours.
fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut is_escape = false;
    for c in text.chars() {
        match (is_escape, c) {
            (false, '\u{1b}') => is_escape = true,
            (true, 'm') => is_escape = false,
            (true, _) => {}
            (false, c) => plain.push(c),
        }
    }
    plain + "\n"
}
