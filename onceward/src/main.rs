//! From the command line to an exit code.

use std::path::Path;
use std::process::ExitCode;

use clap::Parser;
use onceward::cli::{Cli, Command, KubectlCli, PLUGIN};
use onceward::commands::{self, Error};
use onceward::screen::{Screen, with_causes};
use onceward::telemetry::{self, Detail, LogFormat};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let command = match parsed() {
        Ok(command) => command,
        Err(refusal) => {
            // Help that nobody reads to its end is no fault.
            let _ = refusal.print();
            return ExitCode::from(u8::try_from(refusal.exit_code()).unwrap_or(commands::REFUSED));
        }
    };
    match &command {
        Command::Worker(args) => telemetry::begin(args.log_format, Detail::Attempts),
        Command::Controller(args) => telemetry::begin(args.log_format, Detail::Attempts),
        Command::Kubectl(_) => telemetry::begin(LogFormat::Text, Detail::Nothing),
        _ => telemetry::begin(LogFormat::Text, Detail::Warnings),
    }
    let screen = Screen::of_process();
    let ended = match &command {
        Command::Completion(args) => commands::completion::execute(args, screen),
        Command::Run(args) => commands::run::execute(args, screen),
        Command::Demo(args) => commands::demo::execute(args, screen),
        Command::Lint(args) => commands::lint::execute(args, screen),
        Command::Commit(args) => commands::settle::execute(args, screen),
        Command::Transactions(args) => commands::transactions::execute(args, screen),
        Command::Worker(args) => commands::worker::execute(args),
        Command::Controller(args) => commands::controller::execute(args),
        Command::Kubectl(args) => commands::kubectl::execute(args, screen),
        Command::Crashpoints(args) => commands::crashpoints::execute(args, screen),
        Command::Checkpoints(args) => commands::checkpoints::execute(args, screen),
    };
    match ended {
        Ok(code) | Err(Error::Gone(code)) => ExitCode::from(code),
        Err(error) => {
            screen.fault(with_causes(&error));
            ExitCode::from(commands::FAILED)
        }
    }
}

/// Under the name `kubectl-onceward` it is kubectl's plugin and nothing else.
fn parsed() -> Result<Command, clap::Error> {
    let is_plugin =
        std::env::args_os().next().is_some_and(|name| Path::new(&name).file_name().is_some_and(|name| name == PLUGIN));
    if is_plugin {
        return KubectlCli::try_parse().map(|cli| Command::Kubectl(cli.args));
    }
    Cli::try_parse().map(|cli| cli.command)
}
