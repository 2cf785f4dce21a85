//! The engine's own log: warnings on standard error, more by `ONCEWARD_LOG` (`info`, `runtime::coordinator=debug`).
//! Where nobody watches (on a cluster) it is all there is to read: then it tells of attempts, too.

use std::fmt;
use std::io::IsTerminal as _;

use runtime::clock::{Clock, SystemClock};
use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// The environment variable that says what is logged; what it says wrongly is left out.
pub const VARIABLE: &str = "ONCEWARD_LOG";

/// How lines are written, and for whom.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    #[default]
    Text,
    /// One object a line.
    Json,
}

/// What is logged where nobody has said it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    Warnings,
    /// And what becomes of each attempt.
    Attempts,
    /// Of commands that say their errors themselves, where libraries would say them, too.
    Nothing,
}

/// Called once, before anything can be logged.
pub fn begin(format: LogFormat, detail: Detail) {
    let is_said = std::env::var_os(VARIABLE).is_some_and(|value| !value.is_empty());
    let filter = match detail {
        Detail::Attempts if !is_said => EnvFilter::new("warn,onceward=info,controller=info"),
        Detail::Nothing if !is_said => EnvFilter::new("off"),
        Detail::Attempts | Detail::Nothing | Detail::Warnings => EnvFilter::builder()
            .with_default_directive(LevelFilter::WARN.into())
            .with_env_var(VARIABLE)
            .from_env_lossy(),
    };
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        LogFormat::Json => log.event_format(JsonLines).init(),
        LogFormat::Text => {
            let colours =
                std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
            log.with_ansi(colours).init();
        }
    }
}

/// `{"timestampMs":…,"level":"INFO","target":"…","message":"…",…}`, one object a line. (The feature of the same name would
/// bring features into `tracing-core` that everything else is built without.)
struct JsonLines;

impl<S, N> FormatEvent<S, N> for JsonLines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut out: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        writeln!(out, "{}", object(event))
    }
}

fn object(event: &Event<'_>) -> Value {
    let mut fields = Fields(Map::new());
    event.record(&mut fields);
    let Fields(mut object) = fields;
    // Last, so that no field takes their names.
    object.insert("timestampMs".to_owned(), SystemClock.wall_ms().into());
    object.insert("level".to_owned(), event.metadata().level().as_str().into());
    object.insert("target".to_owned(), event.metadata().target().into());
    Value::Object(object)
}

/// An event's fields, each under its name.
struct Fields(Map<String, Value>);

impl Visit for Fields {
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.0.insert(field.name().to_owned(), value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.0.insert(field.name().to_owned(), value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.0.insert(field.name().to_owned(), value.into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name().to_owned(), value.into());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name().to_owned(), format!("{value:?}").into());
    }
}
