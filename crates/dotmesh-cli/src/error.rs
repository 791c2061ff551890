//! How a command fails: what happened and why, what to do next, and the exit code.

use std::error::Error;
use std::io::ErrorKind;

use dotmesh_api::{ClientError, ErrorBody, ErrorCode};
use dotmesh_model::InvalidName;

/// What a command returns.
pub type Result<T> = std::result::Result<T, CliError>;

/// The ways to fail that a script can tell apart. `dm --help` lists the exit codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The operation was refused, or did not work.
    Failed,
    /// The user was asked, and did not agree.
    Declined,
    /// The command line is wrong.
    Usage,
    /// The command line names no command; the message is the help.
    NoCommand,
    /// Something that is needed does not answer.
    Unreachable,
    /// The user interrupted it.
    Interrupted,
    /// Nobody reads the output any more, as in `dm log | head`. No failure for the user.
    BrokenPipe,
}

/// A failed command.
#[derive(Debug)]
pub struct CliError {
    kind: Kind,
    code: Option<ErrorCode>,
    message: String,
    hints: Vec<String>,
}

impl CliError {
    fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self {
            kind,
            code: None,
            message: message.into(),
            hints: Vec::new(),
        }
    }

    /// It was refused, or did not work.
    pub fn failed(message: impl Into<String>) -> Self {
        Self::new(Kind::Failed, message)
    }

    /// It cannot be meant like this.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Kind::Usage, message)
    }

    /// Something that is needed does not answer.
    pub fn unreachable(message: impl Into<String>) -> Self {
        Self::new(Kind::Unreachable, message)
    }

    /// The user thought better of it.
    pub fn declined() -> Self {
        Self::new(Kind::Declined, "Aborted.")
    }

    /// The user pressed Ctrl-C, maybe during something that the node does to the end.
    pub fn interrupted(goes_on: bool) -> Self {
        let message = if goes_on {
            "Interrupted. What the node had begun, it completes; see 'dm list' and 'dm log'."
        } else {
            "Interrupted."
        };
        Self::new(Kind::Interrupted, message)
    }

    /// The user pressed Ctrl-C during a transfer.
    pub fn cancelled() -> Self {
        Self::new(
            Kind::Interrupted,
            "Cancelled. Nothing was changed on the receiving side.",
        )
    }

    /// Standard output cannot be written to.
    pub fn output(error: std::io::Error) -> Self {
        if error.kind() == ErrorKind::BrokenPipe {
            Self::new(Kind::BrokenPipe, "")
        } else {
            Self::failed("cannot write to standard output").caused_by(error)
        }
    }

    /// What the command line's parser refused, in its words.
    pub fn command_line(error: &clap::Error) -> Self {
        let text = error.render().to_string();
        if error.kind() == clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
            return Self::new(Kind::NoCommand, text.trim_end());
        }
        let text = text.strip_prefix("error: ").unwrap_or(&text);
        Self::usage(text.trim_end())
    }

    /// Whether the user pressed Ctrl-C.
    pub fn is_interruption(&self) -> bool {
        matches!(self.kind, Kind::Interrupted)
    }

    /// Whether the data of a commit is on a hub only.
    pub fn is_absent(&self) -> bool {
        self.code == Some(ErrorCode::Absent)
    }

    /// Adds the reasons, outermost first.
    #[must_use]
    pub fn caused_by(mut self, error: impl Error) -> Self {
        let mut cause: Option<&dyn Error> = Some(&error);
        while let Some(error) = cause {
            self.message = format!("{}: {error}", self.message);
            cause = error.source();
        }
        self
    }

    /// Adds what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// What is wrong.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Whether what was named does not exist.
    pub fn is_not_found(&self) -> bool {
        self.code == Some(ErrorCode::NotFound)
    }

    /// Whether the command line is wrong.
    pub fn is_usage(&self) -> bool {
        self.kind == Kind::Usage
    }

    /// Whether nothing answers at all.
    pub fn is_unreachable(&self) -> bool {
        self.kind == Kind::Unreachable
    }

    /// The program's exit code.
    pub fn exit_code(&self) -> u8 {
        match self.kind {
            Kind::BrokenPipe => 0,
            Kind::Failed | Kind::Declined => 1,
            Kind::Usage | Kind::NoCommand => 2,
            Kind::Unreachable => 3,
            Kind::Interrupted => 130,
        }
    }

    /// What the node or the hub called it.
    pub fn code(&self) -> Option<ErrorCode> {
        self.code
    }

    /// What is shown on standard error.
    pub fn render(&self) -> String {
        let mut text = match self.kind {
            Kind::BrokenPipe => return String::new(),
            // The user knows, and is only told how things stand.
            Kind::NoCommand | Kind::Declined | Kind::Interrupted => format!("{}\n", self.message),
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
            ErrorCode::Unreachable => Kind::Unreachable,
            ErrorCode::Cancelled => Kind::Interrupted,
            _ => Kind::Failed,
        };
        Self {
            kind,
            code: Some(body.code),
            message: body.message,
            hints: body.hint.into_iter().collect(),
        }
    }
}

/// What should be a name is none.
impl From<InvalidName> for CliError {
    fn from(error: InvalidName) -> Self {
        Self::usage(error.to_string())
    }
}

/// Failures of calls to the node. Those to a hub are explained where it is called.
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
                .hint("If the node listens elsewhere, say where in DOTMESH_SOCKET."),
            _ => error.hint("See whether the node runs with 'dm version', or what its log says."),
        }
    }
}

/// The innermost reason, which is the one that people know, and its kind if it is one of the system's.
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
