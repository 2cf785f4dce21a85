//! `kubectl onceward status --watch`: a line for each Pipeline, and one more whenever what it says has changed, but for
//! times.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use api::pipeline::Pipeline;
use futures::future::BoxFuture;
use futures::{StreamExt as _, TryStreamExt as _};
use kube::ResourceExt as _;
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt as _, watcher::watcher};

use super::{Guarded, LIST, as_json, columns, reach, row, unread};
use crate::FAILED;
use crate::cli::{Output, StatusArgs};
use crate::health::{Health, judge};
use crate::site::{Error, Site, refused};

/// Between two judgements where nothing has changed but the time.
const LOOK: Duration = Duration::from_secs(10);

/// Goes on until `stop`. The exit code is that of the worst Pipeline by then.
///
/// # Errors
/// [`Error::NoPipeline`]; [`Error::Unreachable`] where nothing was read until `stop`; what no waiting mends.
pub(crate) async fn watch(site: &Site<'_>, args: &StatusArgs, mut stop: BoxFuture<'_, ()>) -> Result<u8, Error> {
    let config = watcher::Config::default();
    let config = args.name.iter().fold(config, |config, name| config.fields(&format!("metadata.name={name}")));
    let mut events = watcher(reach(site, args), config).default_backoff().boxed();
    let mut looks = tokio::time::interval(LOOK);
    let mut watched = Watched { site, args, known: BTreeMap::new(), listed: BTreeSet::new(), is_read: false };
    if args.output == Output::Text {
        site.terminal.say(&columns(args.all_namespaces).heading(site.terminal))?;
    }
    loop {
        tokio::select! {
            event = events.try_next() => match event {
                Ok(Some(event)) => watched.learn(event)?,
                Ok(None) => break,
                Err(error) => endured(site, &error)?,
            },
            _ = looks.tick() => watched.judge_again()?,
            () = &mut stop => break,
        }
    }
    watched.judge_again()?;
    watched.verdict()
}

/// Namespace and name.
type Key = (String, String);

/// What was said of one.
struct Known {
    /// None of one that is of another version.
    pipeline: Option<Pipeline>,
    health: Health,
    words: Vec<String>,
}

struct Watched<'a> {
    site: &'a Site<'a>,
    args: &'a StatusArgs,
    known: BTreeMap<Key, Known>,
    /// Those that a list has named which is under way.
    listed: BTreeSet<Key>,
    /// Whether a list ever came to its end.
    is_read: bool,
}

impl Watched<'_> {
    fn learn(&mut self, event: Event<Guarded>) -> Result<(), Error> {
        match event {
            Event::Init => self.listed.clear(),
            Event::InitApply(one) => {
                self.listed.insert(key(&one));
                self.show(one)?;
            }
            Event::InitDone => {
                // Whoever was deleted during an outage is told by nobody.
                let listed = std::mem::take(&mut self.listed);
                let gone: Vec<Key> = self.known.keys().filter(|key| !listed.contains(*key)).cloned().collect();
                for key in &gone {
                    self.forget(key);
                }
                if let Some(name) = self.args.name.clone().filter(|_| !self.is_read && listed.is_empty()) {
                    return Err(Error::NoPipeline { namespace: self.site.namespace.clone(), name });
                }
                self.is_read = true;
            }
            Event::Apply(one) => self.show(one)?,
            Event::Delete(one) => self.forget(&key(&one)),
        }
        Ok(())
    }

    fn forget(&mut self, key: &Key) {
        if self.known.remove(key).is_some() {
            self.site.terminal.tell(&format!("{}/{} is gone", key.0, key.1));
        }
    }

    fn show(&mut self, one: Guarded) -> Result<(), Error> {
        let key = key(&one);
        match one.0 {
            Ok(pipeline) => self.judged(key, pipeline),
            Err(invalid) => {
                let text = unread(&invalid).to_string();
                let now = Known { pipeline: None, health: Health::Degraded, words: vec![text.clone()] };
                if self.known.insert(key, now).is_none_or(|before| before.words != [text.as_str()]) {
                    self.site.terminal.fault(&text);
                }
                Ok(())
            }
        }
    }

    /// Says a line, if it is another one.
    fn judged(&mut self, key: Key, pipeline: Pipeline) -> Result<(), Error> {
        let (health, words) = (judge(&pipeline, self.site.now_ms()).health, said(&pipeline));
        let is_said = self.known.get(&key).is_some_and(|known| known.health == health && known.words == words);
        if !is_said {
            self.say(&pipeline)?;
        }
        self.known.insert(key, Known { pipeline: Some(pipeline), health, words });
        Ok(())
    }

    /// Silence becomes a reason by itself.
    fn judge_again(&mut self) -> Result<(), Error> {
        let all: Vec<_> =
            self.known.iter().filter_map(|(key, one)| Some((key.clone(), one.pipeline.clone()?))).collect();
        all.into_iter().try_for_each(|(key, pipeline)| self.judged(key, pipeline))
    }

    fn say(&self, pipeline: &Pipeline) -> Result<(), Error> {
        let (site, all) = (self.site, self.args.all_namespaces);
        if self.args.output == Output::Json {
            return Ok(site.terminal.say(&as_json(site, pipeline).to_string())?);
        }
        let mut table = columns(all);
        table.row(row(pipeline, all, site.now_ms()));
        if let Some(line) = table.last(site.terminal) {
            site.terminal.say(&line)?;
        }
        Ok(())
    }

    fn verdict(&self) -> Result<u8, Error> {
        if !self.is_read && self.known.is_empty() {
            return Err(Error::Unreachable { what: LIST.to_owned(), why: "nothing was read until the end".to_owned() });
        }
        match self.known.values().map(|known| known.health).max() {
            Some(worst) => Ok(worst.exit_code()),
            // It is gone.
            None if self.args.name.is_some() => Ok(FAILED),
            None => Ok(Health::Healthy.exit_code()),
        }
    }
}

fn key(one: &Guarded) -> Key {
    (one.namespace().unwrap_or_default(), one.name_any())
}

/// What a line says but for times.
fn said(pipeline: &Pipeline) -> Vec<String> {
    let cells = row(pipeline, true, 0).into_iter().map(|cell| cell.text);
    // Ages count from the beginning of time here, and are left out: health is compared beside.
    cells.enumerate().filter(|(index, _)| !matches!(index, 2 | 5)).map(|(_, text)| text).collect()
}

/// A watch goes on by itself after an outage; what no waiting mends ends it.
///
/// # Errors
/// Such a one.
pub(crate) fn endured(site: &Site<'_>, error: &watcher::Error) -> Result<(), Error> {
    let error = match error {
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error) => refused("watch Pipelines", error),
        watcher::Error::WatchError(_) | watcher::Error::NoResourceVersion => return Ok(()),
    };
    match error {
        Error::Unreachable { .. } | Error::Conflict { .. } => {
            site.terminal.tell(&format!("{error}; trying again"));
            Ok(())
        }
        // 410: what is watched from is forgotten, and it begins anew.
        Error::Refused { why, .. } if why.contains("too old resource version") => Ok(()),
        error => Err(error),
    }
}
