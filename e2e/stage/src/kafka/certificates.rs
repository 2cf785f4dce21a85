//! An authority of our own, a broker's certificate for loopback and a client's, as PEM files.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

/// Paths of what was made.
#[derive(Clone, Debug)]
pub struct Certificates {
    /// The authority that signed the others.
    pub authority: PathBuf,
    /// One that signed nothing here.
    pub foreign_authority: PathBuf,
    /// Private key and certificate in one file, as Kafka's PEM store wants it.
    pub broker: PathBuf,
    pub client_certificate: PathBuf,
    pub client_key: PathBuf,
}

impl Certificates {
    /// Makes new ones in `folder`.
    ///
    /// # Errors
    /// What the file system says.
    pub fn make(folder: &Path) -> Result<Self> {
        let (issuer, authority) = authority("onceward test authority")?;
        let (_, foreign) = self::authority("another authority")?;
        let (broker, broker_key) = signed("broker", vec!["127.0.0.1".to_owned(), "localhost".to_owned()], &issuer)?;
        let (client, client_key) = signed("client", vec![], &issuer)?;
        let write = |name: &str, text: String| -> Result<PathBuf> {
            let path = folder.join(name);
            fs::write(&path, text).with_context(|| path.display().to_string())?;
            Ok(path)
        };
        Ok(Self {
            authority: write("ca.crt", authority)?,
            foreign_authority: write("foreign-ca.crt", foreign)?,
            broker: write("broker.pem", broker_key + &broker)?,
            client_certificate: write("tls.crt", client)?,
            client_key: write("tls.key", client_key)?,
        })
    }
}

fn parameters(name: &str, alternative: Vec<String>) -> Result<CertificateParams> {
    let mut parameters = CertificateParams::new(alternative)?;
    parameters.distinguished_name.push(DnType::CommonName, name);
    Ok(parameters)
}

fn authority(name: &str) -> Result<(Issuer<'static, KeyPair>, String)> {
    let mut parameters = parameters(name, vec![])?;
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate()?;
    let certificate = parameters.self_signed(&key)?.pem();
    Ok((Issuer::new(parameters, key), certificate))
}

fn signed(name: &str, alternative: Vec<String>, issuer: &Issuer<'static, KeyPair>) -> Result<(String, String)> {
    let key = KeyPair::generate()?;
    let certificate = parameters(name, alternative)?.signed_by(&key, issuer)?;
    Ok((certificate.pem(), key.serialize_pem()))
}
