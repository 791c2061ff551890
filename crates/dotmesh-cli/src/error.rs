//! The error of a command: what failed and why, what to do next, and the exit code.

use std::error::Error;
use std::io::ErrorKind;

use dotmesh_api::{ClientError, ErrorBody, ErrorCode};
use dotmesh_model::InvalidName;

/// What a command returns.
pub type Result<T> = std::result::Result<T, CliError>;

/// The kinds of failure. They decide the exit code, which `dm --help` documents, and how the error is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureKind {
    /// The operation was refused, or failed.
    Failed,
    /// The user did not confirm.
    Declined,
    /// The command line is wrong.
    Usage,
    /// The command line has no subcommand. The message is the help.
    NoCommand,
    /// The node, the hub or Docker does not answer.
    Unreachable,
    /// The user pressed Ctrl-C.
    Interrupted,
    /// The reader of the output is gone, as in `dm log | head`. To the user, this is not a failure.
    BrokenPipe,
}

/// A failed command.
#[derive(Debug)]
pub struct CliError {
    kind: FailureKind,
    code: Option<ErrorCode>,
    message: String,
    hints: Vec<String>,
}

impl CliError {
    fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            code: None,
            message: message.into(),
            hints: Vec::new(),
        }
    }

    /// The operation was refused, or failed.
    pub fn failed(message: impl Into<String>) -> Self {
        Self::new(FailureKind::Failed, message)
    }

    /// The command line is wrong.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(FailureKind::Usage, message)
    }

    /// The node, the hub or Docker does not answer.
    pub fn unreachable(message: impl Into<String>) -> Self {
        Self::new(FailureKind::Unreachable, message)
    }

    /// The user did not confirm.
    pub fn declined() -> Self {
        Self::new(FailureKind::Declined, "Aborted.")
    }

    /// The user pressed Ctrl-C. `goes_on`: the node finishes the operation all the same.
    pub fn interrupted(goes_on: bool) -> Self {
        let message = if goes_on {
            "Interrupted. The node finishes the operation that it has begun. See 'dm list' and 'dm log'."
        } else {
            "Interrupted."
        };
        Self::new(FailureKind::Interrupted, message)
    }

    /// The user pressed Ctrl-C during a transfer.
    pub fn cancelled() -> Self {
        Self::new(
            FailureKind::Interrupted,
            "Cancelled. Nothing was changed on the receiving side.",
        )
    }

    /// A write to stdout failed.
    pub fn output(error: std::io::Error) -> Self {
        if error.kind() == ErrorKind::BrokenPipe {
            Self::new(FailureKind::BrokenPipe, "")
        } else {
            Self::failed("cannot write to standard output").caused_by(error)
        }
    }

    /// A wrong command line, with the parser's own message.
    pub fn command_line(error: &clap::Error) -> Self {
        let text = error.render().to_string();
        if error.kind() == clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
            return Self::new(FailureKind::NoCommand, text.trim_end());
        }
        let text = text.strip_prefix("error: ").unwrap_or(&text);
        Self::usage(text.trim_end())
    }

    /// Whether the user pressed Ctrl-C.
    pub fn is_interruption(&self) -> bool {
        matches!(self.kind, FailureKind::Interrupted)
    }

    /// Whether the data of a commit is only on a hub.
    pub fn is_absent(&self) -> bool {
        self.code == Some(ErrorCode::Absent)
    }

    /// Appends the chain of causes, outermost first.
    #[must_use]
    pub fn caused_by(mut self, error: impl Error) -> Self {
        let mut cause: Option<&dyn Error> = Some(&error);
        while let Some(error) = cause {
            self.message = format!("{}: {error}", self.message);
            cause = error.source();
        }
        self
    }

    /// Adds a hint: what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// What failed, without the hints.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Whether the server said that something does not exist.
    pub fn is_not_found(&self) -> bool {
        self.code == Some(ErrorCode::NotFound)
    }

    /// Whether the command line is wrong.
    pub fn is_usage(&self) -> bool {
        self.kind == FailureKind::Usage
    }

    /// Whether the node, the hub or Docker does not answer.
    pub fn is_unreachable(&self) -> bool {
        self.kind == FailureKind::Unreachable
    }

    /// The exit code of `dm`.
    pub fn exit_code(&self) -> u8 {
        match self.kind {
            FailureKind::BrokenPipe => 0,
            FailureKind::Failed | FailureKind::Declined => 1,
            FailureKind::Usage | FailureKind::NoCommand => 2,
            FailureKind::Unreachable => 3,
            FailureKind::Interrupted => 130,
        }
    }

    /// The error code of the node or the hub, if the error came from there.
    pub fn code(&self) -> Option<ErrorCode> {
        self.code
    }

    /// The text for stderr.
    pub fn render(&self) -> String {
        let mut text = match self.kind {
            FailureKind::BrokenPipe => return String::new(),
            // The user caused these, so the message does not start with "Error:".
            FailureKind::NoCommand | FailureKind::Declined | FailureKind::Interrupted => {
                format!("{}\n", self.message)
            }
            _ => format!("Error: {}\n", self.message),
        };
        for hint in &self.hints {
            text.push_str(&format!("hint: {hint}\n"));
        }
        text
    }
}

impl From<ErrorBody> for CliError {
    fn from(body: ErrorBody) -> Self {
        let kind = match body.code {
            ErrorCode::Unreachable => FailureKind::Unreachable,
            ErrorCode::Cancelled => FailureKind::Interrupted,
            _ => FailureKind::Failed,
        };
        Self {
            kind,
            code: Some(body.code),
            message: body.message,
            hints: body.hint.into_iter().collect(),
        }
    }
}

/// An argument is not a valid name.
impl From<InvalidName> for CliError {
    fn from(error: InvalidName) -> Self {
        Self::usage(error.to_string())
    }
}

/// Failed requests to the node. `hub::explain` handles failed requests to a hub.
impl From<ClientError> for CliError {
    fn from(error: ClientError) -> Self {
        let (server, source) = match error {
            ClientError::Refused(body) | ClientError::Later { body, .. } => return (*body).into(),
            ClientError::Foreign(_)
            | ClientError::NotDotmesh { .. }
            | ClientError::OtherProtocol { .. } => {
                return Self::unreachable(error.to_string()).hint(
                    "'dm' and 'dotmeshd' may have different versions: compare them with 'dm version'.",
                );
            }
            ClientError::Unreachable { server, source } => (server, source),
        };
        let (kind, reason) = root_cause(&source);
        let error = Self::unreachable(format!("cannot reach {server}: {reason}"));
        match kind {
            Some(ErrorKind::PermissionDenied) => error.hint(
                "Use sudo, or become a member of the group 'dotmesh': 'sudo usermod -aG dotmesh $USER', then log in again.",
            ),
            Some(ErrorKind::NotFound | ErrorKind::ConnectionRefused) => error
                .hint("Start Dotmesh with 'sudo dm cluster init'.")
                .hint("If the node listens at another path, set DOTMESH_SOCKET to that path."),
            _ => error.hint("Check with 'dm version' whether the node runs, or read its log."),
        }
    }
}

/// The innermost cause, which is the one that users know, and its kind if it is an I/O error.
pub fn root_cause(error: &(dyn Error + 'static)) -> (Option<ErrorKind>, String) {
    let mut at = error;
    let mut kind = None;
    loop {
        if let Some(io) = at.downcast_ref::<std::io::Error>() {
            kind = Some(io.kind());
        }
        match at.source() {
            Some(source) => at = source,
            None => return (kind, at.to_string()),
        }
    }
}
