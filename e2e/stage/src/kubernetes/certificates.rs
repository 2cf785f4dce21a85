//! Keys and certificates of a cluster: its authority, the API server's, the administrator's, and the key that signs
//! tokens of service accounts.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};

/// Paths of what was made.
pub(super) struct Certificates {
    pub(super) authority: PathBuf,
    pub(super) server: Pair,
    /// In group `system:masters`: RBAC lets it do everything.
    pub(super) administrator: Pair,
    /// Signs tokens of service accounts.
    pub(super) accounts_private: PathBuf,
    /// Checks them.
    pub(super) accounts_public: PathBuf,
}

pub(super) struct Pair {
    pub(super) certificate: PathBuf,
    pub(super) key: PathBuf,
}

impl Certificates {
    pub(super) fn make(folder: &Path) -> Result<Self> {
        let write = |name: &str, text: String| -> Result<PathBuf> {
            let path = folder.join(name);
            fs::write(&path, text).with_context(|| path.display().to_string())?;
            Ok(path)
        };
        let (issuer, authority) = authority()?;
        let pair = |name: &str, parameters: CertificateParams| -> Result<Pair> {
            let key = KeyPair::generate()?;
            let certificate = parameters.signed_by(&key, &issuer)?.pem();
            let certificate = write(&format!("{name}.crt"), certificate)?;
            Ok(Pair { certificate, key: write(&format!("{name}.key"), key.serialize_pem())? })
        };
        let names = ["127.0.0.1", "localhost", "kubernetes.default.svc"].map(str::to_owned);
        let mut server = CertificateParams::new(names)?;
        server.distinguished_name.push(DnType::CommonName, "kube-apiserver");
        server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let mut administrator = CertificateParams::new(vec![])?;
        administrator.distinguished_name.push(DnType::CommonName, "administrator");
        administrator.distinguished_name.push(DnType::OrganizationName, "system:masters");
        administrator.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let accounts = KeyPair::generate()?;
        Ok(Self {
            authority: write("ca.crt", authority)?,
            server: pair("server", server)?,
            administrator: pair("administrator", administrator)?,
            accounts_private: write("accounts.key", accounts.serialize_pem())?,
            accounts_public: write("accounts.pub", accounts.public_key_pem())?,
        })
    }
}

fn authority() -> Result<(Issuer<'static, KeyPair>, String)> {
    let mut parameters = CertificateParams::new(vec![])?;
    parameters.distinguished_name.push(DnType::CommonName, "test cluster");
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    let key = KeyPair::generate()?;
    let certificate = parameters.self_signed(&key)?.pem();
    Ok((Issuer::new(parameters, key), certificate))
}
