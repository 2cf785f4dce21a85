//! A proxy on loopback that knows HTTP/1.1 as far as S3 clients use it, and loses, delays or repeats what a test tells it
//! to. Every fault is counted. Signatures stay good: nothing that is signed is changed.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use anyhow::{Context as _, Result};
use stage::ports::Port;

/// Larger requests end the connection.
const MOST_BODY: usize = 64 << 20;
const MOST_HEAD: u64 = 64 << 10;
/// A server that is silent for longer ends the connection.
const PATIENCE: Duration = Duration::from_secs(30);

/// What happens to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It reaches the server and is answered; the answer goes nowhere, and the connection ends.
    LoseReply,
    /// It does not reach the server, and the connection ends.
    LoseRequest,
    /// As `LoseRequest`, but it is kept, and reaches the server when the test says so.
    Late,
    /// It passes, and a copy of it is kept.
    Copy,
    /// As if the server did not know `If-None-Match`: the object, a file in this folder of buckets, is gone before the
    /// request arrives.
    Forget(PathBuf),
}

/// Which requests, and how often.
struct Rule {
    method: &'static str,
    /// What the target must hold.
    part: String,
    fault: Fault,
    /// Every how many of these.
    every: u64,
    left: u64,
    seen: u64,
}

#[derive(Default)]
struct State {
    upstream: String,
    is_over: bool,
    rules: Vec<Rule>,
    done: Vec<Fault>,
    kept: Vec<Vec<u8>>,
}

type Shared = Arc<Mutex<State>>;

/// Listens until it is dropped.
pub struct Proxy {
    port: Port,
    shared: Shared,
    acceptor: Option<JoinHandle<()>>,
}

struct Request {
    method: String,
    target: String,
    bytes: Vec<u8>,
}

impl Proxy {
    /// Forwards to `upstream` (`127.0.0.1:<port>`).
    ///
    /// # Errors
    /// What the system says.
    pub fn start(upstream: &str) -> Result<Self> {
        let port = Port::reserve()?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port.number))?;
        let shared = Shared::default();
        upstream.clone_into(&mut locked(&shared).upstream);
        let theirs = Arc::clone(&shared);
        let acceptor = Builder::new().name("s3-proxy".into()).spawn(move || accept(&listener, &theirs))?;
        Ok(Self { port, shared, acceptor: Some(acceptor) })
    }

    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port.number)
    }

    /// Of the requests with this method whose target holds `part`, every `every`th meets `fault`, `count` in all.
    pub fn inject(&self, (method, part): (&'static str, &str), fault: Fault, every: u64, count: u64) {
        let rule = Rule { method, part: part.to_owned(), fault, every, left: count, seen: 0 };
        locked(&self.shared).rules.push(rule);
    }

    /// Faults so far.
    pub fn injected(&self) -> usize {
        locked(&self.shared).done.len()
    }

    /// Sends what was kept, in its order; the status of each answer.
    ///
    /// # Errors
    /// The server does not answer.
    pub fn release(&self) -> Result<Vec<u16>> {
        let (kept, upstream) = {
            let mut state = locked(&self.shared);
            (std::mem::take(&mut state.kept), state.upstream.clone())
        };
        kept.iter().map(|request| status(&forward(&upstream, request)?).context("no answer")).collect()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // Requests that are on their way end by themselves, at the latest when the server or PATIENCE does.
        locked(&self.shared).is_over = true;
        // Wakes the acceptor.
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port.number));
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
    }
}

impl State {
    /// The fault that this request meets, if any.
    fn judge(&mut self, request: &Request) -> Option<Fault> {
        for rule in &mut self.rules {
            if rule.left == 0 || rule.method != request.method || !request.target.contains(&rule.part) {
                continue;
            }
            rule.seen += 1;
            if rule.seen % rule.every == 0 {
                rule.left -= 1;
                self.done.push(rule.fault.clone());
                return Some(rule.fault.clone());
            }
        }
        None
    }
}

fn locked(shared: &Shared) -> MutexGuard<'_, State> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

fn accept(listener: &TcpListener, shared: &Shared) {
    for client in listener.incoming().flatten() {
        if locked(shared).is_over {
            return;
        }
        let theirs = Arc::clone(shared);
        // A connection that cannot be served ends: that is what its client would see of a dead server.
        let _ = Builder::new().name("s3-proxy-client".into()).spawn(move || {
            let _ = serve(&client, &theirs);
            let _ = client.shutdown(Shutdown::Both);
        });
    }
}

/// One request, one answer.
fn serve(client: &TcpStream, shared: &Shared) -> Result<()> {
    client.set_nodelay(true)?;
    let request = read_request(client)?;
    let (fault, upstream) = {
        let mut state = locked(shared);
        let fault = state.judge(&request);
        if matches!(fault, Some(Fault::Late | Fault::Copy)) {
            state.kept.push(request.bytes.clone());
        }
        (fault, state.upstream.clone())
    };
    match fault {
        Some(Fault::LoseRequest | Fault::Late) => return Ok(()),
        Some(Fault::LoseReply) => {
            forward(&upstream, &request.bytes)?;
            return Ok(());
        }
        Some(Fault::Forget(buckets)) => {
            // It may not exist: then there is nothing to forget.
            let _ = std::fs::remove_file(buckets.join(request.target.trim_start_matches('/')));
        }
        Some(Fault::Copy) | None => {}
    }
    let mut client = client;
    Ok(client.write_all(&forward(&upstream, &request.bytes)?)?)
}

fn read_request(client: &TcpStream) -> io::Result<Request> {
    let mut reader = BufReader::new(client.take(MOST_HEAD));
    let (mut head, mut length) = (Vec::new(), 0);
    let mut first = String::new();
    // Bounded by MOST_HEAD.
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let (name, value) = line.split_once(':').unwrap_or((line.as_str(), ""));
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.trim().parse().map_err(|_| io::ErrorKind::InvalidData)?,
            // Ours follows; it is never signed.
            "connection" => continue,
            "\r\n" => break,
            _ => {}
        }
        if first.is_empty() {
            first.clone_from(&line);
        }
        head.extend_from_slice(line.as_bytes());
    }
    if length > MOST_BODY {
        return Err(io::ErrorKind::InvalidData.into());
    }
    head.extend_from_slice(b"Connection: close\r\n\r\n");
    let begin = head.len();
    head.resize(begin + length, 0);
    reader.get_mut().set_limit(length as u64);
    reader.read_exact(head.get_mut(begin..).unwrap_or_default())?;
    let mut words = first.split(' ').map(str::to_owned);
    Ok(Request { method: words.next().unwrap_or_default(), target: words.next().unwrap_or_default(), bytes: head })
}

/// The whole answer: the server ends the connection behind it.
fn forward(upstream: &str, request: &[u8]) -> Result<Vec<u8>> {
    let mut server = TcpStream::connect(upstream)?;
    server.set_read_timeout(Some(PATIENCE))?;
    server.write_all(request)?;
    let mut answer = Vec::new();
    server.read_to_end(&mut answer)?;
    Ok(answer)
}

/// `HTTP/1.1 <status> ...`
fn status(answer: &[u8]) -> Option<u16> {
    let line = answer.split(|byte| *byte == b'\r').next()?;
    std::str::from_utf8(line).ok()?.split(' ').nth(1)?.parse().ok()
}
