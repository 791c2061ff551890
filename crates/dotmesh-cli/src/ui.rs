//! The only printer: data goes to stdout, messages go to stderr.

use std::ffi::OsStr;
use std::io::{BufRead as _, IsTerminal as _, Write as _};

use tokio::signal::unix::{SignalKind, signal};

use crate::cli::{Global, Progress};
use crate::environment::Environment;
use crate::error::{CliError, Code, Result};
use crate::output::Output;
use crate::pager::Pager;
use crate::paint::{self, Rule};
use crate::progress::{Event, Sink, TransferBar, WaitBar};

/// Where a command's output goes, and how it looks.
#[derive(Debug, Clone, Default)]
pub struct Ui {
    /// One document on stdout, and nothing but JSON on stderr.
    json: bool,
    /// No messages but warnings and errors.
    quiet: bool,
    /// Requests are printed.
    verbose: bool,
    /// The answer to all questions.
    yes: bool,
    progress: Progress,
    colours: Colours,
    pager: Option<Pager>,
}

/// Which streams have colours.
#[derive(Debug, Clone, Copy, Default)]
struct Colours {
    out: bool,
    err: bool,
}

impl Ui {
    /// The one that the user asked for.
    pub fn new(global: &Global, environment: &Environment) -> Self {
        let terminal = std::io::stdout().is_terminal();
        let allowed = environment.allows_colours;
        Self {
            json: global.json,
            quiet: global.quiet,
            verbose: global.verbose,
            yes: global.yes,
            progress: global.progress,
            colours: Colours {
                out: allowed && terminal,
                err: allowed && std::io::stderr().is_terminal(),
            },
            pager: terminal.then(|| Pager::find(environment)).flatten(),
        }
    }

