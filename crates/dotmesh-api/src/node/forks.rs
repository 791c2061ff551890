//! Forks: copies of an app that run side by side, each on a branch of its own.

use std::path::PathBuf;

use dotmesh_model::{BranchName, CommitId, DotName};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// A fork, as in `GET /v1/forks`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Fork {
    /// The dot.
    pub dot: DotName,
    /// Its branch, which is also the fork's name.
    pub branch: BranchName,
    /// The branch's newest commit.
    pub head: CommitId,
    /// Its Compose project.
    pub project: String,
    /// The folder of its Compose file. `None` if a program made the fork without one.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub folder: Option<PathBuf>,
    /// Its state.
    pub state: ForkState,
    /// Its containers, running or not, sorted by name.
    pub containers: Vec<ForkContainer>,
    /// Its ports on this machine.
    pub ports: Vec<ForkPort>,
    /// When it was made.
    pub made: Timestamp,
    /// When the daemon stops it. `None` means never.
    pub expires: Option<Timestamp>,
    /// The bytes that were written since the commit at which its branch began.
    pub size: u64,
    /// The configuration that Compose got for it. Only in the answers about a single fork.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<String>,
}

/// The state of a fork.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum ForkState {
    /// All its containers run, or have ended without an error, and those with a health check are healthy.
    Running,
    /// A container's health check has not passed yet.
    Starting,
    /// A container is unhealthy, or has ended with an error.
    Failing,
    /// None of its containers runs.
    Stopped,
    /// Its lifetime is over, so the daemon stops it.
    Expired,
}

/// A container of a fork.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ForkContainer {
    /// Its name.
    pub name: String,
    /// Its service.
    pub service: String,
    /// Its state, such as `running` or `stopped`.
    pub state: String,
    /// `starting`, `healthy` or `unhealthy`. `None` if it has no health check, or does not run.
    pub health: Option<String>,
    /// The exit code, once it has ended.
    pub exit_code: Option<i64>,
}

/// A port of a fork.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ForkPort {
    /// The service.
    pub service: String,
    /// The port in the container.
    pub target: u16,
    /// `tcp`, `udp` or `sctp`.
    pub protocol: String,
    /// The port in the Compose file.
    pub published: u16,
    /// The port on this machine.
    pub port: u16,
}

/// `POST /v1/dots/{namespace}/{dot}/forks`: makes a fork, or updates one with the same name. The answer is the [`Fork`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct MakeFork {
    /// Its name, and that of its branch. The branch is made unless it exists.
    pub branch: BranchName,
    /// The commit that a new branch begins with, by any of its names. `None` means the working copy, with all uncommitted
    /// changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The Compose project. No other fork may have it.
    pub project: String,
    /// The folder of the Compose file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub folder: Option<PathBuf>,
    /// Whether the app itself runs from that folder, so that commands there are not about the fork.
    #[serde(default)]
    pub shares_folder: bool,
    /// The ports that it needs. The node chooses free ones, and keeps those that it chose before.
    #[serde(default)]
    pub ports: Vec<WantedPort>,
    /// The lifetime from now on, in seconds. `None` leaves it as it is, and lets an expired fork live on without a limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lifetime: Option<u64>,
    /// The configuration for Compose, to keep with the fork. `None` leaves it as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<String>,
}

/// A port that a fork needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct WantedPort {
    /// The service.
    pub service: String,
    /// The port in the container.
    pub target: u16,
    /// `tcp`, `udp` or `sctp`.
    pub protocol: String,
    /// The port in the Compose file.
    pub published: u16,
    /// The port on this machine that the user chose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
}

impl WantedPort {
    /// Whether the fork's port is for the same port of the same service.
    pub fn is(&self, port: &ForkPort) -> bool {
        self.service == port.service
            && self.target == port.target
            && self.protocol == port.protocol
            && self.published == port.published
    }
}

/// `POST /v1/dots/{namespace}/{dot}/forks/stop`: stops the fork's containers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct StopFork {
    /// The fork's branch.
    pub branch: BranchName,
}

/// `POST /v1/dots/{namespace}/{dot}/forks/delete`: forgets the fork, and deletes its branch, which can be undone. Its
/// containers must have been removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DeleteFork {
    /// The fork's branch.
    pub branch: BranchName,
    /// Keeps the branch.
    #[serde(default)]
    pub keep_branch: bool,
}

/// The query of `GET /v1/dots/{namespace}/{dot}/forks/one`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::IntoParams), into_params(parameter_in = Query))]
pub struct ForkQuery {
    /// The fork's branch.
    pub fork: BranchName,
}

/// A fork that runs from a folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ForkHere {
    /// The dot.
    pub dot: DotName,
    /// The fork's branch.
    pub branch: BranchName,
    /// Its Compose project.
    pub project: String,
}

/// The forks of a folder, in `GET /v1/compose`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ForksHere {
    /// The requested folder, or its nearest parent with forks. `None` if there is none.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub folder: Option<PathBuf>,
    /// The forks of that folder.
    pub forks: Vec<ForkHere>,
    /// Other Compose projects that run from that folder.
    pub beside: Vec<String>,
}
