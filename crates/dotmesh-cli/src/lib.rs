//! `dm`, the command line of Dotmesh: git for the state of a running app.
//!
//! Each command is one file under `commands`. All commands share four types: `Context` (configuration, node, output), `Ui`
//! (the only printer), `CliError` (the only error type), and `Environment` (the only reader of environment variables).

pub mod browser;
pub mod cli;
pub mod commands;
pub mod config;
pub mod context;
pub mod current;
pub mod dot_word;
pub mod environment;
pub mod error;
pub mod fetch;
pub mod git;
pub mod graph;
pub mod hub;
pub mod hub_state;
pub mod lookalike;
pub mod message;
pub mod near;
pub mod network;
pub mod place;
pub mod progress;
pub mod reference;
pub mod since;
pub mod start;
pub mod switching;
pub mod table;
pub mod transfer;
pub mod ui;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser as _;

use crate::cli::Cli;
use crate::context::Context;
use crate::environment::Environment;
use crate::error::{CliError, Result};
use crate::ui::Ui;

/// Runs `dm` with the process's arguments. Returns its exit code.
pub fn run() -> ExitCode {
    let ui = Ui::default();
    let result = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => {
            let result = runtime.block_on(execute(ui, std::env::args_os()));
            // After Ctrl-C at a question, a blocking thread still reads stdin. Do not wait for it.
            runtime.shutdown_background();
            result
        }
        Err(error) => Err(CliError::failed("cannot start").caused_by(error)),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            ui.error(&error);
            ExitCode::from(error.exit_code())
        }
    }
}

async fn execute(ui: Ui, arguments: impl IntoIterator<Item = OsString>) -> Result<()> {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) if error.use_stderr() => return Err(CliError::command_line(&error)),
        Err(help) => return ui.out(&help.render().to_string()),
    };
    let ui = if cli.global.verbose { ui.verbose() } else { ui };
    let context = Context::new(ui, Environment::read(), cli.global)?;
    let interrupted = CliError::interrupted(cli.command.goes_on_without_us());
    tokio::select! {
        // Some commands handle Ctrl-C themselves, so the command is polled first.
        biased;
        result = commands::run(&context, cli.command) => result,
        _ = tokio::signal::ctrl_c() => Err(interrupted),
    }
}
