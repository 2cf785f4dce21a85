//! Other stream processors with the benchmark's windowed sum, from Maven's central repository.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::Result;

use super::libraries::{peer, peers};

/// Flink's own scripts open these; without them it does not run on Java 17.
const OPENED: [&str; 5] = ["lang", "util", "nio", "lang.reflect", "time"];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// Flink 2 in one process, state on the heap.
    Flink,
    /// Kafka Streams 4, `exactly_once_v2`.
    Streams,
}

/// One windowed sum from topic to topic.
#[derive(Clone, Copy, Debug)]
pub struct Sum<'a> {
    pub bootstrap: &'a str,
    pub from: &'a str,
    pub to: &'a str,
    pub parallelism: u32,
    pub window: Duration,
    /// Between checkpoints or commits.
    pub interval: Duration,
    /// For checkpoints and state; absolute.
    pub folder: &'a Path,
    /// Ends where the topic ends now; Kafka Streams never does.
    pub is_bounded: bool,
}

impl Peer {
    pub const ALL: [Self; 2] = [Self::Flink, Self::Streams];

    /// The command that runs until it is done or killed.
    ///
    /// # Errors
    /// Java, Maven or a library is missing.
    pub fn command(self, sum: &Sum<'_>) -> Result<Command> {
        let (class, class_path) = match self {
            Self::Flink => ("FlinkSum", peer("flink", &["Order.java", "FlinkSum.java"])?),
            Self::Streams => ("StreamsSum", peer("streams", &["Order.java", "StreamsSum.java"])?),
        };
        let mut java = Command::new("java");
        java.arg("-Xmx1g").arg(format!("-Dlog4j2.configurationFile={}", peers().join("log4j2.properties").display()));
        java.args(OPENED.map(|package| format!("--add-opens=java.base/java.{package}=ALL-UNNAMED")));
        java.args(["-cp", &class_path, class, sum.bootstrap, sum.from, sum.to, &sum.parallelism.to_string()]);
        java.args([sum.window, sum.interval].map(|time| time.as_millis().to_string())).arg(sum.folder);
        if self == Self::Flink {
            java.arg(sum.is_bounded.to_string());
        }
        java.stdin(Stdio::null()).stdout(Stdio::null());
        Ok(java)
    }
}
