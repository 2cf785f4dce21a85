//! A cluster and a namespace in it. Every request ends in time, and its error says what was wanted and what to do.

use std::path::Path;
use std::time::Duration;

use api::names;
use api::pipeline::Pipeline;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{ListParams, LogParams};
use kube::client::AuthError;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config, ResourceExt as _};
use serde::de::DeserializeOwned;
use tokio::task::JoinSet;

use crate::cli::Reach;
use crate::terminal::{Gone, Terminal};

/// For one answer of the API server.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
const CONNECT: Duration = Duration::from_secs(5);
/// Objects that are listed at most, in pages.
const MOST_LISTED: usize = 5_000;
const PAGE: u32 = 500;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody reads standard output any more.
    #[error("standard output was closed")]
    Gone,
    #[error("{what}: {why}; check --kubeconfig and --context, or KUBECONFIG")]
    Kubeconfig { what: String, why: String },
    #[error("cannot {what}: the API server does not answer: {why}; check --context, and that the cluster is up")]
    Unreachable { what: String, why: String },
    #[error(
        "cannot {what}: {why}; ask for the right, or log in again (the chart's rbac.aggregate adds Pipelines to the roles view and edit)"
    )]
    Forbidden { what: String, why: String },
    #[error(
        "there is no Pipeline `{name}` in namespace `{namespace}`; `kubectl get pipelines.onceward.dev -A` lists all"
    )]
    NoPipeline { namespace: String, name: String },
    #[error(
        "cannot {what}: this cluster does not know pipelines.onceward.dev; install the chart, as charts/onceward/README.md says"
    )]
    NoDefinition { what: String },
    #[error("cannot {what}: what is there was written by another version ({why}); use a plugin of that version")]
    Unread { what: String, why: String },
    #[error("cannot {what}: {why}")]
    Refused { what: String, why: String },
    /// Somebody else has written meanwhile.
    #[error("cannot {what}: it is being changed again and again; try again")]
    Conflict { what: String },
    #[error("cannot {what}: {source}")]
    Io {
        what: String,
        #[source]
        source: std::io::Error,
    },
    /// A sentence that says all.
    #[error("{0}")]
    NotDone(String),
}

impl From<Gone> for Error {
    fn from(_: Gone) -> Self {
        Self::Gone
    }
}

/// Where a verb is carried out.
pub struct Site<'a> {
    pub client: Client,
    pub namespace: String,
    pub terminal: &'a dyn Terminal,
    /// Milliseconds since 1970.
    pub now_ms: &'a (dyn Fn() -> u64 + Send + Sync),
}

/// The machine's clock.
pub fn now_ms() -> u64 {
    u64::try_from(k8s_openapi::jiff::Timestamp::now().as_millisecond()).unwrap_or_default()
}

/// A client, and the namespace that is meant. Asks nobody yet.
///
/// # Errors
/// [`Error::Kubeconfig`].
pub async fn connect(reach: &Reach) -> Result<(Client, String), Error> {
    let options = KubeConfigOptions { context: reach.context.clone(), ..KubeConfigOptions::default() };
    let wrong = |what: &str, error: &(dyn std::error::Error + 'static)| Error::Kubeconfig {
        what: what.to_owned(),
        why: causes(error),
    };
    let config = match &reach.kubeconfig {
        Some(file) => {
            let what = kubeconfig_name(file);
            let read = Kubeconfig::read_from(file).map_err(|error| wrong(&what, &error))?;
            Config::from_custom_kubeconfig(read, &options).await.map_err(|error| wrong(&what, &error))
        }
        None if reach.context.is_some() => {
            Config::from_kubeconfig(&options).await.map_err(|error| wrong("the kubeconfig", &error))
        }
        None => Config::infer().await.map_err(|error| wrong("no cluster is configured", &error)),
    };
    let mut config = config?;
    // A repetition inside of the client would turn "unknown" into a wrong "somebody else has written".
    config.default_retry = false;
    config.connect_timeout = Some(CONNECT);
    let namespace = reach.namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
    // A credential plugin is run, and may ask people: on a thread of its own, so that nobody has to wait for it.
    let mut making = JoinSet::new();
    making.spawn_blocking(move || Client::try_from(config));
    let what = "no client can be made of the kubeconfig";
    match making.join_next().await {
        Some(Ok(made)) => Ok((made.map_err(|error| wrong(what, &error))?, namespace)),
        Some(Err(error)) => Err(wrong(what, &error)),
        None => Err(Error::NotDone(what.to_owned())),
    }
}

