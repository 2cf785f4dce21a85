//! From the command line to an exit code.

use std::process::ExitCode;

use clap::Parser;
use onceward::cli::{Cli, Command};
use onceward::commands::{self, Error};
use onceward::screen::{Screen, with_causes};
use onceward::telemetry::{self, Detail, LogFormat};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(refusal) => {
            // Help that nobody reads to its end is no fault.
            let _ = refusal.print();
            return ExitCode::from(u8::try_from(refusal.exit_code()).unwrap_or(commands::REFUSED));
        }
    };
    match &cli.command {
        Command::Worker(args) => telemetry::begin(args.log_format, Detail::Attempts),
        Command::Controller(args) => telemetry::begin(args.log_format, Detail::Attempts),
        _ => telemetry::begin(LogFormat::Text, Detail::Warnings),
    }
    let screen = Screen::of_process();
    let ended = match &cli.command {
        Command::Completion(args) => commands::completion::execute(args, screen),
        Command::Run(args) => commands::run::execute(args, screen),
        Command::Demo(args) => commands::demo::execute(args, screen),
        Command::Lint(args) => commands::lint::execute(args, screen),
        Command::Commit(args) => commands::settle::execute(args, screen),
        Command::Transactions(args) => commands::transactions::execute(args, screen),
        Command::Worker(args) => commands::worker::execute(args),
        Command::Controller(args) => commands::controller::execute(args),
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
