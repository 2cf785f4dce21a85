//! Watches: a stream of lines that goes on until its time is over, or until it is broken.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, stream};
use serde_json::{Value, json};

use super::fate::WatchFate;
use super::kinds::Kind;
use super::read::Selector;
use super::refusal::Refusal;
use super::request::Request;
use super::{Lost, Server};

/// Where nobody says how long.
const TIMEOUT: Duration = Duration::from_mins(30);
const BOOKMARK: Duration = Duration::from_mins(1);

/// So long a forgetful watch is quiet at most.
const FORGETFUL_MS: u64 = 2_000;

struct Watch {
    server: Server,
    kind: &'static Kind,
    namespace: String,
    selector: Selector,
    /// Everything up to here is told.
    revision: u64,
    news: tokio::sync::watch::Receiver<u64>,
    ends_ms: u64,
    bookmark_ms: Option<u64>,
    fate: WatchFate,
    is_over: bool,
    /// Something was not told: then it is refused at the latest.
    gone_ms: Option<u64>,
    /// What was there at the beginning, where the watch begins without a revision.
    first: Vec<Arc<Value>>,
}

/// The lines of one watch.
pub(super) fn watch(
    server: &Server,
    request: &Request,
    fate: WatchFate,
) -> Result<impl Stream<Item = Result<Bytes, Lost>> + use<>, Refusal> {
    let selector = Selector::of(request)?;
    let asked: u64 = request.option("resourceVersion").unwrap_or("0").parse().unwrap_or_default();
    let seconds = request.option("timeoutSeconds").and_then(|seconds| seconds.parse().ok());
    let timeout = seconds.map_or(TIMEOUT, Duration::from_secs);
    let now_ms = server.clock().now_ms();
    let marks = request.option("allowWatchBookmarks") == Some("true");
    let (revision, first) = server.with(|store| {
        let first =
            if asked == 0 { store.list(request.kind, &request.namespace).into_values().collect() } else { vec![] };
        (if asked == 0 { store.revision() } else { asked }, first)
    });
    let watch = Watch {
        server: server.clone(),
        kind: request.kind,
        namespace: request.namespace.clone(),
        first: first.into_iter().filter(|object| selector.takes(object)).rev().collect(),
        selector,
        revision,
        news: server.news(),
        ends_ms: now_ms + timeout.as_millis() as u64,
        bookmark_ms: marks.then_some(now_ms + BOOKMARK.as_millis() as u64),
        fate,
        is_over: false,
        gone_ms: None,
    };
    Ok(stream::unfold(watch, async |mut watch| {
        let line = watch.next().await?;
        Some((line, watch))
    }))
}

/// What comes next of the changes that are there.
enum Next {
    Line(Value),
    Gone(Refusal),
    /// Nothing, or nothing before then.
    Nothing(Option<u64>),
}

impl Watch {
    async fn next(&mut self) -> Option<Result<Bytes, Lost>> {
        loop {
            if self.is_over {
                return None;
            }
            self.news.mark_unchanged();
            if let Some(object) = self.first.pop() {
                return Some(Ok(line("ADDED", &object)));
            }
            let now_ms = self.server.clock().now_ms();
            if self.fate.breaks_at_ms.is_some_and(|break_ms| now_ms >= break_ms) {
                self.is_over = true;
                return Some(Err(Lost));
            }
            let later_ms = match self.look(now_ms) {
                Next::Line(event) => {
                    if !self.fate.tells() {
                        self.is_over = true;
                        return Some(Err(Lost));
                    }
                    return Some(Ok(text(&event)));
                }
                Next::Gone(refusal) => {
                    self.is_over = true;
                    return Some(Ok(line("ERROR", &refusal.body())));
                }
                Next::Nothing(later_ms) => later_ms,
            };
            if now_ms >= self.ends_ms {
                return None;
            }
            if self.gone_ms.is_none() && self.bookmark_ms.is_some_and(|mark_ms| now_ms >= mark_ms) {
                self.bookmark_ms = Some(now_ms + BOOKMARK.as_millis() as u64);
                return Some(Ok(self.bookmark()));
            }
            let mark_ms = self.bookmark_ms.filter(|_| self.gone_ms.is_none());
            let wakes = [Some(self.ends_ms), self.fate.breaks_at_ms, mark_ms, self.gone_ms, later_ms];
            let wake_ms = wakes.into_iter().flatten().min();
            let clock = self.server.clock();
            tokio::select! {
                biased;
                changed = self.news.changed() => if changed.is_err() { return None },
                () = clock.until(wake_ms.unwrap_or(self.ends_ms)) => {}
            }
        }
    }

    /// Goes over changes up to one that is to be told.
    fn look(&mut self, now_ms: u64) -> Next {
        let server = self.server.clone();
        server.with(|store| {
            loop {
                // A change that nobody hears of must not stay unheard of.
                if self.revision < store.compacted() || self.gone_ms.is_some_and(|gone_ms| now_ms >= gone_ms) {
                    return Next::Gone(Refusal::expired(self.revision, store.compacted()));
                }
                let Some(change) = store.after(self.revision) else { return Next::Nothing(None) };
                let seen_ms = change.at_ms + self.fate.lag_ms;
                if seen_ms > now_ms {
                    return Next::Nothing(Some(seen_ms));
                }
                self.revision = change.revision;
                let is_here = self.namespace.is_empty() || change.key.namespace == self.namespace;
                if change.key.kind != self.kind || !is_here {
                    continue;
                }
                if self.fate.swallows() {
                    let patience_ms = if self.fate.is_spent() { 0 } else { FORGETFUL_MS };
                    self.gone_ms.get_or_insert(now_ms + FORGETFUL_MS);
                    self.gone_ms = self.gone_ms.map(|gone_ms| gone_ms.min(now_ms + patience_ms));
                    continue;
                }
                let taken = |object: &Option<Arc<Value>>| object.clone().filter(|object| self.selector.takes(object));
                let (event, object) = match (taken(&change.before), taken(&change.after)) {
                    (None, None) => continue,
                    (None, Some(object)) => ("ADDED", object.as_ref().clone()),
                    (Some(_), Some(object)) => ("MODIFIED", object.as_ref().clone()),
                    (Some(object), None) => {
                        let mut object = object.as_ref().clone();
                        object["metadata"]["resourceVersion"] = change.revision.to_string().into();
                        ("DELETED", object)
                    }
                };
                return Next::Line(json!({ "type": event, "object": object }));
            }
        })
    }

    fn bookmark(&self) -> Bytes {
        let object = json!({
            "kind": self.kind.kind, "apiVersion": self.kind.api_version(),
            "metadata": { "resourceVersion": self.revision.to_string(), "creationTimestamp": null },
        });
        line("BOOKMARK", &object)
    }
}

fn line(event: &str, object: &Value) -> Bytes {
    text(&json!({ "type": event, "object": object }))
}

fn text(event: &Value) -> Bytes {
    Bytes::from(format!("{event}\n"))
}
