//! The engine's own log: warnings on standard error, more by `ONCEWARD_LOG` (`info`, `runtime::coordinator=debug`).

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

/// The environment variable that says what is logged; what it says wrongly is left out.
pub const VARIABLE: &str = "ONCEWARD_LOG";

/// Called once, before anything can be logged.
pub fn begin() {
    let filter =
        EnvFilter::builder().with_default_directive(LevelFilter::WARN.into()).with_env_var(VARIABLE).from_env_lossy();
    let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colours).init();
}