    /// The one for a command line that cannot be parsed.
    pub fn unparsed<'a>(
        mut words: impl Iterator<Item = &'a OsStr>,
        environment: &Environment,
    ) -> Self {
        let global = Global {
            json: words.any(|word| word == "--json"),
            ..Global::default()
        };
        Self::new(&global, environment)
    }

    /// Whether requests are printed.
    pub fn is_verbose(&self) -> bool {
        self.verbose
    }

    /// Whether only warnings and errors are printed.
    pub fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// Whether the result is printed as JSON.
    pub fn is_json(&self) -> bool {
        self.json
    }

    /// Prints the result of a command. Its failure is returned.
    pub fn print(&self, output: &dyn Output) -> Result<()> {
        if self.json {
            let json = output
                .json()
                .map_err(|error| CliError::io("cannot encode the result").caused_by(error))?;
            self.bytes(escaped(&json).as_bytes())?;
            self.bytes(b"\n")?;
        } else {
            output.show(self)?;
        }
        output.failure().map_or(Ok(()), Err)
    }

    /// Prints text to stdout. Control characters are replaced.
    pub fn out(&self, text: &str) -> Result<()> {
        self.bytes(printable(text).as_bytes())
    }

    /// The same, with colours on a terminal.
    pub fn painted(&self, text: &str, rule: Rule) -> Result<()> {
        self.bytes(self.coloured(text, rule).as_bytes())
    }

    /// The same, through a pager on a terminal.
    pub fn page(&self, text: &str, rule: Rule) -> Result<()> {
        match &self.pager {
            Some(pager) => pager.show(&self.coloured(text, rule)),
            None => self.painted(text, rule),
        }
    }

    fn coloured(&self, text: &str, rule: Rule) -> String {
        let text = printable(text);
        if self.colours.out {
            paint::paint(&text, rule)
        } else {
            text
        }
    }

    /// Prints bytes to stdout, unchanged.
    pub fn bytes(&self, bytes: &[u8]) -> Result<()> {
        let mut out = std::io::stdout().lock();
        out.write_all(bytes)
            .and_then(|()| out.flush())
            .map_err(CliError::output)
    }

    /// Prints a status line.
    pub fn status(&self, line: &str) {
        if !self.json && !self.quiet {
            self.err(&format!("{line}\n"));
        }
    }

    /// Prints a warning.
    pub fn warning(&self, line: &str) {
        if !self.json {
            self.err(&format!("Warning: {line}\n"));
        }
    }

    /// Prints a hint: what to do next.
    pub fn hint(&self, line: &str) {
        if !self.json && !self.quiet {
            self.err(&format!("hint: {line}\n"));
        }
    }

    /// Prints an error.
    pub fn error(&self, error: &CliError) {
        if !self.json {
            self.err(&error.render());
        } else if error.code() != Code::BrokenPipe {
            self.json_line(&error.document());
        }
    }

    /// Prints an event for programs.
    pub fn event(&self, event: &Event) {
        self.json_line(event);
    }

    fn json_line(&self, value: &impl serde::Serialize) {
        if let Ok(json) = serde_json::to_string(value) {
            let _ = writeln!(std::io::stderr(), "{}", escaped(&json));
        }
    }

    /// Prints a request. Used with `--verbose`.
    pub fn trace(line: &str) {
        Self::default().err(&format!("> {line}\n"));
    }

    fn err(&self, text: &str) {
        let mut text = printable(text);
        if self.colours.err {
            text = paint::paint(&text, paint::message);
        }
        // If stderr is closed, the user has only the exit code.
        let _ = std::io::stderr().write_all(text.as_bytes());
    }

    /// Asks, and goes on only if the answer is `Y`. Without a terminal nobody is asked.
    pub async fn confirm(&self, question: &str) -> Result<()> {
        if self.yes {
            return Ok(());
        }
        if !std::io::stdin().is_terminal() {
            let message =
                "nothing was done: this needs a confirmation, but stdin is not a terminal";
            return Err(CliError::new(Code::NoTerminal, message)
                .hint("Run it again with --yes to skip the question."));
        }
        self.err(&format!("{question} (enter Y to continue): "));
        let answer = tokio::task::spawn_blocking(first_line)
            .await
            .map_err(|error| CliError::io("cannot ask").caused_by(error))??;
        if answer == "Y" {
            Ok(())
        } else {
            Err(CliError::declined())
        }
    }

    /// Asks at the terminal, also if stdin is something else, as in a hook of git. `None` if there is no terminal.
    pub async fn ask_at_terminal(&self, question: &str) -> Option<bool> {
        if self.json || !std::io::stderr().is_terminal() {
            return None;
        }
        let terminal = std::fs::File::open("/dev/tty").ok()?;
        self.err(&format!("{question} (enter Y to continue): "));
        let answer = tokio::task::spawn_blocking(move || {
            let mut line = String::new();
            let read = std::io::BufReader::new(terminal).read_line(&mut line);
            read.map(|_| line)
        });
        let answer = answer.await.ok()?.ok()?;
        Some(answer.trim_end_matches(['\n', '\r']) == "Y")
    }

    /// Whether the user wants no questions.
    pub fn is_confirmed(&self) -> bool {
        self.yes
    }

    /// Asks for a secret without echoing it. Reads it from stdin if that is not a terminal.
    pub async fn secret(&self, prompt: &str) -> Result<String> {
        if !std::io::stdin().is_terminal() {
            return tokio::task::spawn_blocking(first_line)
                .await
                .map_err(|error| CliError::io("cannot ask").caused_by(error))?;
        }
        // With a signal handler, Ctrl-C makes the prompt return, so that it restores the terminal's echo.
        let _handled = signal(SignalKind::interrupt())
            .map_err(|error| CliError::io("cannot ask").caused_by(error))?;
        rpassword::prompt_password(prompt).map_err(|error| match error.kind() {
            std::io::ErrorKind::Interrupted => CliError::interrupted(false),
            _ => CliError::io("cannot read from the terminal").caused_by(error),
        })
    }

    /// Shows what a switch waits for.
    pub fn wait_bar(&self) -> WaitBar {
        WaitBar::new(self.sink())
    }

    /// Shows how far a transfer is.
    pub fn transfer_bar(&self) -> TransferBar {
        TransferBar::new(self.sink())
    }

    /// Where progress goes.
    fn sink(&self) -> Sink {
        match self.progress {
            Progress::Json => Sink::Events(self.clone()),
            Progress::None => Sink::Nothing,
            Progress::Auto if self.quiet => Sink::Nothing,
            Progress::Auto if std::io::stderr().is_terminal() => Sink::Terminal,
            Progress::Auto => Sink::Lines,
        }
    }
}

fn first_line() -> Result<String> {
    let mut line = String::new();
    std::io::stdin()
        .lock()
        .read_line(&mut line)
        .map_err(|error| CliError::io("cannot read from standard input").caused_by(error))?;
    Ok(line.trim_end_matches(['\n', '\r']).to_owned())
}

/// Replaces control characters, which a terminal could execute: commit messages may come from anybody.
pub fn printable(text: &str) -> String {
    let command = |c: char| c.is_control() && c != '\n' && c != '\t';
    text.chars()
        .map(|c| if command(c) { '\u{fffd}' } else { c })
        .collect()
}

/// Escapes the control characters that JSON allows in strings, for the same reason.
fn escaped(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for c in json.chars() {
        if c.is_control() && c != '\n' {
            text.push_str(&format!("\\u{:04x}", u32::from(c)));
        } else {
            text.push(c);
        }
    }
    text
}
