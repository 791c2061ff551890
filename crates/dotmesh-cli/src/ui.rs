//! The only printer: data on standard output, everything else on standard error.

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
    /// One that shows requests, too.
    #[must_use]
    pub fn verbose(self) -> Self {
        Self { verbose: true }
    }

    /// Whether requests are shown.
    pub fn is_verbose(self) -> bool {
        self.verbose
    }

    /// Prints data, as it is.
    pub fn out(self, text: &str) -> Result<()> {
        let mut out = std::io::stdout().lock();
        out.write_all(printable(text).as_bytes())
            .and_then(|()| out.flush())
            .map_err(CliError::output)
    }

    /// Prints the bytes of a file.
    pub fn bytes(self, bytes: &[u8]) -> Result<()> {
        let mut out = std::io::stdout().lock();
        out.write_all(bytes)
            .and_then(|()| out.flush())
            .map_err(CliError::output)
    }

    /// Tells the user how it goes, in a line.
    pub fn status(self, line: &str) {
        self.err(&format!("{line}\n"));
    }

    /// Tells of something that is not as it should be.
    pub fn warning(self, line: &str) {
        self.err(&format!("Warning: {line}\n"));
    }

    /// Tells the user what to do next.
    pub fn hint(self, line: &str) {
        self.err(&format!("hint: {line}\n"));
    }

    /// Shows a failure.
    pub fn error(self, error: &CliError) {
        self.err(&error.render());
    }

    /// Shows a request, for those who asked to see them.
    pub fn trace(line: &str) {
        Self { verbose: true }.err(&format!("> {line}\n"));
    }

    fn err(self, text: &str) {
        // Where standard error is closed, the exit code has to do.
        let _ = std::io::stderr().write_all(printable(text).as_bytes());
    }

    /// Asks, and goes on only if the answer is `Y`.
    pub async fn confirm(self, question: &str) -> Result<()> {
        self.err(&format!("{question} (enter Y to continue): "));
        let answer = tokio::task::spawn_blocking(first_line)
            .await
            .map_err(|error| CliError::failed("cannot ask").caused_by(error))??;
        if !std::io::stdin().is_terminal() {
            // Nobody pressed Enter, which would have ended the line.
            self.err("\n");
        }
        if answer == "Y" {
            Ok(())
        } else {
            Err(CliError::declined())
        }
    }

    /// The same, but only a person at a terminal can answer. `option` is the one that answers without a question.
    pub async fn confirm_at_terminal(self, question: &str, option: &str) -> Result<()> {
        if std::io::stdin().is_terminal() {
            return self.confirm(question).await;
        }
        Err(CliError::failed(
            "nothing was done: standard input is no terminal, so nobody can be asked",
        )
        .hint(format!(
            "Run it again with {option} to do this without a question."
        )))
    }

    /// Asks for a secret without showing it; reads it from standard input if that is no terminal.
    pub async fn secret(self, prompt: &str) -> Result<String> {
        if !std::io::stdin().is_terminal() {
            return tokio::task::spawn_blocking(first_line)
                .await
                .map_err(|error| CliError::failed("cannot ask").caused_by(error))?;
        }
        // With a handler in place Ctrl-C is an answer like others, and the terminal is put back in order.
        let _handled = signal(SignalKind::interrupt())
            .map_err(|error| CliError::failed("cannot ask").caused_by(error))?;
        rpassword::prompt_password(prompt).map_err(|error| match error.kind() {
            std::io::ErrorKind::Interrupted => CliError::interrupted(false),
            _ => CliError::failed("cannot read from the terminal").caused_by(error),
        })
    }

    /// Shows what is waited for, if somebody looks.
    pub fn wait_bar(self) -> WaitBar {
        WaitBar::new(std::io::stderr().is_terminal())
    }

    /// Shows how far a transfer is, if somebody looks.
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

/// The text without what a terminal would take for commands: messages may come from anybody.
pub fn printable(text: &str) -> String {
    let command = |c: char| c.is_control() && c != '\n' && c != '\t';
    text.chars()
        .map(|c| if command(c) { '\u{fffd}' } else { c })
        .collect()
}
