//! `dm`, the command line of Dotmesh: git for the state of a running app.
//!
//! Each command is one file under `commands`. All commands share four types: `Context` (configuration, node, output), `Ui`
//! (the only printer), `CliError` (the only error type), and `Environment` (the only reader of environment variables).

pub mod browser;
pub mod cli;
pub mod code;
pub mod commands;
pub mod complete;
pub mod compose;
pub mod config;
pub mod context;
pub mod current;
pub mod dot_word;
pub mod environment;
pub mod error;
pub mod fetch;
pub mod forks;
pub mod git;
pub mod graph;
pub mod hub;
pub mod hub_state;
pub mod lookalike;
pub mod message;
pub mod near;
pub mod network;
pub mod node_address;
pub mod output;
pub mod pager;
pub mod paint;
pub mod place;
pub mod progress;
pub mod project_file;
pub mod reference;
pub mod since;
pub mod start;
pub mod switching;
pub mod table;
pub mod transfer;
pub mod tunnel;
pub mod ui;

use std::ffi::OsString;
use std::process::ExitCode;
use std::sync::atomic::Ordering;

use clap::Parser as _;

use crate::cli::Cli;
use crate::context::Context;
use crate::environment::Environment;
use crate::error::{CliError, Result};
use crate::ui::Ui;

/// Runs `dm` with the process's arguments. Returns its exit code.
pub fn run() -> ExitCode {
    complete::answer();
    let words: Vec<OsString> = std::env::args_os().collect();
    let environment = Environment::read();
    let (ui, done) = match Cli::try_parse_from(&words) {
        Ok(cli) => {
            let ui = Ui::new(&cli.global, &environment);
            (ui.clone(), start(ui, environment, cli))
        }
        Err(error) => {
            let words = words.iter().map(OsString::as_os_str);
            let ui = Ui::unparsed(words, &environment);
            let done = if error.use_stderr() {
                Err(CliError::command_line(&error))
            } else {
                ui.out(&error.render().to_string())
            };
            (ui, done)
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            ui.error(&error);
            ExitCode::from(error.exit_code())
        }
    }
}

fn start(ui: Ui, environment: Environment, cli: Cli) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| CliError::io("cannot start").caused_by(error))?;
    let done = runtime.block_on(execute(ui, environment, cli));
    // After Ctrl-C at a question, a blocking thread still reads stdin. Do not wait for it.
    runtime.shutdown_background();
    done
}

async fn execute(ui: Ui, environment: Environment, cli: Cli) -> Result<()> {
    let context = Context::new(ui, environment, cli.global)?;
    if cli.command.cleans_up() {
        return commands::run(&context, cli.command).await;
    }
    let interrupted = CliError::interrupted(cli.command.goes_on_without_us());
    let mut command = std::pin::pin!(commands::run(&context, cli.command));
    tokio::select! {
        // Some commands handle Ctrl-C themselves, so the command is polled first.
        biased;
        result = &mut command => return result,
        _ = tokio::signal::ctrl_c() => {}
    }
    match context.ends_by_itself.load(Ordering::Relaxed) {
        true => command.await,
        false => Err(context.left().into_iter().fold(interrupted, CliError::hint)),
    }
}