fn kubeconfig_name(file: &Path) -> String {
    format!("the kubeconfig {}", file.display())
}

impl Site<'_> {
    /// Milliseconds since 1970.
    pub(crate) fn now_ms(&self) -> u64 {
        (self.now_ms)()
    }

    pub(crate) fn pipelines(&self) -> Api<Pipeline> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    pub(crate) fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// One Pipeline.
    ///
    /// # Errors
    /// [`Error::NoPipeline`], or those of requests.
    pub(crate) async fn pipeline(&self, name: &str) -> Result<Pipeline, Error> {
        let what = format!("read Pipeline `{name}`");
        match self.answer(&what, self.pipelines().get(name)).await {
            Err(Error::Refused { why, .. }) if why.ends_with("not found") => {
                Err(Error::NoPipeline { namespace: self.namespace.clone(), name: name.to_owned() })
            }
            answer => answer,
        }
    }

    /// Everything of a kind, by name; [`MOST_LISTED`] at most.
    ///
    /// # Errors
    /// Those of requests.
    pub(crate) async fn list<K>(&self, what: &str, api: &Api<K>, labels: &str) -> Result<Vec<K>, Error>
    where
        K: Clone + DeserializeOwned + std::fmt::Debug,
    {
        let mut params = ListParams::default().labels(labels).limit(PAGE);
        let mut found = vec![];
        while found.len() < MOST_LISTED {
            let page = self.answer(what, api.list(&params)).await?;
            found.extend(page.items);
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => params = params.continue_token(&token),
                None => break,
            }
        }
        Ok(found)
    }

    /// Pods of a Pipeline's workers, oldest first.
    ///
    /// # Errors
    /// Those of requests.
    pub(crate) async fn workers(&self, name: &str) -> Result<Vec<Pod>, Error> {
        let labels = format!("{}={name}", names::PIPELINE);
        let mut pods = self.list("list the worker's pods", &self.pods(), &labels).await?;
        // Others may bear the label; only the controller's have a number, too.
        pods.retain(|pod| serial(pod).is_some());
        pods.sort_by_key(serial);
        Ok(pods)
    }

    /// The newest worker that runs, if there is one.
    ///
    /// # Errors
    /// Those of requests.
    pub(crate) async fn running_worker(&self, name: &str) -> Result<Option<Pod>, Error> {
        let pods = self.workers(name).await?;
        Ok(pods.into_iter().rev().find(is_running))
    }

    /// The last words of a pod's worker, bounded; None where there are none (yet).
    ///
    /// # Errors
    /// Those of requests.
    pub(crate) async fn log(&self, pod: &str, params: &LogParams) -> Result<String, Error> {
        self.answer(&format!("read the log of pod `{pod}`"), self.pods().logs(pod, params)).await
    }

    /// The answer to one request.
    ///
    /// # Errors
    /// In words, with what was wanted.
    pub(crate) async fn answer<T>(
        &self,
        what: &str,
        request: impl Future<Output = kube::Result<T>>,
    ) -> Result<T, Error> {
        match tokio::time::timeout(PATIENCE, request).await {
            Ok(answer) => answer.map_err(|error| refused(what, &error)),
            Err(_) => Err(Error::Unreachable { what: what.to_owned(), why: format!("not within {PATIENCE:?}") }),
        }
    }
}

/// How-manieth pod of its Pipeline it is.
pub(crate) fn serial(pod: &Pod) -> Option<u64> {
    pod.labels().get(names::SERIAL)?.parse().ok()
}

/// Whether its containers are at work, and nobody has told it to go.
pub(crate) fn is_running(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    pod.metadata.deletion_timestamp.is_none() && phase == Some("Running")
}

