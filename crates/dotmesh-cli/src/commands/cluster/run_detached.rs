//! `dm cluster run-detached`: replaces itself with the daemon, detached from the terminal. Only `dm cluster init` uses it.

use std::convert::Infallible;
use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use crate::error::{CliError, Result};

/// Become another program in a session of its own
#[derive(Debug, clap::Args)]
pub struct Args {
    #[arg(required = true, num_args = 1.., trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<OsString>,
}

/// Executes the program. Returns only if that fails.
pub(super) fn run(args: &Args) -> Result<Infallible> {
    let Some((program, arguments)) = args.command.split_first() else {
        return Err(CliError::usage("no program was named"));
    };
    rustix::process::setsid()
        .map_err(|error| CliError::io("cannot leave the terminal").caused_by(error))?;
    let error = Command::new(program)
        .args(arguments)
        .current_dir("/")
        .exec();
    Err(CliError::io(format!("cannot run {}", program.display())).caused_by(error))
}
