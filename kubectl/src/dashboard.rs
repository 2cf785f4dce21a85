//! `kubectl onceward dashboard`: the worker's page under an address of this machine. Each connection is forwarded to the
//! worker that runs by then, so that a page in a browser goes on over restarts.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use futures::future::BoxFuture;
use kube::{Client, ResourceExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{Sender, channel};
use tokio::task::JoinSet;

use crate::DONE;
use crate::cli::DashboardArgs;
use crate::site::{Error, Site};
use crate::terminal::{Gone, Terminal, Tone};
use crate::worker::line;

/// At once; a browser opens six for a page.
const MOST_CONNECTIONS: usize = 32;

/// Serves until `stop`; says the address once it can be opened.
///
/// # Errors
/// [`Error::Io`] for a port that is taken; [`Error::NotDone`] where no worker runs.
pub(crate) async fn execute(site: &Site<'_>, args: &DashboardArgs, mut stop: BoxFuture<'_, ()>) -> Result<u8, Error> {
    tokio::select! {
        () = &mut stop => return Ok(DONE),
        found = find(site, &args.name) => found?,
    }
    let what = format!("listen on 127.0.0.1:{}, choose another with --port, or 0", args.port);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, args.port)).await;
    let listener = listener.map_err(|source| Error::Io { what: what.clone(), source })?;
    let address = listener.local_addr().map_err(|source| Error::Io { what, source })?;
    site.terminal.say(&format!("http://{address}/"))?;
    site.terminal.tell(&format!("the page of {}/{}, read-only; Ctrl-C ends it", site.namespace, args.name));
    let target =
        Arc::new(Target { client: site.client.clone(), namespace: site.namespace.clone(), name: args.name.clone() });
    // What there is no room for is as good as said: others failed, too.
    let (tell, mut told) = channel::<String>(MOST_CONNECTIONS);
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = &mut stop => return Ok(DONE),
            Some(_) = connections.join_next() => {}
            Some(error) = told.recv() => site.terminal.tell(&error),
            accepted = listener.accept(), if connections.len() < MOST_CONNECTIONS => match accepted {
                Ok((stream, peer)) => {
                    connections.spawn(forward(Arc::clone(&target), stream, peer, tell.clone()));
                }
                Err(error) => site.terminal.tell(&format!("a connection was not accepted: {error}")),
            },
        }
    }
}

/// A worker that runs.
async fn find(site: &Site<'_>, name: &str) -> Result<(), Error> {
    site.pipeline(name).await?;
    match site.running_worker(name).await? {
        Some(_) => Ok(()),
        None => Err(Error::NotDone(format!(
            "no worker of `{name}` runs, so there is no page; see `kubectl onceward status {name}`"
        ))),
    }
}

/// Whose page it is; asks by itself, as connections outlive nobody's borrow.
struct Target {
    client: Client,
    namespace: String,
    name: String,
}

async fn forward(target: Arc<Target>, mut stream: TcpStream, peer: SocketAddr, tell: Sender<String>) {
    if !peer.ip().is_loopback() {
        return;
    }
    let site = Site {
        client: target.client.clone(),
        namespace: target.namespace.clone(),
        terminal: &Silence,
        now_ms: &crate::now_ms,
    };
    let forwarded = async {
        let pod = site.running_worker(&target.name).await?;
        let pod = pod.ok_or_else(|| Error::NotDone(format!("no worker of `{}` runs at the moment", target.name)))?;
        let mut line = line(&site, &pod.name_any()).await?;
        // A browser that leaves is no fault.
        let _ = tokio::io::copy_bidirectional(&mut stream, &mut line.stream).await;
        Ok::<(), Error>(())
    };
    if let Err(error) = forwarded.await {
        let _ = tell.try_send(error.to_string());
    }
}

/// Connections say nothing themselves.
struct Silence;

impl Terminal for Silence {
    fn say(&self, _: &str) -> Result<(), Gone> {
        Ok(())
    }

    fn tell(&self, _: &str) {}

    fn fault(&self, _: &str) {}

    fn paint(&self, _: Tone, text: &str) -> String {
        text.to_owned()
    }
}
