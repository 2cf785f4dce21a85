//! Objects, and everything that became of them since the oldest revision that is remembered.

use std::collections::{BTreeMap, VecDeque};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;

use serde_json::Value;

use super::collect;
use super::kinds::{Key, Kind};

/// Changes that are remembered at most; whoever wants older ones is told that they are gone.
const MOST_REMEMBERED: usize = 100_000;

/// One change of one object.
#[derive(Clone, Debug)]
pub struct Change {
    pub revision: u64,
    pub at_ms: u64,
    pub key: Key,
    pub before: Option<Arc<Value>>,
    /// None: it is gone.
    pub after: Option<Arc<Value>>,
}

/// Everything that is stored.
#[derive(Debug, Default)]
pub(super) struct Store {
    objects: BTreeMap<Key, Arc<Value>>,
    changes: VecDeque<Change>,
    revision: u64,
    /// Changes up to here are forgotten.
    compacted: u64,
    /// How often each place was taken.
    taken: BTreeMap<Key, u64>,
    /// Objects that went, or came without an owner that is there.
    orphanings: u64,
}

impl Store {
    /// For the next object of this place: the same in every run, whatever else happened before.
    pub(super) fn next_uid(&mut self, key: &Key) -> String {
        let number = self.taken.entry(key.clone()).or_default();
        *number += 1;
        let mut hasher = DefaultHasher::new();
        (key.kind.plural, &key.namespace, &key.name).hash(&mut hasher);
        let hash = hasher.finish();
        format!("{:08x}-{:04x}-4{number:03x}-8000-{:012x}", hash >> 32, hash & 0xffff, hash & 0xffff_ffff)
    }

    pub(super) fn revision(&self) -> u64 {
        self.revision
    }

    pub(super) fn orphanings(&self) -> u64 {
        self.orphanings
    }

    pub(super) fn compacted(&self) -> u64 {
        self.compacted
    }

    pub(super) fn get(&self, key: &Key) -> Option<&Arc<Value>> {
        self.objects.get(key)
    }

    /// Stores or removes; the object gets its version. The object that was, if it goes, gets the version of its end.
    pub(super) fn put(&mut self, key: &Key, object: Option<Value>, at_ms: u64) -> Arc<Value> {
        self.revision += 1;
        let version = self.revision.to_string();
        let before = self.objects.remove(key);
        let after = object.map(|mut object| {
            object["metadata"]["resourceVersion"] = version.clone().into();
            Arc::new(object)
        });
        if let Some(after) = &after {
            self.objects.insert(key.clone(), Arc::clone(after));
        }
        let is_orphaning = after.as_ref().is_none_or(|after| collect::is_orphan(self, key, after));
        self.orphanings += u64::from(is_orphaning);
        let result = after.clone().or_else(|| before.clone()).unwrap_or_default();
        self.changes.push_back(Change { revision: self.revision, at_ms, key: key.clone(), before, after });
        if self.changes.len() > MOST_REMEMBERED {
            self.compact(self.revision - MOST_REMEMBERED as u64);
        }
        result
    }

    /// Forgets changes up to this revision.
    pub(super) fn compact(&mut self, revision: u64) {
        self.changes.retain(|change| change.revision > revision);
        self.compacted = self.compacted.max(revision);
    }

    /// The first change after this revision; revisions have no gaps.
    pub(super) fn after(&self, revision: u64) -> Option<&Change> {
        let first = self.changes.front()?.revision;
        self.changes.get(usize::try_from((revision + 1).saturating_sub(first)).ok()?)
    }

    /// Objects of a kind, of one namespace or (empty) all, by name.
    pub(super) fn list(&self, kind: &'static Kind, namespace: &str) -> BTreeMap<Key, Arc<Value>> {
        let first = Key::new(kind, namespace, "");
        let all = self.objects.range(first..).take_while(|(key, _)| key.kind == kind);
        let found = all.filter(|(key, _)| namespace.is_empty() || key.namespace == namespace);
        found.map(|(key, object)| (key.clone(), Arc::clone(object))).collect()
    }

    /// As it was at an earlier revision.
    pub(super) fn list_at(&self, kind: &'static Kind, namespace: &str, revision: u64) -> BTreeMap<Key, Arc<Value>> {
        let mut found = self.list(kind, namespace);
        for change in self.changes.iter().rev().take_while(|change| change.revision > revision) {
            if change.key.kind != kind || !(namespace.is_empty() || change.key.namespace == namespace) {
                continue;
            }
            match &change.before {
                Some(before) => found.insert(change.key.clone(), Arc::clone(before)),
                None => found.remove(&change.key),
            };
        }
        found
    }

    pub(super) fn all(&self) -> impl Iterator<Item = (&Key, &Arc<Value>)> {
        self.objects.iter()
    }
}
