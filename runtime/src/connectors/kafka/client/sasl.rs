//! Login on a fresh connection: `SaslHandshake`, then `SaslAuthenticate` until both sides are content.

use bytes::Bytes;
use kafka_protocol::messages::{SaslAuthenticateRequest, SaslHandshakeRequest};
use kafka_protocol::protocol::StrBytes;

use super::connection::Connection;
use super::error::{Code, Error};
use super::scram::Scram;
use super::settings::{Mechanism, Sasl};

/// The broker does not offer the mechanism.
const UNSUPPORTED_SASL_MECHANISM: Code = Code(33);
const FIX: &str = "check sasl.username and sasl.password, and that the broker knows this user under this mechanism";

/// Logs in. `nonce`: fresh random text, used by SCRAM only.
pub(super) async fn log_in(connection: &mut Connection, sasl: &Sasl, nonce: String) -> Result<(), Error> {
    let mechanism = sasl.mechanism.name();
    let refused = |connection: &Connection, message: String, fix| Error::Login {
        address: connection.address().to_owned(),
        mechanism,
        message,
        fix,
    };
    let handshake = SaslHandshakeRequest::default().with_mechanism(StrBytes::from_static_str(mechanism));
    let offered = connection.call(&handshake).await?;
    if Code(offered.error_code) == UNSUPPORTED_SASL_MECHANISM {
        let names: Vec<_> = offered.mechanisms.iter().map(StrBytes::as_str).collect();
        let message = format!("the broker offers {}", names.join(", "));
        return Err(refused(connection, message, "set sasl.mechanism to one of these"));
    }
    if !Code(offered.error_code).is_none() {
        let message = Code(offered.error_code).to_string();
        return Err(refused(connection, message, "this listener may not ask for a login: leave out sasl"));
    }
    let (username, password) = (sasl.username.reveal(), sasl.password.reveal());
    let Some(scram) = Scram::new(sasl.mechanism, username, password.as_bytes(), nonce) else {
        debug_assert_eq!(sasl.mechanism, Mechanism::Plain);
        return send(connection, mechanism, format!("\0{username}\0{password}")).await.map(drop);
    };
    let challenge = send(connection, mechanism, scram.first()).await?;
    let (last, expected) = scram.last(&challenge).map_err(|message| refused(connection, message, FIX))?;
    let proof = send(connection, mechanism, last).await?;
    expected.check(&proof).map_err(|message| refused(connection, message, FIX))
}

async fn send(connection: &mut Connection, mechanism: &'static str, text: String) -> Result<String, Error> {
    let request = SaslAuthenticateRequest::default().with_auth_bytes(Bytes::from(text));
    let answer = connection.call(&request).await?;
    if Code(answer.error_code).is_none() {
        return Ok(String::from_utf8_lossy(&answer.auth_bytes).into_owned());
    }
    // The broker's own words; it does not repeat what was sent.
    let message = answer.error_message.as_ref().map(StrBytes::as_str).unwrap_or_default().to_owned();
    Err(Error::Login { address: connection.address().to_owned(), mechanism, message, fix: FIX })
}
