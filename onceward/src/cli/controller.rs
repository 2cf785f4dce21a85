//! Arguments of the controller.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, ValueHint};

use crate::telemetry::LogFormat;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  onceward controller --worker-image registry.example/onceward:0.1.0
  onceward controller --worker-image onceward:dev --watch-namespaces shop,billing     with rights in these only
  KUBECONFIG=~/.kube/config onceward controller --worker-image onceward:dev --log-format text

It needs the rights that the chart gives it. It reads no Secret and no checkpoint; workers go on while it is away. Several
may run: with a lease one is active, and safety does not rest on it.

Exit codes:
  0  told to stop
  1  the API server cannot be spoken to as configured, or the key or the address is not to be had")]
pub struct ControllerArgs {
    /// Image of workers whose Pipeline names none
    #[arg(long, value_name = "IMAGE")]
    pub worker_image: String,

    /// Service account of worker pods; it needs no rights, and its token is not mounted
    #[arg(long, value_name = "NAME", default_value = "default")]
    pub worker_service_account: String,

    /// Look after Pipelines of these namespaces only [default: of all]
    #[arg(long, value_name = "NAMESPACE,...", value_delimiter = ',')]
    pub watch_namespaces: Vec<String>,

    /// Serve /metrics, /healthz and /readyz here
    #[arg(long, value_name = "ADDR")]
    pub metrics: Option<SocketAddr>,

    /// Namespace of the lease that makes one of several controllers the active one [default: no lease]
    #[arg(long, value_name = "NAMESPACE", requires = "lease_name")]
    pub lease_namespace: Option<String>,

    /// Name of the lease
    #[arg(long, value_name = "NAME", requires = "lease_namespace")]
    pub lease_name: Option<String>,

    /// Folder with ed25519.pem (PKCS #8), which signs requests to workers; without it nobody can ask for a checkpoint
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub signing_key_dir: Option<PathBuf>,

    /// How the log on standard error is written
    #[arg(long, value_enum, default_value_t = LogFormat::Json)]
    pub log_format: LogFormat,
}
