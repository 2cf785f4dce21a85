//! The worker that follows a script beside the real one: the same lives, asked and told the same over HTTP, and what of them
//! must be alike: states in their order, which fields say something in each of them, answers to requests, the end.

mod lives;
mod real;
mod scripted;
mod seen;

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use api::token::{Ask, LASTS_MS, Look, Signer};
use http_body_util::{BodyExt as _, Empty};
use hyper::Request;
use hyper::body::Bytes;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;

use self::lives::{Act, Life, When};
use self::real::Real;
use self::scripted::Scripted;
use self::seen::Seen;

const NAMESPACE: &str = "default";
const NAME: &str = "revenue";
const IDENTITY: &str = "1f0e5b0a-6f4a-4f0f-9c57-3a1f6b1d2c3e";
const LOOK: Duration = Duration::from_millis(5);
/// A minute.
const MOST_LOOKS: u32 = 12_000;
/// Steps of a life take no longer than that in either of them, so that every state is seen.
const PATIENCE: Duration = Duration::from_secs(2);

/// A worker, as whoever started it sees it.
trait Process {
    fn address(&self) -> SocketAddr;
    /// SIGTERM.
    fn stop(&self) -> Result<()>;
    /// Exit code and last words.
    fn ended(&mut self) -> Result<Option<(i32, String)>>;
}

/// Where workers of one pipeline live, one after another or beside each other.
trait Place {
    async fn start(&mut self, life: &Life) -> Result<Box<dyn Process>>;
    /// Told after each answer of a worker: targets that are away come back after a while.
    fn meanwhile(&mut self, life: &Life, report: &Value);
    fn now_ms(&self) -> u64;
}

/// Who asks.
struct Asker {
    client: Client<HttpConnector, Empty<Bytes>>,
    signer: Signer,
}

impl Asker {
    fn new() -> Result<Self> {
        let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519)?;
        let signer = Signer::from_pem(&pair.serialize_pem())?;
        Ok(Self { client: Client::builder(TokioExecutor::new()).build_http(), signer })
    }

    /// None while it does not listen yet, or no more.
    async fn state(&self, address: SocketAddr, now_ms: u64) -> Result<Option<Value>> {
        let look = Look { pipeline: format!("{NAMESPACE}/{NAME}"), expires_ms: now_ms + LASTS_MS };
        let asked = async {
            let request = Request::get(format!("http://{address}/state"));
            let token = format!("Bearer {}", self.signer.sign_look(&look));
            let answer = self.client.request(request.header("authorization", token).body(Empty::new())?).await?;
            anyhow::ensure!(answer.status().is_success(), "{}", answer.status());
            Ok(answer.into_body().collect().await?.to_bytes())
        };
        match tokio::time::timeout(PATIENCE, asked).await {
            Ok(Ok(body)) => Ok(Some(serde_json::from_slice(&body)?)),
            Ok(Err(_)) | Err(_) => Ok(None),
        }
    }

    /// The answer's code.
    async fn post(&self, address: SocketAddr, token: &str) -> Result<u16> {
        let request = Request::post(format!("http://{address}/checkpoint"));
        let request = request.header("authorization", format!("Bearer {token}")).body(Empty::new())?;
        Ok(self.client.request(request).await?.status().as_u16())
    }

    fn token(&self, pipeline: &str, id: &str, savepoint: bool, now_ms: u64) -> String {
        let expires_ms = now_ms + LASTS_MS;
        self.signer.sign(&Ask { pipeline: pipeline.to_owned(), id: id.to_owned(), savepoint, expires_ms })
    }
}

/// Lives each life in both ways; what is different, in words.
///
/// # Errors
/// A life cannot be lived, or does not come to its end.
pub async fn differences(binary: &Path) -> Result<Vec<String>> {
    let mut different = vec![];
    for (name, units, lives) in lives::all() {
        let asker = Asker::new()?;
        let mut real = Real::new(binary, units, asker.signer.public_key())?;
        let real = all(&mut real, &asker, &lives).await.with_context(|| format!("{name}, really"))?;
        let mut scripted = Scripted::new(units, &lives, asker.signer.public_key()).await?;
        let scripted = all(&mut scripted, &asker, &lives).await.with_context(|| format!("{name}, by the script"))?;
        for ((life, real), scripted) in lives.iter().zip(real).zip(scripted) {
            println!("{name}, {}: {:?}, {}, {:?}", life.name, real.states, real.code, real.left);
            if real != scripted {
                different.push(format!("{name}, {}: {}", life.name, real.difference(&scripted)));
            }
            if let Some(untold) = life.tells.iter().find(|field| !real.tells(field)) {
                different.push(format!("{name}, {}: the real one never told {untold}", life.name));
            }
        }
    }
    Ok(different)
}

async fn all(place: &mut impl Place, asker: &Asker, lives: &[Life]) -> Result<Vec<Seen>> {
    let mut seen = vec![];
    for life in lives {
        seen.push(live(place, asker, life).await.with_context(|| life.name.to_owned())?);
    }
    Ok(seen)
}

async fn live(place: &mut impl Place, asker: &Asker, life: &Life) -> Result<Seen> {
    let mut process = place.start(life).await?;
    let mut others = vec![];
    let mut seen = Seen::default();
    let mut acts = life.acts.iter().peekable();
    for _ in 0..MOST_LOOKS {
        let report = asker.state(process.address(), place.now_ms()).await?;
        if let Some(report) = &report {
            seen.hears(report);
            place.meanwhile(life, report);
            while let Some((_, act)) = acts.next_if(|(when, _)| is_time(*when, report)) {
                let now_ms = place.now_ms();
                let own = format!("{NAMESPACE}/{NAME}");
                let (pipeline, id, savepoint) = match act {
                    Act::Checkpoint => (own.as_str(), "a", false),
                    Act::Savepoint => (own.as_str(), "b", true),
                    Act::OfAnother => ("default/another", "c", false),
                    Act::Stop => {
                        process.stop()?;
                        continue;
                    }
                    Act::Another => {
                        others.push(place.start(&lives::another()).await?);
                        continue;
                    }
                };
                let token = asker.token(pipeline, id, savepoint, now_ms);
                seen.answers.push(asker.post(process.address(), &token).await?);
            }
        }
        if let Some((code, left)) = process.ended()? {
            seen.ends(code, &left);
            anyhow::ensure!(acts.peek().is_none(), "it ended before everything was done to it: {seen:?}");
            return Ok(if life.is_quick { seen.end() } else { seen });
        }
        tokio::time::sleep(LOOK).await;
    }
    bail!("it does not end: {seen:?}")
}

fn is_time(when: When, report: &Value) -> bool {
    let is_in = |state: &str| report["state"] == state;
    match when {
        When::Recovering => is_in("Recovering"),
        When::Epoch(epoch) => is_in("Running") && report["checkpoints"]["newest"]["epoch"].as_u64() >= Some(epoch),
        When::Owes => {
            let is_own = report["checkpoints"]["newest"]["attempt"] == report["log"]["attempt"];
            is_in("Running") && is_own && report["pendingCommits"].as_array().is_some_and(|all| !all.is_empty())
        }
        When::Settled => is_in("Running") && report["pendingCommits"].as_array().is_some_and(Vec::is_empty),
        When::Taken(id) => report["requested"]["id"] == id && report["requested"]["taken"].is_object(),
        When::Beyond(id) => {
            let (taken, newest) = (&report["requested"]["taken"]["epoch"], &report["checkpoints"]["newest"]["epoch"]);
            report["requested"]["id"] == id && taken.is_u64() && newest.as_u64() > taken.as_u64()
        }
    }
}
