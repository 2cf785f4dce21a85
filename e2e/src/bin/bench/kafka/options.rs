//! What the command line says.

use anyhow::{Context as _, Result, bail};

const USAGE: &str = "usage: bench kafka [--smoke] [--peers] [--only CASE] [--properties YAML] [--records N] [--rounds N] [--rate N] [--seconds N]";

/// How much is measured.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// Orders that are read as fast as can be.
    pub(crate) records: u64,
    pub(crate) rounds: usize,
    /// Orders a second where latency is measured, and for how long after the start is over.
    pub(crate) rate: u64,
    pub(crate) seconds: u64,
    /// Seconds of the start.
    pub(crate) warm: u64,
    pub(crate) peers: bool,
    /// Begin of the names of cases; empty: all.
    pub(crate) only: String,
    /// Of the connection, as `linger.ms: 50`: to compare settings.
    pub(crate) properties: String,
    /// Just to see that it works, with the binary beside this program.
    pub(crate) is_smoke: bool,
}

impl Options {
    pub(crate) fn parse(arguments: &[String]) -> Result<Self> {
        let mut options = Self {
            records: 5_000_000,
            rounds: 3,
            rate: 10_000,
            seconds: 30,
            warm: 10,
            peers: false,
            only: String::new(),
            properties: String::new(),
            is_smoke: false,
        };
        if arguments.iter().any(|argument| argument == "--smoke") {
            let (records, rounds) = (20_000, 1);
            let (rate, seconds, warm) = (2_000, 2, 1);
            options = Self { records, rounds, rate, seconds, warm, is_smoke: true, ..options };
        }
        let mut left = arguments.iter();
        while let Some(argument) = left.next() {
            match argument.as_str() {
                "--peers" => options.peers = true,
                "--smoke" => {}
                named => {
                    let value = left.next().with_context(|| format!("{named} needs a value; {USAGE}"))?;
                    let number = || value.parse::<u64>().with_context(|| format!("{named} {value}; {USAGE}"));
                    match named {
                        "--only" => options.only.clone_from(value),
                        "--properties" => options.properties.clone_from(value),
                        "--records" => options.records = number()?,
                        "--rounds" => options.rounds = number()?.max(1) as usize,
                        "--rate" => options.rate = number()?.max(1),
                        "--seconds" => options.seconds = number()?,
                        _ => bail!("{named} is unknown; {USAGE}"),
                    }
                }
            }
        }
        Ok(options)
    }

    pub(crate) fn wants(&self, case: &str) -> bool {
        case.starts_with(&self.only)
    }
}
