//! Arguments of a worker on a cluster.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use api::token::Verifier;
use checkpoint::ids::{Attempt, Epoch, PipelineId};
use checkpoint::record::DecisionId;
use clap::{Args, ValueEnum, ValueHint};

use super::{parse_decision, parse_duration};
use crate::telemetry::LogFormat;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  onceward worker --pipeline /etc/onceward/pipeline.yaml --identity 1f0e5b0a-6f4a-4f0f-9c57-3a1f6b1d2c3e
  onceward worker --pipeline pipeline.yaml --listen 127.0.0.1:9464 --log-format text
  onceward worker --pipeline pipeline.yaml --purpose commit --termination-log /dev/termination-log

As `onceward run`, for a pod: nobody watches, so it writes a log, serves what it does at /state (beside /metrics, /healthz
and /readyz), and leaves a report of its end in one line of JSON.

Exit codes:
  0  done, or already finished, or stopped by a signal with everything committed
  1  the pipeline failed
  2  the manifest or the command line was refused
  3  fenced: a newer run has taken over
  4  stopped before the last checkpoint was settled; the next run finishes it
  128 + signal  told twice to stop")]
pub struct WorkerArgs {
    /// Manifest of one Pipeline
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub pipeline: PathBuf,

    /// run: until it finishes, fails or is stopped; commit: finish the commits of the newest checkpoint and leave; delete: as
    /// commit, then close the log and delete the state of all checkpoints but savepoints
    #[arg(long, value_enum, default_value_t = Purpose::Run)]
    pub purpose: Purpose,

    /// Newest attempt that is known to be this pipeline's own: if anybody has run since, nothing is deleted
    #[arg(long, value_name = "ATTEMPT", required_if_eq("purpose", "delete"))]
    pub claimed: Option<u64>,

    /// Id of the pipeline, instead of one that is drawn; a log of another id is finished with, and a new one begun
    #[arg(long, value_name = "UUID", value_parser = parse_identity)]
    pub identity: Option<PipelineId>,

    /// Newest checkpoint that somebody has heard of: a log of this pipeline that ends before it has lost data
    #[arg(long, value_name = "PIPELINEID/ATTEMPT/EPOCH", value_parser = parse_floor)]
    pub floor: Option<(PipelineId, DecisionId)>,

    /// Restore from this checkpoint, and go on with its log whatever its pipeline's id
    #[arg(long, value_name = "HANDLE", conflicts_with = "accept_loss")]
    pub restore: Option<String>,

    /// Go on although commits of this checkpoint are proven lost
    #[arg(long, value_name = "ATTEMPT/EPOCH", requires = "reason", value_parser = parse_decision)]
    pub accept_loss: Option<(u64, u64)>,

    /// Why the loss is accepted; stands in the checkpoint log for ever
    #[arg(long, value_name = "TEXT", requires = "accept_loss")]
    pub reason: Option<String>,

    /// Go on although the log ends before --floor, or before a checkpoint whose output is visible
    #[arg(long)]
    pub accept_rewind: bool,

    /// Hash of the configuration; told in the report
    #[arg(long, value_name = "HASH", default_value = "")]
    pub configuration: String,

    /// Serve /state, /metrics, /healthz and /readyz here
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<SocketAddr>,

    /// Public key of the controller (Ed25519, base64): takes its requests for checkpoints at POST /checkpoint
    #[arg(long, value_name = "KEY", value_parser = Verifier::new, requires = "listen")]
    pub controller_key: Option<Verifier>,

    /// Folder of secrets, one folder each with a file for each key [default: `secrets` beside the manifest]
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub secrets_dir: Option<PathBuf>,

    /// How long the last checkpoint may take after SIGTERM or SIGINT
    #[arg(long, value_name = "DURATION", default_value = "25s", value_parser = parse_duration)]
    pub grace: Duration,

    /// Where the report of the end is written
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub termination_log: Option<PathBuf>,

    /// How the log on standard error is written
    #[arg(long, value_enum, default_value_t = LogFormat::Json)]
    pub log_format: LogFormat,
}

/// What a worker is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Purpose {
    Run,
    Commit,
    Delete,
}

/// A UUID with or without dashes, in either case.
fn parse_identity(text: &str) -> Result<PipelineId, String> {
    let wrong = || format!("`{text}` is not a UUID");
    let bare = text.replace('-', "").to_ascii_lowercase();
    let is_spelled = !text.contains('-') || text.split('-').map(str::len).eq([8, 4, 4, 4, 12]);
    if is_spelled { bare.parse().map_err(|_| wrong()) } else { Err(wrong()) }
}

fn parse_floor(text: &str) -> Result<(PipelineId, DecisionId), String> {
    let (id, decision) = text.split_once('/').ok_or("write PIPELINEID/ATTEMPT/EPOCH")?;
    let (attempt, epoch) = parse_decision(decision)?;
    Ok((parse_identity(id)?, DecisionId { attempt: Attempt(attempt), epoch: Epoch(epoch) }))
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::{Cli, Command};

    fn parsed(more: &[&str]) -> Option<WorkerArgs> {
        let words = ["onceward", "worker", "--pipeline", "f"].into_iter().chain(more.iter().copied());
        match Cli::try_parse_from(words).ok()?.command {
            Command::Worker(args) => Some(*args),
            _ => None,
        }
    }

    #[test]
    fn an_identity_is_a_uuid_with_or_without_dashes() {
        let id = PipelineId(0x1f0e_5b0a_6f4a_4f0f_9c57_3a1f_6b1d_2c3e);
        for text in ["1f0e5b0a-6f4a-4f0f-9c57-3a1f6b1d2c3e", "1F0E5B0A6F4A4F0F9C573A1F6B1D2C3E"] {
            assert_eq!(parsed(&["--identity", text]).and_then(|args| args.identity), Some(id), "{text}");
        }
        for text in ["", "1f0e5b0a", "1f0e5b0a6f4a-4f0f-9c57-3a1f6b1d2c3e", "1f0e5b0a-6f4a-4f0f-9c57-3a1f6b1d2cxx"] {
            assert!(parsed(&["--identity", text]).is_none(), "{text}");
        }
    }

    #[test]
    fn a_floor_names_pipeline_attempt_and_epoch() {
        let args = parsed(&["--floor", "0000000000000000000000000000000a/3/17"]).and_then(|args| args.floor);
        let decision = DecisionId { attempt: Attempt(3), epoch: Epoch(17) };
        assert_eq!(args, Some((PipelineId(10), decision)));
        for text in ["3/17", "0000000000000000000000000000000a/3", "x/3/17", "0000000000000000000000000000000a/3/x"] {
            assert!(parsed(&["--floor", text]).is_none(), "{text}");
        }
    }

    #[test]
    fn a_loss_needs_a_reason_and_the_newest_checkpoint() {
        assert!(parsed(&["--accept-loss", "1/2"]).is_none());
        assert!(parsed(&["--accept-loss", "1/2", "--reason", "x"]).is_some());
        assert!(parsed(&["--accept-loss", "1/2", "--reason", "x", "--restore", "h"]).is_none());
    }
}
