//! The pager, which shows long texts on a terminal page by page.

use std::io::{ErrorKind, Write as _};
use std::process::{Command, Stdio};

use crate::environment::Environment;
use crate::error::{CliError, Result};

/// A command for a shell.
#[derive(Debug, Clone)]
pub struct Pager {
    command: String,
    has_less_options: bool,
}

impl Pager {
    /// The program in `PAGER`, else `less`. `None` if the user wants none, or has none.
    pub fn find(environment: &Environment) -> Option<Self> {
        let command = environment.pager.as_deref().unwrap_or("less");
        let program = command.split_whitespace().next()?;
        environment.find_program(program)?;
        (program != "cat").then(|| Self {
            command: command.to_owned(),
            has_less_options: environment.has_less_options,
        })
    }

    /// Shows a text until the user quits. The text may not be read to its end.
    pub fn show(&self, text: &str) -> Result<()> {
        let failed =
            |error| CliError::io(format!("cannot run '{}'", self.command)).caused_by(error);
        let mut command = Command::new("sh");
        command.args(["-c", &self.command]).stdin(Stdio::piped());
        if !self.has_less_options {
            // As with git: short texts need no pager, colours are passed through, and the screen stays.
            command.env("LESS", "FRX");
        }
        let mut pager = command.spawn().map_err(failed)?;
        // The pager reads to the end of its input, which is closed here. Blocking is fine: Ctrl-C is the pager's now.
        let written = pager
            .stdin
            .take()
            .map(|mut input| input.write_all(text.as_bytes()));
        pager.wait().map_err(failed)?;
        match written {
            Some(Err(error)) if error.kind() != ErrorKind::BrokenPipe => Err(failed(error)),
            _ => Ok(()),
        }
    }
}
