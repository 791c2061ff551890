//! The kinds of failure, on which a program may branch.

use std::borrow::Cow;

use dotmesh_api::ErrorCode;
use serde::{Serialize, Serializer};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

/// The kind of a failure. Its name and its exit code never change. [`Code::title`] says what each means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    /// A code of the node or of a hub.
    Server(ErrorCode),
    Usage,
    NoCommand,
    NodeUnreachable,
    Interrupted,
    Declined,
    NoTerminal,
    NoCurrentDot,
    NoCommits,
    NoStash,
    NoPreviousBranch,
    NoRemote,
    NotOnHub,
    LoginDenied,
    LoginExpired,
    ContainersFailed,
    NotRoot,
    MachineLacks,
    DaemonFailed,
    Refused,
    ConfigFile,
    Io,
    /// The reader of the output is gone, as in `dm log | head`. To the user, this is not a failure.
    BrokenPipe,
}

impl Code {
    /// The codes that come from `dm` itself.
    const OWN: [Self; 21] = [
        Self::Usage,
        Self::NoCommand,
        Self::NodeUnreachable,
        Self::Interrupted,
        Self::Declined,
        Self::NoTerminal,
        Self::NoCurrentDot,
        Self::NoCommits,
        Self::NoStash,
        Self::NoPreviousBranch,
        Self::NoRemote,
        Self::NotOnHub,
        Self::LoginDenied,
        Self::LoginExpired,
        Self::ContainersFailed,
        Self::NotRoot,
        Self::MachineLacks,
        Self::DaemonFailed,
        Self::Refused,
        Self::ConfigFile,
        Self::Io,
    ];

    /// All codes that a program can get.
    pub fn all() -> impl Iterator<Item = Self> {
        let servers = ErrorCode::ALL.into_iter().map(Self::Server);
        Self::OWN.into_iter().chain(servers)
    }

    /// The name that programs compare.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Server(code) => code.as_str(),
            Self::Usage => "usage",
            Self::NoCommand => "no_command",
            Self::NodeUnreachable => "node_unreachable",
            Self::Interrupted => "interrupted",
            Self::Declined => "declined",
            Self::NoTerminal => "no_terminal",
            Self::NoCurrentDot => "no_current_dot",
            Self::NoCommits => "no_commits",
            Self::NoStash => "no_stash",
            Self::NoPreviousBranch => "no_previous_branch",
            Self::NoRemote => "no_remote",
            Self::NotOnHub => "not_on_hub",
            Self::LoginDenied => "login_denied",
            Self::LoginExpired => "login_expired",
            Self::ContainersFailed => "containers_failed",
            Self::NotRoot => "not_root",
            Self::MachineLacks => "machine_lacks",
            Self::DaemonFailed => "daemon_failed",
            Self::Refused => "refused",
            Self::ConfigFile => "config_file",
            Self::Io => "io",
            Self::BrokenPipe => "broken_pipe",
        }
    }

    /// The meaning, in one line.
    pub fn title(self) -> &'static str {
        match self {
            Self::Server(code) => code.title(),
            Self::Usage => "The command line is wrong",
            Self::NoCommand => "The command line has no subcommand. The message is the help",
            Self::NodeUnreachable => "The node does not answer",
            Self::Interrupted => "The user pressed Ctrl-C",
            Self::Declined => "The user did not confirm",
            Self::NoTerminal => {
                "The command needs a confirmation, and there is no terminal to ask at"
            }
            Self::NoCurrentDot => "The command is about the current dot, and there is none",
            Self::NoCommits => "There is no commit yet",
            Self::NoStash => "There is no such stash",
            Self::NoPreviousBranch => "No other branch was checked out before",
            Self::NoRemote => "No remote has that name or address",
            Self::NotOnHub => "No hub that the user knows has it",
            Self::LoginDenied => "The login was denied on the hub's page",
            Self::LoginExpired => "The login was not approved in time",
            Self::ContainersFailed => {
                "The command did its work, but some containers do not run as they should"
            }
            Self::NotRoot => "The command must run as root",
            Self::MachineLacks => "The machine lacks something that Dotmesh needs",
            Self::DaemonFailed => "The daemon could not be started or stopped",
            Self::Refused => "The command could lose data, or its target is not what it should be",
            Self::ConfigFile => "The config file cannot be used as it is",
            Self::Io => "A file, a folder, a terminal or a program of this machine fails",
            Self::BrokenPipe => "The reader of the output is gone",
        }
    }

    /// The exit code. `dm --help` lists them.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::BrokenPipe => 0,
            Self::Usage | Self::NoCommand => 2,
            Self::NodeUnreachable | Self::Server(ErrorCode::Unreachable) => 3,
            Self::Interrupted | Self::Server(ErrorCode::Cancelled) => 130,
            _ => 1,
        }
    }
}

impl From<ErrorCode> for Code {
    fn from(code: ErrorCode) -> Self {
        Self::Server(code)
    }
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl PartialSchema for Code {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .description(Some(
                "The kind of failure. Later versions may add codes, and rename none.",
            ))
            .enum_values(Some(Self::all().map(Self::as_str)))
            .into()
    }
}

impl ToSchema for Code {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed("Code")
    }
}
