//! SCRAM: the password never travels, and the broker proves that it knows it, too.
//!
//! # Source
//! RFC 5802, RFC 7677; Kafka uses it without channel binding.

use std::num::NonZeroU32;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::{digest, hmac, pbkdf2};

use super::settings::Mechanism;

/// Kafka's own minimum; fewer would make the password cheap to guess.
const LEAST_ITERATIONS: u32 = 4_096;
/// More would keep this side busy for seconds at the broker's word.
const MOST_ITERATIONS: u32 = 1_000_000;
/// No channel binding: the base64 of `n,,`.
const BINDING: &str = "biws";

/// One login, up to the broker's proof.
pub(super) struct Scram<'a> {
    algorithms: Algorithms,
    password: &'a [u8],
    nonce: String,
    /// `n=user,r=nonce`.
    first_bare: String,
}

/// What the broker must still prove.
#[derive(Debug)]
pub(super) struct Expected {
    signature: Vec<u8>,
}

struct Algorithms {
    digest: &'static digest::Algorithm,
    hmac: hmac::Algorithm,
    pbkdf2: pbkdf2::Algorithm,
}

impl<'a> Scram<'a> {
    /// `nonce`: fresh random text without commas. None: the mechanism is none of SCRAM's.
    pub(super) fn new(mechanism: Mechanism, username: &str, password: &'a [u8], nonce: String) -> Option<Self> {
        let algorithms = match mechanism {
            Mechanism::Plain => return None,
            Mechanism::ScramSha256 => {
                Algorithms { digest: &digest::SHA256, hmac: hmac::HMAC_SHA256, pbkdf2: pbkdf2::PBKDF2_HMAC_SHA256 }
            }
            Mechanism::ScramSha512 => {
                Algorithms { digest: &digest::SHA512, hmac: hmac::HMAC_SHA512, pbkdf2: pbkdf2::PBKDF2_HMAC_SHA512 }
            }
        };
        let username = username.replace('=', "=3D").replace(',', "=2C");
        let first_bare = format!("n={username},r={nonce}");
        Some(Self { algorithms, password, nonce, first_bare })
    }

    /// What is sent first.
    pub(super) fn first(&self) -> String {
        format!("n,,{}", self.first_bare)
    }

    /// What is sent second, and what the answer to it must hold. `challenge`: the broker's first answer.
    ///
    /// # Errors
    /// The challenge is not one, in words that hold nothing of it.
    pub(super) fn last(&self, challenge: &str) -> Result<(String, Expected), String> {
        let field = |name: &str| challenge.split(',').find_map(|field| field.strip_prefix(name));
        let (Some(nonce), Some(salt), Some(iterations)) = (field("r="), field("s="), field("i=")) else {
            return Err("the broker's challenge is incomplete".to_owned());
        };
        if !nonce.starts_with(&self.nonce) || nonce.len() == self.nonce.len() {
            return Err("the broker's challenge belongs to another login".to_owned());
        }
        let salt = STANDARD.decode(salt).map_err(|_| "the broker's salt is not base64".to_owned())?;
        let iterations: u32 = iterations.parse().map_err(|_| "the broker's iteration count is no number".to_owned())?;
        let iterations = NonZeroU32::new(iterations)
            .filter(|count| (LEAST_ITERATIONS..=MOST_ITERATIONS).contains(&count.get()))
            .ok_or_else(|| {
                format!("{iterations} iterations are not between {LEAST_ITERATIONS} and {MOST_ITERATIONS}")
            })?;
        let mut salted = vec![0; self.algorithms.digest.output_len()];
        pbkdf2::derive(self.algorithms.pbkdf2, iterations, &salt, self.password, &mut salted);
        let without_proof = format!("c={BINDING},r={nonce}");
        let signed = format!("{},{challenge},{without_proof}", self.first_bare);
        let client_key = self.sign(&salted, b"Client Key");
        let stored_key = digest::digest(self.algorithms.digest, client_key.as_ref());
        let client_signature = self.sign(stored_key.as_ref(), signed.as_bytes());
        let proof: Vec<u8> = client_key.as_ref().iter().zip(client_signature.as_ref()).map(|(a, b)| a ^ b).collect();
        let server_key = self.sign(&salted, b"Server Key");
        let signature = self.sign(server_key.as_ref(), signed.as_bytes()).as_ref().to_vec();
        Ok((format!("{without_proof},p={}", STANDARD.encode(proof)), Expected { signature }))
    }

    fn sign(&self, key: &[u8], message: &[u8]) -> hmac::Tag {
        hmac::sign(&hmac::Key::new(self.algorithms.hmac, key), message)
    }
}

impl Expected {
    /// Whether the broker knows the password. `answer`: its last one.
    ///
    /// # Errors
    /// It does not, or says why it refuses.
    pub(super) fn check(&self, answer: &str) -> Result<(), String> {
        if let Some(refusal) = answer.strip_prefix("e=") {
            return Err(refusal.to_owned());
        }
        let signature = answer.split(',').find_map(|field| field.strip_prefix("v="));
        let signature = signature.and_then(|text| STANDARD.decode(text).ok());
        // Equal in constant time does not matter here: this side would have to be asked again and again by a broker.
        if signature.as_ref() == Some(&self.signature) {
            Ok(())
        } else {
            Err("the broker does not know this password itself: it is not the one that it claims to be".to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The exchange of RFC 7677, section 3.
    const CHALLENGE: &str = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";

    fn scram() -> Scram<'static> {
        Scram::new(Mechanism::ScramSha256, "user", b"pencil", "rOprNGfwEbeRWgbNEkqO".to_owned()).unwrap()
    }

    #[test]
    fn the_exchange_of_the_standard_comes_out_the_same() {
        assert_eq!(scram().first(), "n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
        let (last, expected) = scram().last(CHALLENGE).unwrap();
        assert_eq!(
            last,
            "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
        );
        assert_eq!(expected.check("v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="), Ok(()));
    }

    #[test]
    fn a_broker_that_does_not_know_the_password_is_found_out() {
        let (_, expected) = scram().last(CHALLENGE).unwrap();
        for answer in ["", "v=", "v=AAAA", "x=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="] {
            assert!(expected.check(answer).unwrap_err().contains("not the one"), "{answer}");
        }
        assert_eq!(expected.check("e=invalid-proof").unwrap_err(), "invalid-proof");
    }

    #[test]
    fn a_challenge_must_be_fresh_complete_and_bounded() {
        let refused = |challenge: &str| scram().last(challenge).unwrap_err();
        assert!(refused("r=other,s=W22Z,i=4096").contains("another login"));
        assert!(refused("r=rOprNGfwEbeRWgbNEkqO,s=W22Z,i=4096").contains("another login"), "nothing was added");
        assert!(refused("r=rOprNGfwEbeRWgbNEkqOx,i=4096").contains("incomplete"));
        assert!(refused("r=rOprNGfwEbeRWgbNEkqOx,s=?,i=4096").contains("base64"));
        for count in ["0", "4095", "1000001"] {
            assert!(refused(&format!("r=rOprNGfwEbeRWgbNEkqOx,s=W22Z,i={count}")).contains("iterations"));
        }
        assert!(refused("r=rOprNGfwEbeRWgbNEkqOx,s=W22Z,i=-1").contains("no number"));
    }

    #[test]
    fn names_cannot_add_fields() {
        let scram = Scram::new(Mechanism::ScramSha512, "a,r=b", b"p", "N".to_owned()).unwrap();
        assert_eq!(scram.first(), "n,,n=a=2Cr=3Db,r=N");
    }
}
