//! Refuses a store that does not keep the two promises everything rests on.

use bytes::Bytes;

use super::{CheckpointStore, Created, StoreError};
use crate::clock::Random;

/// Folder of the probe's objects; no log has such a name.
const FOLDER: &str = "probe/";

/// Why a store cannot hold checkpoints.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProbeError {
    #[error("{0}")]
    Unreachable(#[from] StoreError),
    #[error(
        "checkpoint store {address} cannot be used: {broken}; two runs could both believe that they decide. \
         Use a store with create-if-absent and consistent listing"
    )]
    Unfit { address: String, broken: &'static str },
}

/// Writes, reads, lists and deletes one object of its own.
///
/// # Errors
/// The store did not answer, or a second create of the same name went through, or a read or listing right after a
/// write does not show it.
pub async fn probe(store: &dyn CheckpointStore, random: &dyn Random) -> Result<(), ProbeError> {
    let name = format!("{FOLDER}{:032x}", random.u128());
    let (first, second) = (Bytes::from_static(b"first"), Bytes::from_static(b"second"));
    let unfit = |broken| Err(ProbeError::Unfit { address: store.address(""), broken });
    if store.create(&name, first.clone()).await? != Created::New {
        return unfit("a new name was said to exist");
    }
    let again = store.create(&name, second).await?;
    let read = store.read(&name).await?;
    let listed = store.list(FOLDER).await?;
    store.delete(&name).await?;
    if again != Created::Exists || read.as_ref().is_some_and(|body| *body != first) {
        return unfit("an existing object was created again");
    }
    if read.is_none() {
        return unfit("a read right after a write does not show it");
    }
    if !listed.contains(&name) {
        return unfit("a listing right after a write does not show it");
    }
    if store.read(&name).await?.is_some() {
        return unfit("an object is still there after its deletion");
    }
    Ok(())
}
