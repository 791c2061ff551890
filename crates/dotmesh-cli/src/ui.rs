//! The only printer: data goes to stdout, messages go to stderr.

use std::io::{BufRead as _, IsTerminal as _, Write as _};

use tokio::signal::unix::{SignalKind, signal};

use crate::error::{CliError, Result};
use crate::progress::{TransferBar, WaitBar};

/// Where a command's output goes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Ui {
    verbose: bool,
}

impl Ui {
    /// The same, but requests are printed too.
    #[must_use]
    pub fn verbose(self) -> Self {
        Self { verbose: true }
    }

    /// Whether requests are printed.
    pub fn is_verbose(self) -> bool {
        self.verbose
    }

    /// Prints text to stdout. Control characters are replaced.
    pub fn out(self, text: &str) -> Result<()> {
        let mut out = std::io::stdout().lock();
        out.write_all(printable(text).as_bytes())
            .and_then(|()| out.flush())
            .map_err(CliError::output)
    }

    /// Prints bytes to stdout, unchanged.
    pub fn bytes(self, bytes: &[u8]) -> Result<()> {
        let mut out = std::io::stdout().lock();
        out.write_all(bytes)
            .and_then(|()| out.flush())
            .map_err(CliError::output)
    }

    /// Prints a status line.
    pub fn status(self, line: &str) {
        self.err(&format!("{line}\n"));
    }

    /// Prints a warning.
    pub fn warning(self, line: &str) {
        self.err(&format!("Warning: {line}\n"));
    }

    /// Prints a hint: what to do next.
    pub fn hint(self, line: &str) {
        self.err(&format!("hint: {line}\n"));
    }

    /// Prints an error.
    pub fn error(self, error: &CliError) {
        self.err(&error.render());
    }

    /// Prints a request. Used with `--verbose`.
    pub fn trace(line: &str) {
        Self { verbose: true }.err(&format!("> {line}\n"));
    }

    fn err(self, text: &str) {
        // If stderr is closed, the user has only the exit code.
        let _ = std::io::stderr().write_all(printable(text).as_bytes());
    }

    /// Asks, and goes on only if the answer is `Y`.
    pub async fn confirm(self, question: &str) -> Result<()> {
        self.err(&format!("{question} (enter Y to continue): "));
        let answer = tokio::task::spawn_blocking(first_line)
            .await
            .map_err(|error| CliError::failed("cannot ask").caused_by(error))??;
        if !std::io::stdin().is_terminal() {
            // Only a person's Enter ends the line.
            self.err("\n");
        }
        if answer == "Y" {
            Ok(())
        } else {
            Err(CliError::declined())
        }
    }

    /// The same, but refuses if stdin is not a terminal. `option` is the option that skips the question.
    pub async fn confirm_at_terminal(self, question: &str, option: &str) -> Result<()> {
        if std::io::stdin().is_terminal() {
            return self.confirm(question).await;
        }
        Err(CliError::failed(
            "nothing was done: this needs a confirmation, but stdin is not a terminal",
        )
        .hint(format!("Run it again with {option} to skip the question.")))
    }

    /// Asks for a secret without echoing it. Reads it from stdin if that is not a terminal.
    pub async fn secret(self, prompt: &str) -> Result<String> {
        if !std::io::stdin().is_terminal() {
            return tokio::task::spawn_blocking(first_line)
                .await
                .map_err(|error| CliError::failed("cannot ask").caused_by(error))?;
        }
        // With a signal handler, Ctrl-C makes the prompt return, so that it restores the terminal's echo.
        let _handled = signal(SignalKind::interrupt())
            .map_err(|error| CliError::failed("cannot ask").caused_by(error))?;
        rpassword::prompt_password(prompt).map_err(|error| match error.kind() {
            std::io::ErrorKind::Interrupted => CliError::interrupted(false),
            _ => CliError::failed("cannot read from the terminal").caused_by(error),
        })
    }

    /// A spinner, visible only if stderr is a terminal.
    pub fn wait_bar(self) -> WaitBar {
        WaitBar::new(std::io::stderr().is_terminal())
    }

    /// A transfer's bar, visible only if stderr is a terminal.
    pub fn transfer_bar(self) -> TransferBar {
        TransferBar::new(std::io::stderr().is_terminal())
    }
}

fn first_line() -> Result<String> {
    let mut line = String::new();
    std::io::stdin()
        .lock()
        .read_line(&mut line)
        .map_err(|error| CliError::failed("cannot read from standard input").caused_by(error))?;
    Ok(line.trim_end_matches(['\n', '\r']).to_owned())
}

/// Replaces control characters, which a terminal could execute: commit messages may come from anybody.
pub fn printable(text: &str) -> String {
    let command = |c: char| c.is_control() && c != '\n' && c != '\t';
    text.chars()
        .map(|c| if command(c) { '\u{fffd}' } else { c })
        .collect()
}
