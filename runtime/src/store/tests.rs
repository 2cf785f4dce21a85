//! Every store of this crate conforms, and what is special about each.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;

use super::conformance::{conforms, keeps_within_itself, lists_many};
use super::memory::{Faults, MemoryStore, Operation, StoreFault};
use super::probe::{ProbeError, probe};
use super::*;
use crate::clock::{ManualClock, SeededRandom, SystemRandom};

fn memory() -> MemoryStore {
    MemoryStore::new(Arc::new(ManualClock::default()))
}

fn local(folder: &tempfile::TempDir) -> LocalStore {
    LocalStore::new(folder.path().join("a/b"), Arc::new(SystemRandom))
}

async fn sorted(store: &dyn CheckpointStore, prefix: &str) -> Vec<String> {
    let mut names = store.list(prefix).await.unwrap();
    names.sort();
    names
}

#[tokio::test]
async fn the_store_in_memory_conforms() {
    assert_eq!(conforms(&memory()).await, Ok(()));
    assert_eq!(lists_many(&memory()).await, Ok(()));
}

#[tokio::test]
async fn the_store_on_local_files_conforms() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(conforms(&local(&folder)).await, Ok(()));
    assert_eq!(keeps_within_itself(&local(&folder)).await, Ok(()));
}

#[tokio::test]
async fn of_many_creates_at_once_exactly_one_wins_and_its_bytes_stay() {
    let folder = tempfile::tempdir().unwrap();
    for round in 0..20 {
        let name = format!("0/attempts/{round}/claim");
        let wins: Vec<u8> = std::thread::scope(|scope| {
            let racers: Vec<_> = (0..8_u8)
                .map(|racer| {
                    // A store of its own each: what two processes share is the disk alone.
                    let (store, name) = (local(&folder), &name);
                    scope.spawn(move || {
                        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
                        let created = runtime.block_on(store.create(name, Bytes::from(vec![racer; 64])));
                        (created == Ok(Created::New)).then_some(racer)
                    })
                })
                .collect();
            racers.into_iter().filter_map(|racer| racer.join().unwrap()).collect()
        });
        assert_eq!(wins.len(), 1, "round {round}");
        assert_eq!(local(&folder).read(&name).await, Ok(Some(Bytes::from(vec![wins[0]; 64]))));
    }
    assert_eq!(leftovers(folder.path()), 0, "a temporary was left");
}

fn leftovers(folder: &std::path::Path) -> usize {
    std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| {
            let hidden = path.file_name().unwrap().to_str().unwrap().starts_with('.');
            if path.is_dir() { leftovers(&path) } else { usize::from(hidden) }
        })
        .sum()
}

#[tokio::test]
async fn a_temporary_of_a_crash_is_no_object_and_is_cleaned() {
    let folder = tempfile::tempdir().unwrap();
    let store = local(&folder);
    store.create("0/attempts/1/claim", Bytes::from_static(b"one")).await.unwrap();
    std::fs::write(folder.path().join("a/b/0/attempts/1/.tmp-00"), "half").unwrap();
    assert_eq!(sorted(&store, "").await, ["0/attempts/1/claim"]);
    assert_eq!(store.remove_litter("0/attempts/2/").await, Ok(0));
    assert_eq!(store.remove_litter("0/attempts/1/").await, Ok(1));
    assert_eq!(leftovers(folder.path()), 0);
}

#[tokio::test]
async fn an_error_names_the_operation_and_the_address() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a"), "a file where a folder should be").unwrap();
    let error = local(&folder).create("0/attempts/1/claim", Bytes::new()).await.unwrap_err();
    let text = error.to_string();
    assert!(text.contains("create file:///") && text.contains("a/b/0/attempts/1/claim"), "{text}");
}

/// Faults in the order of a script; none when it is used up.
struct Script(Mutex<VecDeque<Option<StoreFault>>>);

impl Faults for Script {
    fn next(&self, _: Operation, _: &str) -> Option<StoreFault> {
        self.0.lock().unwrap().pop_front().flatten()
    }
}

fn script(faults: impl IntoIterator<Item = Option<StoreFault>>) -> Arc<Script> {
    Arc::new(Script(Mutex::new(faults.into_iter().collect())))
}

#[tokio::test]
async fn faults_do_what_their_names_say() {
    let clock = ManualClock::default();
    let store = MemoryStore::new(Arc::new(clock.clone()));
    let late = StoreFault::LateWrite(Duration::from_secs(5));
    let faults = script([Some(StoreFault::ErrorBefore), Some(StoreFault::LostReply), Some(late), None]);
    let faulty = store.with_faults(faults);
    assert!(faulty.create("before", Bytes::new()).await.is_err());
    assert!(faulty.create("lost", Bytes::new()).await.is_err());
    assert!(faulty.create("late", Bytes::from_static(b"late")).await.is_err());
    assert_eq!(sorted(&store, "").await, ["lost"]);
    drop(faulty);
    while clock.sleepers() == 0 {
        tokio::task::yield_now().await;
    }
    clock.advance(Duration::from_secs(5));
    while store.read("late").await.unwrap().is_none() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_store_that_lets_a_name_be_created_twice_is_refused() {
    struct Forgetful(MemoryStore);
    impl CheckpointStore for Forgetful {
        fn create<'a>(
            &'a self,
            name: &'a str,
            body: Bytes,
        ) -> futures::future::BoxFuture<'a, Result<Created, StoreError>> {
            Box::pin(async move {
                self.0.delete(name).await?;
                self.0.create(name, body).await
            })
        }
        fn read<'a>(&'a self, name: &'a str) -> futures::future::BoxFuture<'a, Result<Option<Bytes>, StoreError>> {
            self.0.read(name)
        }
        fn list<'a>(&'a self, prefix: &'a str) -> futures::future::BoxFuture<'a, Result<Vec<String>, StoreError>> {
            self.0.list(prefix)
        }
        fn delete<'a>(&'a self, name: &'a str) -> futures::future::BoxFuture<'a, Result<(), StoreError>> {
            self.0.delete(name)
        }
        fn address(&self, name: &str) -> String {
            self.0.address(name)
        }
    }
    let refused = probe(&Forgetful(memory()), &SeededRandom::new(1)).await.unwrap_err();
    assert!(matches!(refused, ProbeError::Unfit { broken: "an existing object was created again", .. }));
}

#[tokio::test]
async fn an_error_says_whether_waiting_can_heal_it() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("file"), "").unwrap();
    let below_a_file = LocalStore::new(folder.path().join("file/store"), Arc::new(SystemRandom));
    let error = below_a_file.read("0/attempts/1/claim").await.unwrap_err();
    assert_eq!(error.retry, Retry::Never, "{error}");
    let store = local(&folder);
    store.create("0/attempts/1/claim", Bytes::new()).await.unwrap();
    let error = store.read("0/attempts").await.unwrap_err();
    assert_eq!(error.retry, Retry::Never, "{error}");
}
