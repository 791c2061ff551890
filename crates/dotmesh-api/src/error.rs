//! The format in which node and hub report a failure: problem details (RFC 9457).

use dotmesh_model::DotName;
use serde::{Deserialize, Serialize};

/// The kind of a failure, on which a program may branch. Everything else is in the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// The request is malformed, or names something that is not a name.
    Invalid,
    /// The credentials are missing or wrong.
    Unauthorized,
    /// The caller is known, but not allowed to do this.
    Forbidden,
    /// The target does not exist, or the caller may not know that it does.
    NotFound,
    /// It exists already.
    Exists,
    /// Both lines of a branch have new commits.
    Diverged,
    /// The other side has commits that this side lacks.
    Behind,
    /// It would lose uncommitted changes.
    Dirty,
    /// The data of a commit is not here.
    Absent,
    /// Containers use what the request would change.
    InUse,
    /// The name now belongs to another dot than the one that the caller means.
    AnotherDot,
    /// Objects that a push refers to have not arrived.
    Incomplete,
    /// The bytes do not match their hash, or do not have the right format.
    Corrupt,
    /// There is no space left, or the quota is exhausted.
    NoSpace,
    /// The state has changed since the caller saw it.
    Changed,
    /// It is larger than the limit.
    TooLarge,
    /// There were too many attempts in a short time, or the server is busy.
    TooMany,
    /// A required server cannot be reached, or is not a Dotmesh server.
    Unreachable,
    /// The caller went away, or asked to stop.
    Cancelled,
    /// A fault of the server itself. Its log has the details.
    Internal,
    /// A code of a newer version.
    #[serde(other)]
    Unknown,
}

/// A failure: `message` says what and why, `hint` what to do next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[error("{message}")]
pub struct ErrorBody {
    /// For programs.
    pub code: ErrorCode,
    /// For people: what happened, and why.
    pub message: String,
    /// For people: what to do next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// The current name of the dot that the caller means, if another dot now has the requested name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moved_to: Option<DotName>,
}

impl ErrorBody {
    /// An error without a hint.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            hint: None,
            moved_to: None,
        }
    }

    /// Adds the next step for the user.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// The media type of a [`Problem`].
pub const PROBLEM_TYPE: &str = "application/problem+json";

/// The JSON body of every error response: problem details (RFC 9457), with `code` and `hint` added.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Problem {
    /// The address of the code's description, on the hub's own pages.
    #[serde(rename = "type")]
    #[cfg_attr(feature = "openapi", schema(examples("/-/api#behind")))]
    pub kind: String,
    /// What went wrong in general: the same for all problems with this code.
    #[cfg_attr(
        feature = "openapi",
        schema(examples("The other side has commits that this side lacks"))
    )]
    pub title: String,
    /// The HTTP status.
    #[cfg_attr(feature = "openapi", schema(examples(409)))]
    pub status: u16,
    /// For people: what happened, and why.
    #[cfg_attr(
        feature = "openapi",
        schema(examples("the hub's branch master has commits that were not pulled"))
    )]
    pub detail: String,
    /// For programs.
    pub code: ErrorCode,
    /// For people: what to do next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(examples("pull first")))]
    pub hint: Option<String>,
    /// With `another_dot`: the present name of the dot that the caller means, if the caller may see it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moved_to: Option<DotName>,
}

impl From<ErrorBody> for Problem {
    fn from(error: ErrorBody) -> Self {
        Self {
            kind: format!("/-/api#{}", error.code.as_str()),
            title: error.code.title().to_owned(),
            status: error.code.status(),
            detail: error.message,
            code: error.code,
            hint: error.hint,
            moved_to: error.moved_to,
        }
    }
}

impl From<Problem> for ErrorBody {
    fn from(problem: Problem) -> Self {
        Self {
            code: problem.code,
            message: problem.detail,
            hint: problem.hint,
            moved_to: problem.moved_to,
        }
    }
}

