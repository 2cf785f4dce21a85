//! The signing key: made by the first installation, kept by every later one. Helm reads the Secret from a server, which
//! here is a small one that knows the chart's kinds and one Secret.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use e2e::helm::Helm;
use serde_json::{Value, json};

use crate::{kind, objects, only, parse};

const SECRET: &str = "/api/v1/namespaces/onceward-system/secrets/onceward-signing-key";
/// What comes before the 32 bytes of an Ed25519 key in PKCS #8 (RFC 8410).
const PKCS8: [u8; 16] = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];

fn key(objects: &[Value]) -> String {
    let secret = only(objects, "Secret", "onceward-signing-key");
    assert_eq!(secret["metadata"]["annotations"]["helm.sh/resource-policy"], "keep");
    let text = STANDARD.decode(secret["data"]["ed25519.pem"].as_str().unwrap()).unwrap();
    String::from_utf8(text).unwrap()
}

#[test]
fn key_is_of_ed25519_and_made_anew_where_nobody_has_one() {
    let keys = [key(&objects(&[])), key(&objects(&[]))];
    for pem in &keys {
        let body: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
        let bytes = STANDARD.decode(body).unwrap();
        assert!(pem.starts_with("-----BEGIN PRIVATE KEY-----") && bytes.len() == 48 && bytes.starts_with(&PKCS8));
    }
    assert_ne!(keys[0], keys[1]);
}

#[test]
fn own_secret_is_used_and_none_is_made() {
    let all = objects(&["--set", "signingKey.existingSecret=mine"]);
    assert!(!all.iter().any(|object| kind(object) == "Secret"));
    let deployment = only(&all, "Deployment", "onceward-controller");
    assert_eq!(deployment["spec"]["template"]["spec"]["volumes"][0]["secret"]["secretName"], "mine");
}

#[test]
fn key_that_the_cluster_has_is_kept() {
    let kept = STANDARD.encode("a key of before");
    let mut answers = discovery(&objects(&[]));
    // As an earlier release of this name left it.
    let annotations =
        json!({"meta.helm.sh/release-name": "onceward", "meta.helm.sh/release-namespace": "onceward-system"});
    let metadata = json!({"name": "onceward-signing-key", "namespace": "onceward-system",
        "labels": {"app.kubernetes.io/managed-by": "Helm"}, "annotations": annotations});
    let found = json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": {"ed25519.pem": kept}});
    answers.insert(SECRET.to_owned(), found);
    let (rendered, asked) = with_server(&answers, |address| {
        let server = format!("http://{address}");
        let server = ["--dry-run=server", "--disable-openapi-validation", "--kube-apiserver", &server];
        Helm::new()?.render(&server)
    });
    let rendered = rendered.unwrap();
    assert!(asked.iter().any(|path| path == SECRET), "nobody looked for the Secret: {asked:?}");
    assert_eq!(key(&parse(&rendered)), "a key of before");
}

/// What an API server says of the kinds of these objects.
fn discovery(objects: &[Value]) -> BTreeMap<String, Value> {
    let mut groups: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for object in objects {
        let (version, kind) = (object["apiVersion"].as_str().unwrap(), kind(object));
        let plural = format!("{}s", kind.to_lowercase()).replace("policys", "policies");
        let namespaced = !object["metadata"]["namespace"].is_null();
        let resource = json!({"name": plural, "kind": kind, "namespaced": namespaced, "verbs": ["get"]});
        let known = groups.entry(version.to_owned()).or_default();
        if !known.iter().any(|other| other["kind"] == resource["kind"]) {
            known.push(resource);
        }
    }
    let mut answers = BTreeMap::from([
        ("/version".to_owned(), json!({"major": "1", "minor": "34", "gitVersion": "v1.34.0"})),
        ("/api".to_owned(), json!({"kind": "APIVersions", "versions": ["v1"]})),
    ]);
    let mut listed = Vec::new();
    for (version, resources) in groups {
        let list = json!({"kind": "APIResourceList", "groupVersion": version, "resources": resources});
        let Some((group, number)) = version.split_once('/') else {
            answers.insert(format!("/api/{version}"), list);
            continue;
        };
        let named = json!({"groupVersion": version, "version": number});
        listed.push(json!({"name": group, "versions": [named], "preferredVersion": named}));
        answers.insert(format!("/apis/{version}"), list);
    }
    answers.insert("/apis".to_owned(), json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": listed}));
    answers
}

/// Answers while `ask` runs; also gives the paths that were asked for.
fn with_server<T>(answers: &BTreeMap<String, Value>, ask: impl FnOnce(SocketAddr) -> T) -> (T, Vec<String>) {
    /// Helm asks about twenty times.
    const MOST: usize = 1_000;
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::scope(|scope| {
        let served = scope.spawn(|| {
            let mut asked = Vec::new();
            for stream in listener.incoming().take(MOST) {
                let path = serve(&stream.unwrap(), answers);
                if path == END {
                    break;
                }
                asked.push(path);
            }
            asked
        });
        let end = End(address);
        let done = ask(address);
        drop(end);
        (done, served.join().unwrap())
    })
}

const END: &str = "/end";

/// Ends the server, whatever becomes of who asks.
struct End(SocketAddr);

impl Drop for End {
    fn drop(&mut self) {
        let _ = TcpStream::connect(self.0).and_then(|mut stream| write!(stream, "GET {END} HTTP/1.1\r\n\r\n"));
    }
}

fn serve(mut stream: &TcpStream, answers: &BTreeMap<String, Value>) -> String {
    // Whoever connects asks at once.
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    let path = line.split(' ').nth(1).unwrap_or_default().split('?').next().unwrap_or_default().to_owned();
    while line.trim() != "" {
        line.clear();
        reader.read_line(&mut line).unwrap();
    }
    let missing = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404});
    let (status, body) = answers.get(&path).map_or(("404 Not Found", missing), |answer| ("200 OK", answer.clone()));
    let body = body.to_string();
    // Whoever has left does not want an answer.
    let _ = write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    path
}
