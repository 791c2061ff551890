//! The error of a command: what failed and why, what to do next, and the exit code.

use std::error::Error;
use std::io::ErrorKind;

use dotmesh_api::{ClientError, ErrorBody, ErrorCode};
use dotmesh_model::InvalidName;
use serde::Serialize;
use utoipa::ToSchema;

pub use code::Code;

mod code;

/// What a command returns.
pub type Result<T> = std::result::Result<T, CliError>;

/// A failed command.
#[derive(Debug, Clone)]
pub struct CliError {
    code: Code,
    message: String,
    /// The chain of causes, outermost first.
    causes: Vec<String>,
    hints: Vec<String>,
}

/// The error as a program reads it.
#[derive(Debug, Serialize, ToSchema)]
pub struct ErrorDocument {
    /// The error.
    pub error: ErrorFields,
}

/// What failed, why, and what to do next.
#[derive(Debug, Serialize, ToSchema)]
pub struct ErrorFields {
    /// The kind of failure.
    pub code: Code,
    /// What failed.
    pub message: String,
    /// Why, if that is known.
    pub cause: Option<String>,
    /// What to do next.
    pub hint: Option<String>,
}

impl CliError {
    /// A failure of that kind.
    pub fn new(code: impl Into<Code>, message: impl Into<String>) -> Self {
        Self {
            code: code.into(),
            message: message.into(),
            causes: Vec::new(),
            hints: Vec::new(),
        }
    }

    /// The command line is wrong.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Code::Usage, message)
    }

    /// A file, a folder, a terminal or a program of this machine fails.
    pub fn io(message: impl Into<String>) -> Self {
        Self::new(Code::Io, message)
    }

    /// The user did not confirm.
    pub fn declined() -> Self {
        Self::new(Code::Declined, "Aborted.")
    }

    /// The user pressed Ctrl-C. `goes_on`: the node finishes the operation all the same.
    pub fn interrupted(goes_on: bool) -> Self {
        let message = if goes_on {
            "Interrupted. The node finishes the operation that it has begun. See 'dm list' and 'dm log'."
        } else {
            "Interrupted."
        };
        Self::new(Code::Interrupted, message)
    }

    /// The user pressed Ctrl-C during a transfer.
    pub fn cancelled() -> Self {
        Self::new(
            Code::Interrupted,
            "Cancelled. Nothing was changed on the receiving side.",
        )
    }

    /// A write to stdout failed.
    pub fn output(error: std::io::Error) -> Self {
        if error.kind() == ErrorKind::BrokenPipe {
            Self::new(Code::BrokenPipe, "")
        } else {
            Self::io("cannot write to standard output").caused_by(error)
        }
    }

    /// A wrong command line, with the parser's own message.
    pub fn command_line(error: &clap::Error) -> Self {
        let text = error.render().to_string();
        if error.kind() == clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
            return Self::new(Code::NoCommand, text.trim_end());
        }
        let text = text.strip_prefix("error: ").unwrap_or(&text);
        Self::usage(text.trim_end())
    }

    /// Whether the user pressed Ctrl-C.
    pub fn is_interruption(&self) -> bool {
        matches!(
            self.code,
            Code::Interrupted | Code::Server(ErrorCode::Cancelled)
        )
    }

    /// Whether the data of a commit is only on a hub.
    pub fn is_absent(&self) -> bool {
        self.code == Code::Server(ErrorCode::Absent)
    }

    /// Adds the chain of causes, outermost first.
    #[must_use]
    pub fn caused_by(mut self, error: impl Error) -> Self {
        let mut cause: Option<&dyn Error> = Some(&error);
        while let Some(error) = cause {
            self.causes.push(error.to_string());
            cause = error.source();
        }
        self
    }

    /// Appends a cause.
    #[must_use]
    pub fn because(mut self, cause: impl Into<String>) -> Self {
        self.causes.push(cause.into());
        self
    }

    /// Adds a hint: what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// What failed and why, without the hints.
    pub fn message(&self) -> String {
        let causes = self.causes.iter().map(|cause| format!(": {cause}"));
        format!("{}{}", self.message, causes.collect::<String>())
    }

    /// Whether the server said that something does not exist.
    pub fn is_not_found(&self) -> bool {
        self.code == Code::Server(ErrorCode::NotFound)
    }

    /// Whether the command line is wrong.
    pub fn is_usage(&self) -> bool {
        self.code == Code::Usage
    }

    /// Whether the node, the hub or Docker does not answer.
    pub fn is_unreachable(&self) -> bool {
        self.exit_code() == Code::NodeUnreachable.exit_code()
    }

    /// The exit code of `dm`.
    pub fn exit_code(&self) -> u8 {
        self.code.exit_code()
    }

    /// The kind of failure.
    pub fn code(&self) -> Code {
        self.code
    }

    /// The error for a program.
    pub fn document(&self) -> ErrorDocument {
        let lines = |texts: &[String], between| {
            let text = texts.join(between);
            (!text.is_empty()).then_some(text)
        };
        ErrorDocument {
            error: ErrorFields {
                code: self.code,
                message: self.message.clone(),
                cause: lines(&self.causes, ": "),
                hint: lines(&self.hints, "\n"),
            },
        }
    }

    /// The text for stderr.
    pub fn render(&self) -> String {
        let mut text = match self.code {
            Code::BrokenPipe => return String::new(),
            // The user caused these, so the message does not start with "Error:".
            Code::NoCommand | Code::Declined => format!("{}\n", self.message()),
            _ if self.is_interruption() => format!("{}\n", self.message()),
            _ => format!("Error: {}\n", self.message()),
        };
        for hint in &self.hints {
            text.push_str(&format!("hint: {hint}\n"));
        }
        text
    }
}

impl From<ErrorBody> for CliError {
    fn from(body: ErrorBody) -> Self {
        let error = Self::new(body.code, body.message);
        body.hint.into_iter().fold(error, Self::hint)
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
                return Self::new(Code::NodeUnreachable, error.to_string()).hint(
                    "'dm' and 'dotmeshd' may have different versions: compare them with 'dm version'.",
                );
            }
            ClientError::Unreachable { server, source } => (server, source),
        };
        let (kind, reason) = root_cause(&source);
        let error = Self::new(Code::NodeUnreachable, format!("cannot reach {server}"));
        let error = error.because(reason);
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
