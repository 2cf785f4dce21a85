//! TLS by rustls: the authorities and the certificate of the settings, nothing older than TLS 1.2.

use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{CertificateError, ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::error::Error;
use super::settings::Tls;
use crate::secrets::SecretBytes;

/// What a connection needs to know of TLS, parsed once.
#[derive(Clone)]
pub(super) struct Secured {
    connector: TlsConnector,
}

impl Secured {
    /// # Errors
    /// [`Error::Settings`]: which part is not PEM or does not fit; says nothing of what it holds.
    pub(super) fn new(tls: &Tls) -> Result<Self, Error> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| settings(format!("TLS: {error}")))?
            .with_root_certificates(roots(tls.ca.as_ref())?);
        let config = match &tls.certificate {
            None => builder.with_no_client_auth(),
            Some(own) => {
                let chain = certificates("tls.certificate", &own.chain)?;
                let key = PrivateKeyDer::from_pem_slice(own.private_key.reveal())
                    .map_err(|_| settings("tls.privateKey holds no PEM private key without a passphrase".to_owned()))?;
                // The error of rustls does not hold the key.
                builder.with_client_auth_cert(chain, key).map_err(|error| {
                    settings(format!("tls.certificate and tls.privateKey do not belong together: {error}"))
                })?
            }
        };
        Ok(Self { connector: TlsConnector::from(Arc::new(config)) })
    }

    /// `address`: `host:port`, for messages; the host is what the broker's certificate must name.
    pub(super) async fn connect(&self, address: &str, stream: TcpStream) -> Result<TlsStream<TcpStream>, Error> {
        let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| settings(format!("`{host}` is neither a host name nor an address")))?;
        let late = |error: std::io::Error| Error::Connect {
            address: address.to_owned(),
            message: format!("the TLS handshake did not end: {error}"),
        };
        let connected = self.connector.connect(name, stream).await;
        connected.map_err(|error| refusal(address, &error).unwrap_or_else(|| late(error)))
    }
}

fn settings(message: String) -> Error {
    Error::Settings { message }
}

fn certificates(field: &str, pem: &SecretBytes) -> Result<Vec<CertificateDer<'static>>, Error> {
    let parsed: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.reveal()).collect();
    match parsed {
        Ok(found) if !found.is_empty() => Ok(found),
        _ => Err(settings(format!("{field} holds no PEM certificate"))),
    }
}

fn roots(ca: Option<&SecretBytes>) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    if let Some(ca) = ca {
        for certificate in certificates("tls.ca", ca)? {
            roots.add(certificate).map_err(|error| settings(format!("tls.ca cannot be trusted: {error}")))?;
        }
        return Ok(roots);
    }
    // Some of a system's certificates may be odd; what matters is that there are any.
    let (added, _) = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if added == 0 {
        return Err(settings("the system trusts no authorities; name yours in tls.ca".to_owned()));
    }
    Ok(roots)
}

/// The error of TLS in an error of the stream. None: the connection merely ended, which is an outage and no matter of
/// trust. What a broker thinks of a client's certificate comes after the handshake, with the first answer.
pub(super) fn refusal(address: &str, error: &std::io::Error) -> Option<Error> {
    let cause = error.get_ref()?.downcast_ref::<rustls::Error>()?;
    let fix = match cause {
        rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
            "tls.ca must hold the authority that signed the broker's certificate"
        }
        rustls::Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => "bootstrapServers must use a name that the broker's certificate holds",
        rustls::Error::InvalidCertificate(_) => "the broker needs another certificate",
        rustls::Error::AlertReceived(_) => "the broker does not accept tls.certificate, or demands one",
        _ => "this port may not speak TLS: compare bootstrapServers with the broker's listeners",
    };
    Some(Error::Tls { address: address.to_owned(), message: cause.to_string(), fix })
}
