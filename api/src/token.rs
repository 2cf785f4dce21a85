//! What the controller asks of a worker beyond health and metrics: signed with its key, for one Pipeline, and of use for a
//! moment only. Workers have the public half.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Signed before every token's text, so that a signature is never of use elsewhere.
const OF_ASK: &str = "onceward-ask-v1.";
const OF_LOOK: &str = "onceward-look-v1.";
/// How long a token is good for. Clocks of a cluster differ by less.
pub const LASTS_MS: u64 = 60_000;
/// Far more than a token has.
const MOST_BYTES: usize = 4_096;
/// Of an Ed25519 public key.
const KEY_BYTES: usize = 32;

/// A checkpoint that is to be taken now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ask {
    /// `namespace/name` of the Pipeline.
    pub pipeline: String,
    /// Names the request: asking again for the same changes nothing.
    pub id: String,
    /// Whether it is to be kept for ever.
    pub savepoint: bool,
    /// Milliseconds since 1970.
    pub expires_ms: u64,
}

/// A look at a worker's report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Look {
    /// `namespace/name` of the Pipeline.
    pub pipeline: String,
    /// Milliseconds since 1970.
    pub expires_ms: u64,
}

/// A key that is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    #[error("it is no PEM of a private key (PKCS #8)")]
    Pem,
    #[error("it is no Ed25519 key")]
    Algorithm,
    #[error("it is no public key of Ed25519 in base64")]
    Public,
}

/// Why a token is not taken. Says nothing of what is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Untrusted {
    #[error("it is not signed with the controller's key")]
    Signature,
    #[error("it is for another Pipeline")]
    Pipeline,
    #[error("its time is over, or too far away: compare the clocks")]
    Time,
}

/// The controller's half.
pub struct Signer {
    pair: Ed25519KeyPair,
}

impl Signer {
    /// # Errors
    /// It is no Ed25519 key as `openssl genpkey -algorithm ed25519` or Helm writes it.
    pub fn from_pem(text: &str) -> Result<Self, KeyError> {
        let body = text.split_once("-----BEGIN PRIVATE KEY-----").and_then(|(_, rest)| rest.split_once("-----END"));
        let body: String = body.ok_or(KeyError::Pem)?.0.split_whitespace().collect();
        let der = STANDARD.decode(body).map_err(|_| KeyError::Pem)?;
        // Those tools leave the public half out.
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(&der).map_err(|_| KeyError::Algorithm)?;
        Ok(Self { pair })
    }

    /// What workers are given.
    pub fn public_key(&self) -> String {
        STANDARD.encode(self.pair.public_key().as_ref())
    }

    /// A token for `Authorization: Bearer`.
    pub fn sign(&self, ask: &Ask) -> String {
        self.seal(OF_ASK, ask)
    }

    /// As [`Self::sign`], for reading only.
    pub fn sign_look(&self, look: &Look) -> String {
        self.seal(OF_LOOK, look)
    }

    fn seal(&self, context: &str, said: &impl Serialize) -> String {
        // Strings and numbers: this cannot fail.
        let text = URL_SAFE_NO_PAD.encode(serde_json::to_vec(said).unwrap_or_default());
        let signature = self.pair.sign(format!("{context}{text}").as_bytes());
        format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature.as_ref()))
    }
}

/// A worker's half.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verifier {
    key: Vec<u8>,
}

impl Verifier {
    /// # Errors
    /// It is no such key.
    pub fn new(public_key: &str) -> Result<Self, KeyError> {
        let key = STANDARD.decode(public_key).ok().filter(|key| key.len() == KEY_BYTES);
        Ok(Self { key: key.ok_or(KeyError::Public)? })
    }

    /// What is asked of the worker of `pipeline`.
    ///
    /// # Errors
    /// The token is not to be trusted; nothing in it is looked at before its signature.
    pub fn verify(&self, token: &str, pipeline: &str, now_ms: u64) -> Result<Ask, Untrusted> {
        let ask: Ask = self.open(OF_ASK, token)?;
        is_good((&ask.pipeline, ask.expires_ms), pipeline, now_ms).map(|()| ask)
    }

    /// Whether the worker of `pipeline` may be looked at.
    ///
    /// # Errors
    /// As [`Self::verify`].
    pub fn verify_look(&self, token: &str, pipeline: &str, now_ms: u64) -> Result<(), Untrusted> {
        let look: Look = self.open(OF_LOOK, token)?;
        is_good((&look.pipeline, look.expires_ms), pipeline, now_ms)
    }

