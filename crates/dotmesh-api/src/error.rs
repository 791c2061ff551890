//! The one shape in which node and hub report a failure: `{"error": {code, message, hint}}`.

use serde::{Deserialize, Serialize};

/// What a program may branch on. Everything else is in the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// The request is malformed or names something that is not a name.
    Invalid,
    /// No, or wrong, credentials.
    Unauthorized,
    /// Known, but not allowed to do this.
    Forbidden,
    /// What it names does not exist, or the caller may not know that it does.
    NotFound,
    /// It exists already.
    Exists,
    /// The two lines of a branch have each gone on.
    Diverged,
    /// The other side has commits that this side has not.
    Behind,
    /// It would lose uncommitted changes.
    Dirty,
    /// The data of a commit is on a hub only.
    Absent,
    /// Containers are using what would be changed.
    InUse,
    /// Objects that a push refers to have not arrived.
    Incomplete,
    /// Bytes do not match their hash, or are not in the format.
    Corrupt,
    /// There is no space left.
    NoSpace,
    /// Larger than the limit.
    TooLarge,
    /// Tried too often in a short time.
    TooMany,
    /// A server that is needed cannot be reached, or is not what it should be.
    Unreachable,
    /// The caller went away or asked to stop.
    Cancelled,
    /// A fault of the server's own; its log says more.
    Internal,
    /// A code of a newer version.
    #[serde(other)]
    Unknown,
}

/// A failure: what and why in `message`, what to do next in `hint`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct ErrorBody {
    /// For programs.
    pub code: ErrorCode,
    /// For people: what happened, and why.
    pub message: String,
    /// For people: what to do next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl ErrorBody {
    /// An error without a hint.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            hint: None,
        }
    }

    /// Adds what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// The JSON body of every response that is not a success.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ErrorEnvelope {
    /// The failure.
    pub error: ErrorBody,
}

impl ErrorCode {
    /// The HTTP status that goes with it.
    pub fn status(self) -> u16 {
        match self {
            Self::Invalid => 400,
            Self::Unauthorized => 401,
            Self::Forbidden => 403,
            Self::NotFound => 404,
            Self::Exists
            | Self::Diverged
            | Self::Behind
            | Self::Dirty
            | Self::Absent
            | Self::InUse => 409,
            Self::Incomplete | Self::Corrupt => 422,
            Self::TooLarge => 413,
            Self::TooMany => 429,
            Self::NoSpace => 507,
            Self::Unreachable => 502,
            Self::Cancelled => 499,
            Self::Internal | Self::Unknown => 500,
        }
    }
}
