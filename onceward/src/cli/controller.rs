//! Arguments of the controller.

use clap::Args;

use crate::telemetry::LogFormat;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  onceward controller --worker-image registry.example/onceward:0.1.0
  onceward controller --worker-image onceward:dev --watch-namespace shop     with rights in one namespace only
  KUBECONFIG=~/.kube/config onceward controller --worker-image onceward:dev --log-format text

It needs the rights that the chart gives it. It reads no Secret and no checkpoint; workers go on while it is away.

Exit codes:
  0  told to stop
  1  the API server cannot be spoken to as configured")]
pub struct ControllerArgs {
    /// Image of workers whose Pipeline names none
    #[arg(long, value_name = "IMAGE")]
    pub worker_image: String,

    /// Service account of worker pods; it needs no rights
    #[arg(long, value_name = "NAME", default_value = "onceward-worker")]
    pub worker_service_account: String,

    /// Look after Pipelines of this namespace only [default: of all]
    #[arg(long, value_name = "NAMESPACE")]
    pub watch_namespace: Option<String>,

    /// How the log on standard error is written
    #[arg(long, value_enum, default_value_t = LogFormat::Json)]
    pub log_format: LogFormat,
}