    fn open<T: DeserializeOwned>(&self, context: &str, token: &str) -> Result<T, Untrusted> {
        let parts = token.split_once('.').filter(|_| token.len() <= MOST_BYTES);
        let (text, signature) = parts.ok_or(Untrusted::Signature)?;
        let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| Untrusted::Signature)?;
        let key = UnparsedPublicKey::new(&ED25519, &self.key);
        key.verify(format!("{context}{text}").as_bytes(), &signature).map_err(|_| Untrusted::Signature)?;
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| Untrusted::Signature)?;
        serde_json::from_slice(&bytes).map_err(|_| Untrusted::Signature)
    }
}

fn is_good((of, expires_ms): (&str, u64), pipeline: &str, now_ms: u64) -> Result<(), Untrusted> {
    if of != pipeline {
        return Err(Untrusted::Pipeline);
    }
    let is_in_time = expires_ms >= now_ms && expires_ms - now_ms <= 2 * LASTS_MS;
    if is_in_time { Ok(()) } else { Err(Untrusted::Time) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made for this test.
    const PEM: &str = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f\n-----END PRIVATE KEY-----\n";
    const NOW: u64 = 1_000_000;

    fn ask() -> Ask {
        Ask { pipeline: "shop/revenue".into(), id: "a".into(), savepoint: false, expires_ms: NOW + LASTS_MS }
    }

    fn both() -> (Signer, Verifier) {
        let signer = Signer::from_pem(PEM).expect("a key");
        let verifier = Verifier::new(&signer.public_key()).expect("its half");
        (signer, verifier)
    }

    #[test]
    fn what_is_signed_is_understood_by_its_worker_while_it_lasts() {
        let (signer, verifier) = both();
        let token = signer.sign(&ask());
        assert_eq!(verifier.verify(&token, "shop/revenue", NOW), Ok(ask()));
        assert_eq!(verifier.verify(&token, "shop/revenue", NOW + LASTS_MS), Ok(ask()));
        assert_eq!(verifier.verify(&token, "shop/revenue", NOW + LASTS_MS + 1), Err(Untrusted::Time));
        assert_eq!(verifier.verify(&token, "shop/revenue", NOW - LASTS_MS - 1), Err(Untrusted::Time));
        assert_eq!(verifier.verify(&token, "shop/other", NOW), Err(Untrusted::Pipeline));
    }

    #[test]
    fn who_may_look_may_not_ask_and_the_other_way_round() {
        let (signer, verifier) = both();
        let look = signer.sign_look(&Look { pipeline: "shop/revenue".into(), expires_ms: NOW + LASTS_MS });
        assert_eq!(verifier.verify_look(&look, "shop/revenue", NOW), Ok(()));
        assert_eq!(verifier.verify_look(&look, "shop/other", NOW), Err(Untrusted::Pipeline));
        assert_eq!(verifier.verify_look(&look, "shop/revenue", NOW + LASTS_MS + 1), Err(Untrusted::Time));
        assert_eq!(verifier.verify(&look, "shop/revenue", NOW), Err(Untrusted::Signature));
        assert_eq!(verifier.verify_look(&signer.sign(&ask()), "shop/revenue", NOW), Err(Untrusted::Signature));
    }

    #[test]
    fn no_changed_token_is_taken() {
        let (signer, verifier) = both();
        let token = signer.sign(&ask());
        for place in 0..token.len() {
            let mut changed = token.clone().into_bytes();
            changed[place] = if changed[place] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).expect("letters");
            assert_eq!(verifier.verify(&changed, "shop/revenue", NOW), Err(Untrusted::Signature), "{place}");
        }
        for text in ["", ".", "a.b", "a"] {
            assert_eq!(verifier.verify(text, "shop/revenue", NOW), Err(Untrusted::Signature));
        }
        let zeros = Verifier::new(&STANDARD.encode([0_u8; KEY_BYTES])).expect("32 bytes");
        assert_eq!(zeros.verify(&token, "shop/revenue", NOW), Err(Untrusted::Signature));
    }

    #[test]
    fn what_is_no_key_is_refused() {
        assert_eq!(Signer::from_pem("").err(), Some(KeyError::Pem));
        let wrong = PEM.replace("MC4C", "AAAA");
        assert_eq!(Signer::from_pem(&wrong).err(), Some(KeyError::Algorithm));
        assert_eq!(Verifier::new("AAAA").err(), Some(KeyError::Public));
    }
}
