//! `onceward controller`: Pipelines of a cluster become worker pods.

use std::sync::Arc;

use controller::cluster::{self, Options, Reports, SystemClock};
use controller::observe::Settings;
use tokio::signal::unix::{SignalKind, signal};

use super::{DONE, Error, io};
use crate::cli::ControllerArgs;

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
    let stop = stopped()?;
    let unreachable = |error: kube::Error| Error::Other(format!("the API server cannot be spoken to: {error}"));
    let mut config = kube::Config::infer().await.map_err(|error| unreachable(kube::Error::InferConfig(error)))?;
    // Repetitions inside of the client would turn "unknown" into a wrong "somebody else has done it".
    config.default_retry = false;
    let client = kube::Client::try_from(config).map_err(unreachable)?;
    let version = client.apiserver_version().await.map_err(unreachable)?;
    tracing::info!(server = %version.git_version, "looking after Pipelines");
    let settings = Settings { image: args.worker_image.clone(), service_account: args.worker_service_account.clone() };
    let options = Options {
        settings,
        namespace: args.watch_namespace.clone(),
        clock: Arc::new(SystemClock),
        workers: Arc::new(Reports::default()),
    };
    cluster::run(client, options, stop).await;
    tracing::info!("stopped as told");
    Ok(DONE)
}

/// Ends with `SIGINT` or `SIGTERM`.
fn stopped() -> Result<impl Future<Output = ()> + Send + Sync + 'static, Error> {
    let listen = |kind| signal(kind).map_err(io("listen for signals"));
    let (mut interrupt, mut terminate) = (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?);
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => (),
            _ = terminate.recv() => (),
        }
    })
}
