//! Keys, certificates and kubeconfigs of everybody in a cluster.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use serde_json::json;

use super::layout::{API, PLANE, node_address, node_name};

const SERVER_NAMES: [&str; 7] = [
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
    "127.0.0.1",
    PLANE,
    API,
];
/// Who speaks with the API server: file name, name in the certificate, group.
const CLIENTS: [(&str, &str, Option<&str>); 4] = [
    ("administrator", "administrator", Some("system:masters")),
    ("controller-manager", "system:kube-controller-manager", None),
    ("scheduler", "system:kube-scheduler", None),
    ("proxy", "system:kube-proxy", None),
];

/// An authority that signs what others show.
struct Authority<'a> {
    folder: &'a Path,
    issuer: Issuer<'static, KeyPair>,
}

/// What a certificate is for.
enum Use<'a> {
    Client {
        group: Option<&'a str>,
    },
    /// Names and addresses under which it is reached.
    Server(Vec<String>),
}

/// Makes all of them in `folder`: `ca.crt`, `<who>.crt`, `<who>.key`, `<who>.conf`, the keys of service accounts.
pub(super) fn make(folder: &Path, nodes: usize) -> Result<()> {
    fs::create_dir_all(folder)?;
    let cluster = Authority::new(folder, "ca")?;
    cluster.sign("apiserver", "kube-apiserver", &Use::Server(SERVER_NAMES.map(str::to_owned).to_vec()))?;
    let masters = Use::Client { group: Some("system:masters") };
    cluster.sign("apiserver-kubelet-client", "kube-apiserver-kubelet-client", &masters)?;
    Authority::new(folder, "front-proxy-ca")?.sign("front-proxy", "front-proxy", &Use::Client { group: None })?;
    for (file, name, group) in CLIENTS {
        cluster.sign(file, name, &Use::Client { group })?;
        kubeconfig(folder, file)?;
    }
    for node in 1..=nodes {
        let name = node_name(node);
        cluster.sign(&name, &format!("system:node:{name}"), &Use::Client { group: Some("system:nodes") })?;
        kubeconfig(folder, &name)?;
        cluster.sign(&format!("{name}-kubelet"), &name, &Use::Server(vec![name.clone(), node_address(node)]))?;
    }
    let accounts = KeyPair::generate()?;
    write(&folder.join("accounts.key"), &accounts.serialize_pem())?;
    write(&folder.join("accounts.pub"), &accounts.public_key_pem())
}

impl<'a> Authority<'a> {
    fn new(folder: &'a Path, name: &str) -> Result<Self> {
        let mut parameters = CertificateParams::new(vec![])?;
        parameters.distinguished_name.push(DnType::CommonName, format!("test cluster {name}"));
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let key = KeyPair::generate()?;
        let certificate = parameters.self_signed(&key)?;
        write(&folder.join(format!("{name}.crt")), &certificate.pem())?;
        // The controller-manager signs requests for certificates with it.
        write(&folder.join(format!("{name}.key")), &key.serialize_pem())?;
        Ok(Self { folder, issuer: Issuer::new(parameters, key) })
    }

    fn sign(&self, file: &str, name: &str, purpose: &Use<'_>) -> Result<()> {
        let names = if let Use::Server(names) = purpose { names.clone() } else { vec![] };
        let mut parameters = CertificateParams::new(names)?;
        parameters.distinguished_name.push(DnType::CommonName, name);
        parameters.extended_key_usages = vec![match purpose {
            Use::Client { .. } => ExtendedKeyUsagePurpose::ClientAuth,
            Use::Server(_) => ExtendedKeyUsagePurpose::ServerAuth,
        }];
        if let Use::Client { group: Some(group) } = purpose {
            parameters.distinguished_name.push(DnType::OrganizationName, *group);
        }
        let key = KeyPair::generate()?;
        let certificate = parameters.signed_by(&key, &self.issuer)?;
        write(&self.folder.join(format!("{file}.crt")), &certificate.pem())?;
        write(&self.folder.join(format!("{file}.key")), &key.serialize_pem())
    }
}

fn kubeconfig(folder: &Path, who: &str) -> Result<()> {
    let path = |ending: &str| folder.join(format!("{who}.{ending}"));
    let cluster = json!({ "server": format!("https://{PLANE}:6443"), "certificate-authority": folder.join("ca.crt") });
    let user = json!({ "client-certificate": path("crt"), "client-key": path("key") });
    let text = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "stage",
        "clusters": [{ "name": "stage", "cluster": cluster }],
        "users": [{ "name": who, "user": user }],
        "contexts": [{ "name": "stage", "context": { "cluster": "stage", "user": who } }],
    });
    write(&path("conf"), &text.to_string())
}

/// For its owner's eyes only.
fn write(path: &Path, text: &str) -> Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut file = fs::OpenOptions::new();
    let mut file =
        file.write(true).create(true).truncate(true).mode(0o600).open(path).context(path.display().to_string())?;
    Ok(file.write_all(text.as_bytes())?)
}
