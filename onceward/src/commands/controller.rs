//! `onceward controller`: Pipelines of a cluster become worker pods.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use api::token::Signer;
use controller::cluster::{self, Lease, Options, Reports};
use controller::observe::Settings;
use runtime::clock::{Random as _, SystemRandom};

use super::signals::Signals;
use super::{DONE, Error, io};
use crate::cli::ControllerArgs;

/// To the API server.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Runs until it is told to stop.
///
/// # Errors
/// No API server is configured, or it cannot be spoken to.
pub fn execute(args: &ControllerArgs) -> Result<u8, Error> {
    let threads = tokio::runtime::Builder::new_multi_thread().enable_all().thread_name("onceward").build();
    let threads = threads.map_err(io("start threads"))?;
    threads.block_on(control(args))
}

async fn control(args: &ControllerArgs) -> Result<u8, Error> {
    let stop = Signals::listen()?.told();
    let unreachable = |error: kube::Error| Error::Other(format!("the API server cannot be spoken to: {error}"));
    let mut config = kube::Config::infer().await.map_err(|error| unreachable(kube::Error::InferConfig(error)))?;
    // Repetitions inside of the client would turn "unknown" into a wrong "somebody else has done it".
    config.default_retry = false;
    // Half a minute by default: for as long nobody would see that it is back.
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    let client = kube::Client::try_from(config).map_err(unreachable)?;
    let version = client.apiserver_version().await.map_err(unreachable)?;
    tracing::info!(server = %version.git_version, "looking after Pipelines");
    let signer = args.signing_key_dir.as_deref().map(signer).transpose()?.map(Arc::new);
    let settings = Settings {
        image: args.worker_image.clone(),
        service_account: args.worker_service_account.clone(),
        controller_key: signer.as_ref().map(|signer| signer.public_key()),
    };
    let lease = args.lease_namespace.clone().zip(args.lease_name.clone());
    let lease = lease.map(|(namespace, name)| Lease { namespace, name, identity: identity() });
    let options = Options {
        namespaces: args.watch_namespaces.clone(),
        metrics: args.metrics,
        lease,
        signer,
        ..Options::new(settings, Arc::new(Reports::default()))
    };
    cluster::run(client, options, stop).await.map_err(|error| Error::Other(error.to_string()))?;
    tracing::info!("stopped as told");
    Ok(DONE)
}

/// The pod's name, and something that the process before it in the same pod had not.
fn identity() -> String {
    let name = std::env::var("HOSTNAME").unwrap_or_else(|_| "controller".to_owned());
    format!("{name}_{:016x}", SystemRandom.u64())
}

fn signer(folder: &Path) -> Result<Signer, Error> {
    let file = folder.join("ed25519.pem");
    let text = std::fs::read_to_string(&file).map_err(io(format!("read {}", file.display())))?;
    Signer::from_pem(&text).map_err(|error| Error::Other(format!("{}: {error}", file.display())))
}