/// What an error of a request comes to.
pub(crate) fn refused(what: &str, error: &kube::Error) -> Error {
    let what = what.to_owned();
    if let Some(why) = plugin(error) {
        return Error::Forbidden { what, why };
    }
    let status = match error {
        kube::Error::Api(status) => status,
        kube::Error::SerdeError(error) => return Error::Unread { what, why: error.to_string() },
        error => return Error::Unreachable { what, why: causes(error) },
    };
    let why = status.message.clone();
    match status.code {
        401 => Error::Forbidden { what, why: "the login is not accepted".to_owned() },
        403 => Error::Forbidden { what, why },
        // Of what every cluster knows it is said in other words.
        404 if why.contains("could not find the requested resource") && what.contains("Pipeline") => {
            Error::NoDefinition { what }
        }
        409 => Error::Conflict { what },
        429 | 500 | 502..=504 => Error::Unreachable { what, why: format!("{} ({})", why, status.code) },
        _ => Error::Refused { what, why },
    }
}

/// Causes of an error that are looked at.
const MOST_CAUSES: usize = 8;

/// An error and its causes.
fn chain<'a>(
    error: &'a (dyn std::error::Error + 'static),
) -> impl Iterator<Item = &'a (dyn std::error::Error + 'static)> {
    std::iter::successors(Some(error), |error| error.source()).take(MOST_CAUSES)
}

/// An error with all its causes, each said once.
pub(crate) fn causes(error: &(dyn std::error::Error + 'static)) -> String {
    if let Some(why) = plugin(error) {
        return why;
    }
    let mut text = String::new();
    for more in chain(error).map(ToString::to_string) {
        if text.is_empty() {
            text = more;
        } else if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
    }
    text
}

/// Of a credential plugin that failed, its end alone: the error's own words have its environment and its output in them.
fn plugin(error: &(dyn std::error::Error + 'static)) -> Option<String> {
    let failed = chain(error).find_map(|error| error.downcast_ref::<AuthError>())?;
    let what = match failed {
        AuthError::AuthExecRun { out, .. } => format!("ended with {}", out.status),
        AuthError::AuthExecParse(_) => "answers what is not understood".to_owned(),
        _ => return None,
    };
    Some(format!("the kubeconfig's credential plugin {what}; run it by hand to see why"))
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::*;

    fn api(code: u16, message: &str) -> Error {
        let status = Status { code, message: message.to_owned(), ..Status::default() };
        refused("list Pipelines", &kube::Error::Api(Box::new(status)))
    }

    #[test]
    fn a_failed_credential_plugins_words_are_not_passed_on() {
        use std::os::unix::process::ExitStatusExt as _;
        let failed = || {
            let status = std::process::ExitStatus::from_raw(3 << 8);
            let out = std::process::Output { status, stdout: b"CANARY".to_vec(), stderr: b"CANARY".to_vec() };
            AuthError::AuthExecRun { cmd: "TOKEN=\"CANARY\" \"plugin\"".to_owned(), out: Box::new(out) }
        };
        for error in [kube::Error::Auth(failed()), kube::Error::Service(Box::new(failed()))] {
            for said in [causes(&error), refused("list Pipelines", &error).to_string()] {
                assert!(!said.contains("CANARY"), "{said}");
                assert!(said.contains("exit status: 3") && said.contains("by hand"), "{said}");
            }
        }
        let error = kube::Error::Service(Box::new(std::io::Error::other("the connection broke")));
        assert!(causes(&error).ends_with("the connection broke"));
    }

    #[test]
    fn every_refusal_says_what_was_wanted_and_what_to_do() {
        let missing = api(404, "the server could not find the requested resource");
        assert!(matches!(missing, Error::NoDefinition { .. }) && missing.to_string().contains("install the chart"));
        let forbidden = api(403, "pipelines.onceward.dev is forbidden: User \"eve\" cannot list");
        assert!(forbidden.to_string().contains("eve") && forbidden.to_string().contains("rbac.aggregate"));
        assert!(matches!(api(401, "Unauthorized"), Error::Forbidden { .. }));
        assert!(matches!(api(409, "modified"), Error::Conflict { .. }));
        assert!(matches!(api(503, "starting"), Error::Unreachable { .. }));
        assert!(matches!(api(422, "spec.sinks: wrong"), Error::Refused { .. }));
        for error in [missing, forbidden, api(503, ""), api(422, "")] {
            assert!(error.to_string().starts_with("cannot list Pipelines: "), "{error}");
        }
    }
}
