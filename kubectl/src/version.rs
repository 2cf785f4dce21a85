//! `kubectl onceward version`: who is of which version. What cannot be learned is said, and is no fault.

use api::names::CONTAINER;
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, ResourceExt as _};
use serde_json::{Value, json};

use crate::DONE;
use crate::cli::{Output, VersionArgs};
use crate::layout::field;
use crate::site::{Error, Site};
use crate::terminal::say_all;
use crate::worker::page;

/// As the chart labels the controller's pods; of a release under another name it is not found.
const CONTROLLERS: &str = "app.kubernetes.io/component=controller,app.kubernetes.io/name=onceward";

/// One line of the answer.
struct Known {
    name: &'static str,
    /// For programs.
    key: &'static str,
    /// What is known, or why nothing is.
    what: Result<String, String>,
}

/// Shows them.
///
/// # Errors
/// [`Error::NoPipeline`] for a name that is none; output that nobody reads.
pub(crate) async fn execute(site: &Site<'_>, args: &VersionArgs) -> Result<u8, Error> {
    let mut all = vec![Known { name: "Client", key: "client", what: Ok(env!("CARGO_PKG_VERSION").to_owned()) }];
    let server = site.answer("ask for the version", site.client.apiserver_version()).await;
    let server = server.map(|info| info.git_version).map_err(|error| error.to_string());
    all.push(Known { name: "API server", key: "apiServer", what: server });
    all.push(Known { name: "Controller", key: "controller", what: controller(site).await });
    if let Some(name) = &args.name {
        site.pipeline(name).await?;
        let (image, version) = worker(site, name).await;
        all.push(Known { name: "Worker image", key: "workerImage", what: image });
        all.push(Known { name: "Worker", key: "worker", what: version });
    }
    match args.output {
        Output::Json => {
            let known = |known: &Known| (known.key.to_owned(), known.what.clone().map_or(Value::Null, Value::from));
            site.terminal.say(&json!(all.iter().map(known).collect::<serde_json::Map<_, _>>()).to_string())?;
        }
        Output::Text => {
            let line = |known: Known| field(known.name, &known.what.unwrap_or_else(|why| format!("not known: {why}")));
            say_all(site.terminal, all.into_iter().flat_map(line))?;
        }
    }
    Ok(DONE)
}

/// Images of the controllers that run.
async fn controller(site: &Site<'_>) -> Result<String, String> {
    let pods: Api<Pod> = Api::all(site.client.clone());
    let found = site.list("list the controller's pods", &pods, CONTROLLERS).await.map_err(|error| error.to_string())?;
    let mut images: Vec<String> = found
        .iter()
        .filter_map(|pod| Some(format!("{} in namespace {}", image(pod, "controller")?, pod.namespace()?)))
        .collect();
    images.sort();
    images.dedup();
    if images.is_empty() {
        return Err(format!("no pod has the labels {CONTROLLERS}; is the chart installed?"));
    }
    Ok(images.join("; "))
}

/// Image and version of the worker that runs.
async fn worker(site: &Site<'_>, name: &str) -> (Result<String, String>, Result<String, String>) {
    let pod = match site.running_worker(name).await {
        Ok(Some(pod)) => pod,
        Ok(None) => return (Err("no worker runs".to_owned()), Err("no worker runs".to_owned())),
        Err(error) => return (Err(error.to_string()), Err(error.to_string())),
    };
    let image = image(&pod, CONTAINER).ok_or_else(|| "its pod does not say".to_owned());
    let version = page(site, &pod, "/graph").await.map_err(|error| error.to_string()).and_then(|graph| {
        let graph: Value = serde_json::from_slice(&graph).map_err(|_| "it does not tell".to_owned())?;
        graph["version"].as_str().map(str::to_owned).ok_or_else(|| "it does not tell".to_owned())
    });
    (image, version)
}

fn image(pod: &Pod, container: &str) -> Option<String> {
    let containers = &pod.spec.as_ref()?.containers;
    containers.iter().find(|one| one.name == container)?.image.clone()
}
