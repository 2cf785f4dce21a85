//! A proxy that knows Kafka's framing and loses what a test tells it to lose. Every loss is counted.
//!
//! The broker must advertise it: see `Options::proxy` and `Listener::Proxied`.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};

use crate::ports::Port;
use anyhow::{Context as _, Result};

/// `EndTxn` among Kafka's API keys.
pub const END_TXN: i16 = 26;
/// `InitProducerId`.
pub const INIT_PRODUCER_ID: i16 = 22;
/// `Fetch`.
pub const FETCH: i16 = 1;
/// Records.
pub const PRODUCE: i16 = 0;
/// Larger frames end the connection.
const MOST_FRAME: usize = 64 << 20;

/// What happens to a request of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// It reaches the broker and is answered; the answer goes nowhere, and the connection ends.
    LoseReply,
    /// It does not reach the broker, and the connection ends.
    LoseRequest,
    /// It does not reach the broker, and whoever waits for an answer waits.
    SwallowRequest,
}

#[derive(Default)]
struct State {
    upstream: Option<String>,
    is_cut: bool,
    is_over: bool,
    /// By API key: what to do to how many more.
    faults: BTreeMap<i16, (Fault, u64)>,
    lost: u64,
    /// By API key: requests that reached the broker.
    passed: BTreeMap<i16, u64>,
    /// Both ends of every connection, open or not.
    streams: Vec<TcpStream>,
}

type Shared = Arc<Mutex<State>>;

/// Listens until it is dropped.
pub struct Proxy {
    host: String,
    port: Port,
    shared: Shared,
    acceptor: Option<JoinHandle<()>>,
}

impl Proxy {
    /// Listens on loopback; connections end at once until there is something to [forward to](Self::forward_to).
    ///
    /// # Errors
    /// What the system says.
    pub fn start() -> Result<Self> {
        Self::start_at("127.0.0.1")
    }

    /// Listens at another address of this machine, which the broker's `Options::host` must be then.
    ///
    /// # Errors
    /// As for [`Self::start`].
    pub fn start_at(host: &str) -> Result<Self> {
        let port = Port::reserve()?;
        let listener = TcpListener::bind((host, port.number))?;
        let shared = Shared::default();
        let theirs = Arc::clone(&shared);
        let acceptor = Builder::new().name("proxy".into()).spawn(move || accept(&listener, &theirs))?;
        Ok(Self { host: host.to_owned(), port, shared, acceptor: Some(acceptor) })
    }

    pub fn port(&self) -> u16 {
        self.port.number
    }

    pub fn address(&self) -> String {
        format!("{}:{}", self.host, self.port.number)
    }

    /// Where connections go from now on.
    pub fn forward_to(&self, address: String) {
        locked(&self.shared).upstream = Some(address);
    }

    /// The next `count` requests with this API key reach the broker, and their answers get lost.
    pub fn lose_replies(&self, api: i16, count: u64) {
        locked(&self.shared).faults.insert(api, (Fault::LoseReply, count));
    }

    /// The next `count` requests with this API key get lost.
    pub fn lose_requests(&self, api: i16, count: u64) {
        locked(&self.shared).faults.insert(api, (Fault::LoseRequest, count));
    }

    /// The next `count` requests with this API key get lost, and their connections stay: they are waited for.
    pub fn swallow_requests(&self, api: i16, count: u64) {
        locked(&self.shared).faults.insert(api, (Fault::SwallowRequest, count));
    }

    /// Ends all connections and takes no new ones, or takes them again.
    pub fn cut(&self, is_cut: bool) {
        let mut state = locked(&self.shared);
        state.is_cut = is_cut;
        if is_cut {
            state.hang_up();
        }
    }

    /// Requests and replies lost so far.
    pub fn lost(&self) -> u64 {
        locked(&self.shared).lost
    }

    /// Requests with this API key that reached the broker.
    pub fn passed(&self, api: i16) -> u64 {
        locked(&self.shared).passed.get(&api).copied().unwrap_or_default()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let mut state = locked(&self.shared);
        state.is_over = true;
        state.hang_up();
        drop(state);
        // Wakes the acceptor.
        let _ = TcpStream::connect((self.host.as_str(), self.port.number));
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
    }
}