impl ErrorCode {
    /// All codes except `Unknown`, which is never sent.
    pub const ALL: [Self; 20] = [
        Self::Invalid,
        Self::Unauthorized,
        Self::Forbidden,
        Self::NotFound,
        Self::Exists,
        Self::Diverged,
        Self::Behind,
        Self::Dirty,
        Self::Absent,
        Self::InUse,
        Self::AnotherDot,
        Self::Changed,
        Self::TooLarge,
        Self::Incomplete,
        Self::Corrupt,
        Self::TooMany,
        Self::Cancelled,
        Self::Internal,
        Self::Unreachable,
        Self::NoSpace,
    ];

    /// The code as it is sent.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Invalid => "invalid",
            Self::Unauthorized => "unauthorized",
            Self::Forbidden => "forbidden",
            Self::NotFound => "not_found",
            Self::Exists => "exists",
            Self::Diverged => "diverged",
            Self::Behind => "behind",
            Self::Dirty => "dirty",
            Self::Absent => "absent",
            Self::InUse => "in_use",
            Self::AnotherDot => "another_dot",
            Self::Changed => "changed",
            Self::TooLarge => "too_large",
            Self::Incomplete => "incomplete",
            Self::Corrupt => "corrupt",
            Self::TooMany => "too_many",
            Self::Cancelled => "cancelled",
            Self::Internal => "internal",
            Self::Unreachable => "unreachable",
            Self::NoSpace => "no_space",
            Self::Unknown => "unknown",
        }
    }

    /// The meaning of the code, in one line.
    pub fn title(self) -> &'static str {
        match self {
            Self::Invalid => "The request is malformed, or contains an invalid name",
            Self::Unauthorized => "Credentials are missing or wrong",
            Self::Forbidden => "The caller is known, but not allowed to do this",
            Self::NotFound => "It does not exist, or the caller may not know that it does",
            Self::Exists => "It exists already",
            Self::Diverged => "Each side of a branch has commits that the other side lacks",
            Self::Behind => "The other side has commits that this side lacks",
            Self::Dirty => "It would lose uncommitted changes",
            Self::Absent => "The data of a commit is not here",
            Self::InUse => "Containers are using the state that would change",
            Self::AnotherDot => {
                "The name belongs to another dot than the one that the caller means"
            }
            Self::Changed => "The state has changed since the caller saw it",
            Self::TooLarge => "The request is larger than the limit",
            Self::Incomplete => "Objects that a push refers to have not arrived",
            Self::Corrupt => "Data does not match its hash, or has an invalid format",
            Self::TooMany => "Too many requests in a short time",
            Self::Cancelled => "The caller went away or asked to stop",
            Self::Internal => "The server failed, and has logged why",
            Self::Unreachable => "A server that is needed cannot be reached",
            Self::NoSpace => "There is no space left",
            Self::Unknown => "A problem that this version does not know",
        }
    }

    /// The HTTP status of the code.
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
            | Self::InUse
            | Self::AnotherDot => 409,
            Self::Changed => 412,
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

#[cfg(feature = "openapi")]
impl utoipa::PartialSchema for ErrorCode {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        use utoipa::openapi::schema::{ObjectBuilder, Type};
        ObjectBuilder::new()
            .schema_type(Type::String)
            .description(Some(
                "The kind of error, for programs. Later versions may add codes.",
            ))
            .enum_values(Some(Self::ALL.map(Self::as_str)))
            .into()
    }
}

#[cfg(feature = "openapi")]
impl utoipa::ToSchema for ErrorCode {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_sent_as_it_is_listed() {
        for code in ErrorCode::ALL {
            let sent = serde_json::to_value(code).expect("JSON");
            assert_eq!(sent, code.as_str());
            let read: ErrorCode = serde_json::from_value(sent).expect("a code");
            assert_eq!(read, code);
        }
    }
}
