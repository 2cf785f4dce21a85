//! What every checkpoint store must do, as one test for all of them: those of this crate, and real servers.

use bytes::Bytes;

use super::probe::probe;
use super::{CheckpointStore, Created};
use crate::clock::SeededRandom;

const CLAIM: &str = "0/attempts/1/claim";
const SLOT: &str = "0/attempts/1/0";
const PART: &str = "0/attempts/10/parts/window.totals-3-7-0.1";
/// More than one page of a listing in S3 (1,000 names).
const MANY: usize = 1_100;

/// Tries everything that the port promises on a store that holds nothing yet, one call after the other.
///
/// # Errors
/// What it does otherwise.
pub async fn conforms(store: &dyn CheckpointStore) -> Result<(), String> {
    lists(store, "", &[], "a new store is empty").await?;
    reads(store, CLAIM, None, "a missing object is not there").await?;
    creates(store, CLAIM, "one", Created::New, "a new name is free").await?;
    creates(store, CLAIM, "two", Created::Exists, "a name is given once").await?;
    creates(store, CLAIM, "one", Created::Exists, "the same bytes are no exception").await?;
    reads(store, CLAIM, Some("one"), "the first bytes stay").await?;
    creates(store, SLOT, "", Created::New, "an object may be empty").await?;
    reads(store, SLOT, Some(""), "an empty object is one").await?;
    creates(store, PART, "x", Created::New, "names have dots").await?;
    lists(store, "0/attempts/1/", &[SLOT, CLAIM], "a folder is not another whose name begins so").await?;
    lists(store, "", &[SLOT, CLAIM, PART], "the root holds everything").await?;
    lists(store, "1/", &[], "a missing folder is empty").await?;
    for _ in 0..2 {
        store.delete(SLOT).await.map_err(|error| error.to_string())?;
        reads(store, SLOT, None, "what is deleted is gone").await?;
    }
    lists(store, "0/attempts/1/", &[CLAIM], "what is deleted is not listed").await?;
    creates(store, SLOT, "again", Created::New, "a deleted name is free").await?;
    probe(store, &SeededRandom::new(1)).await.map_err(|error| error.to_string())
}

/// Names that could lead out of the store are refused, and nothing is written.
///
/// # Errors
/// What it does otherwise.
pub async fn keeps_within_itself(store: &dyn CheckpointStore) -> Result<(), String> {
    let before = names(store, "").await?;
    for name in ["../x", "/etc/x", "0/../../x", ""] {
        match store.create(name, Bytes::new()).await {
            Ok(created) => return Err(format!("`{name}` was taken for a name: {created:?}")),
            Err(error) if error.message.contains("not a name") => {}
            Err(error) => return Err(format!("`{name}`: {error}")),
        }
    }
    if names(store, "").await? == before { Ok(()) } else { Err("a refused name left something".to_owned()) }
}

/// Listings that one answer of a server cannot hold.
///
/// # Errors
/// What it does otherwise.
pub async fn lists_many(store: &dyn CheckpointStore) -> Result<(), String> {
    let mut wanted = Vec::new();
    for i in 0..MANY {
        let name = format!("9/attempts/{i}/claim");
        creates(store, &name, "x", Created::New, "a new name is free").await?;
        wanted.push(name);
    }
    wanted.sort();
    if names(store, "9/").await? == wanted { Ok(()) } else { Err("a long listing is not whole".to_owned()) }
}

async fn creates(
    store: &dyn CheckpointStore,
    name: &str,
    body: &'static str,
    wanted: Created,
    rule: &str,
) -> Result<(), String> {
    let created = store.create(name, Bytes::from_static(body.as_bytes())).await;
    match created {
        Ok(created) if created == wanted => Ok(()),
        other => Err(format!("{rule}: {name}: wanted {wanted:?}, got {other:?}")),
    }
}

async fn reads(
    store: &dyn CheckpointStore,
    name: &str,
    wanted: Option<&'static str>,
    rule: &str,
) -> Result<(), String> {
    let found = store.read(name).await;
    match &found {
        Ok(body) if body.as_deref() == wanted.map(str::as_bytes) => Ok(()),
        other => Err(format!("{rule}: {name}: wanted {wanted:?}, got {other:?}")),
    }
}

async fn lists(store: &dyn CheckpointStore, folder: &str, wanted: &[&str], rule: &str) -> Result<(), String> {
    let found = names(store, folder).await?;
    if found == wanted { Ok(()) } else { Err(format!("{rule}: `{folder}`: wanted {wanted:?}, found {found:?}")) }
}

async fn names(store: &dyn CheckpointStore, folder: &str) -> Result<Vec<String>, String> {
    let mut names = store.list(folder).await.map_err(|error| error.to_string())?;
    names.sort();
    Ok(names)
}