impl State {
    fn hang_up(&mut self) {
        for stream in self.streams.drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
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
        // A connection that cannot be served ends: that is what its client would see of a dead broker.
        let _ = serve(client, shared);
    }
}

fn serve(client: TcpStream, shared: &Shared) -> Result<()> {
    let upstream = {
        let state = locked(shared);
        state.upstream.clone().filter(|_| !state.is_cut).context("nowhere to go")?
    };
    let broker = TcpStream::connect(upstream)?;
    client.set_nodelay(true)?;
    broker.set_nodelay(true)?;
    // Correlation ids whose answers are to be lost.
    let awaited = Arc::new(Mutex::new(BTreeSet::new()));
    let (theirs, their_awaited) = (Arc::clone(shared), Arc::clone(&awaited));
    let (from_client, to_broker) = (client.try_clone()?, broker.try_clone()?);
    locked(shared).streams.extend([client.try_clone()?, broker.try_clone()?]);
    Builder::new().name("proxy-requests".into()).spawn(move || {
        let _ = requests(&from_client, &to_broker, &theirs, &their_awaited);
        hang_up(&from_client, &to_broker);
    })?;
    let theirs = Arc::clone(shared);
    Builder::new().name("proxy-replies".into()).spawn(move || {
        let _ = replies(&broker, &client, &theirs, &awaited);
        hang_up(&client, &broker);
    })?;
    Ok(())
}

fn hang_up(client: &TcpStream, broker: &TcpStream) {
    let _ = client.shutdown(Shutdown::Both);
    let _ = broker.shutdown(Shutdown::Both);
}

fn requests(
    mut from: &TcpStream,
    mut to: &TcpStream,
    shared: &Shared,
    awaited: &Mutex<BTreeSet<i32>>,
) -> io::Result<()> {
    loop {
        let frame = frame(&mut from)?;
        let field = |range| frame.get::<std::ops::Range<usize>>(range).ok_or(ErrorKind::InvalidData);
        let api = i16::from_be_bytes(field(4..6)?.try_into().map_err(|_| ErrorKind::InvalidData)?);
        let correlation = i32::from_be_bytes(field(8..12)?.try_into().map_err(|_| ErrorKind::InvalidData)?);
        let mut state = locked(shared);
        match state.faults.get_mut(&api).filter(|(_, left)| *left > 0) {
            Some((Fault::LoseRequest, left)) => {
                *left -= 1;
                state.lost += 1;
                return Ok(());
            }
            Some((Fault::SwallowRequest, left)) => {
                *left -= 1;
                state.lost += 1;
                continue;
            }
            Some((Fault::LoseReply, left)) => {
                *left -= 1;
                awaited.lock().unwrap_or_else(PoisonError::into_inner).insert(correlation);
            }
            None => (),
        }
        *state.passed.entry(api).or_default() += 1;
        drop(state);
        to.write_all(&frame)?;
    }
}

fn replies(
    mut from: &TcpStream,
    mut to: &TcpStream,
    shared: &Shared,
    awaited: &Mutex<BTreeSet<i32>>,
) -> io::Result<()> {
    loop {
        let frame = frame(&mut from)?;
        let field = frame.get(4..8).ok_or(ErrorKind::InvalidData)?;
        let correlation = i32::from_be_bytes(field.try_into().map_err(|_| ErrorKind::InvalidData)?);
        if awaited.lock().unwrap_or_else(PoisonError::into_inner).remove(&correlation) {
            locked(shared).lost += 1;
            return Ok(());
        }
        to.write_all(&frame)?;
    }
}

/// One frame with its length before it.
fn frame(from: &mut &TcpStream) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    from.read_exact(&mut length)?;
    let size = usize::try_from(i32::from_be_bytes(length)).map_err(|_| ErrorKind::InvalidData)?;
    if size > MOST_FRAME {
        return Err(ErrorKind::InvalidData.into());
    }
    let mut frame = length.to_vec();
    frame.resize(4 + size, 0);
    from.read_exact(frame.get_mut(4..).ok_or(ErrorKind::InvalidData)?)?;
    Ok(frame)
}
