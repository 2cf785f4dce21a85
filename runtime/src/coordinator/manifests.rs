//! Manifests and parts as objects: written before what refers to them, verified when read.

use bytes::Bytes;
use checkpoint::ids::{Attempt, Epoch, Nonce};
use checkpoint::manifest::{ContentHash, Manifest, StatePart};
use checkpoint::paths;
use checkpoint::record::{self, INLINE_MANIFEST_BYTES, ManifestRef};

use super::error::CoordinatorError;
use super::log::Log;
use crate::clock::Random;
use crate::store::Created;

/// Names that are tried for one object. A name whose create had an unknown outcome is not used again: what is there
/// may not be durable.
const TRIES: u32 = 3;

impl Log {
    /// Makes a manifest durable, or inlines a small one.
    ///
    /// # Errors
    /// The store, or a manifest beyond all limits.
    pub async fn write_manifest(
        &self,
        attempt: Attempt,
        epoch: Epoch,
        manifest: Manifest,
        random: &dyn Random,
    ) -> Result<ManifestRef, CoordinatorError> {
        let body = record::encode(&manifest).map_err(|error| {
            self.corrupt(&paths::attempt(self.index, attempt), &format!("manifest of epoch {epoch}: {error}"))
        })?;
        if body.len() <= INLINE_MANIFEST_BYTES {
            return Ok(ManifestRef::Inline(Box::new(manifest)));
        }
        let (length, hash, body) = (body.len() as u64, content_hash(&body), Bytes::from(body));
        let name = || paths::manifest(self.index, attempt, epoch, Nonce(random.u128()));
        let name = self.create_anew(name, &body).await?;
        Ok(ManifestRef::Stored { name, length, hash })
    }

    /// Makes an object durable under a name that nothing has had before; returns the name.
    async fn create_anew(&self, draw: impl Fn() -> String, body: &Bytes) -> Result<String, CoordinatorError> {
        let mut last = None;
        for _ in 0..TRIES {
            let name = draw();
            match self.store.create(&name, body.clone()).await {
                Ok(Created::New) => return Ok(name),
                Ok(Created::Exists) => last = Some(self.corrupt(&name, "an object with a new name exists already")),
                Err(error) => last = Some(error.into()),
            }
        }
        Err(last.unwrap_or_else(|| self.corrupt("", "no name was tried")))
    }

    /// Reads and verifies a manifest.
    ///
    /// # Errors
    /// A missing, cut or changed object by its address.
    pub async fn read_manifest(&self, reference: &ManifestRef) -> Result<Manifest, CoordinatorError> {
        match reference {
            ManifestRef::Inline(manifest) => Ok(manifest.as_ref().clone()),
            ManifestRef::Stored { name, length, hash } => {
                let body = self.read_verified(name, *length, hash).await?;
                self.decode(name, &body)
            }
        }
    }

    /// Reads an object that must be there as it was written.
    ///
    /// # Errors
    /// As [`Log::read_manifest`].
    pub async fn read_verified(&self, name: &str, length: u64, hash: &ContentHash) -> Result<Bytes, CoordinatorError> {
        let Some(body) = self.store.read(name).await? else { return Err(self.corrupt(name, "object is missing")) };
        if body.len() as u64 != length {
            return Err(self.corrupt(name, &format!("{} bytes instead of {length}", body.len())));
        }
        if content_hash(&body) != *hash {
            return Err(self.corrupt(name, "content hash differs"));
        }
        Ok(body)
    }

    /// The same manifest with every stored part under a name of `attempt`.
    ///
    /// # Errors
    /// As [`Log::read_manifest`], and the store.
    pub async fn copy_parts(
        &self,
        attempt: Attempt,
        mut manifest: Manifest,
        random: &dyn Random,
    ) -> Result<Manifest, CoordinatorError> {
        for part in manifest.snapshots.iter_mut().flat_map(|snapshot| &mut snapshot.parts) {
            if let StatePart::Stored { name, length, hash } = part {
                let body = self.read_verified(name, *length, hash).await?;
                let parts = paths::parts(self.index, attempt);
                *name = self.create_anew(|| format!("{parts}copy-{:032x}", random.u128()), &body).await?;
            }
        }
        Ok(manifest)
    }
}

/// BLAKE3 of a body.
pub(super) fn content_hash(body: &[u8]) -> ContentHash {
    ContentHash(blake3::hash(body).to_hex().to_string())
}

/// Names of all objects that a decision refers to.
pub(super) fn objects(reference: &ManifestRef, manifest: &Manifest) -> Vec<String> {
    let own = match reference {
        ManifestRef::Inline(_) => None,
        ManifestRef::Stored { name, .. } => Some(name.clone()),
    };
    own.into_iter().chain(part_names(manifest)).collect()
}

/// Names of the objects that hold a checkpoint's state.
pub(super) fn part_names(manifest: &Manifest) -> impl Iterator<Item = String> {
    stored_parts(manifest).map(|(name, _)| name.to_owned())
}

/// Name and length of every stored part.
pub(super) fn stored_parts(manifest: &Manifest) -> impl Iterator<Item = (&str, u64)> {
    manifest.snapshots.iter().flat_map(|snapshot| &snapshot.parts).filter_map(|part| match part {
        StatePart::Stored { name, length, .. } => Some((name.as_str(), *length)),
        StatePart::Inline { .. } => None,
    })
}

/// Bytes of all state in a manifest (base64 takes four characters for three bytes).
pub(super) fn state_bytes(manifest: &Manifest) -> u64 {
    let parts = manifest.snapshots.iter().flat_map(|snapshot| &snapshot.parts);
    parts
        .map(|part| match part {
            StatePart::Inline { body } => body.len() as u64 / 4 * 3,
            StatePart::Stored { length, .. } => *length,
        })
        .sum()
}
