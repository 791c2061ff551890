//! The errors of forks.

use std::path::PathBuf;

use dotmesh_api::{ErrorBody, ErrorCode};
use dotmesh_model::{BranchName, DotName};

use crate::error::NodeError;

/// Why something cannot be done with a fork, or because of one.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ForkError {
    /// No such fork.
    #[error("dot {dot} has no fork {branch}")]
    NoFork { dot: DotName, branch: BranchName },
    /// The branch is checked out, so the app's own containers use it.
    #[error("branch {branch} is checked out, so the app itself runs on it")]
    CheckedOut { branch: BranchName },
    /// A fork runs on the branch, so the app itself cannot.
    #[error("branch {branch} has a fork{}", folder.as_ref().map_or(String::new(), |at| format!(", which runs from {}", at.display())))]
    Forked {
        branch: BranchName,
        folder: Option<PathBuf>,
    },
    /// A fork cannot change its branch.
    #[error("the fork of this folder stays on branch {branch}: its volumes name the branch")]
    Stays { branch: BranchName },
    /// The fork has another folder, which still exists.
    #[error("fork {branch} of {dot} runs from {}", folder.display())]
    Elsewhere {
        dot: DotName,
        branch: BranchName,
        folder: PathBuf,
    },
    /// Another fork has the project.
    #[error("the Compose project {project} belongs to fork {branch} of {dot}")]
    ProjectTaken {
        project: String,
        dot: DotName,
        branch: BranchName,
    },
    /// Another fork has the port.
    #[error("port {port} belongs to fork {branch} of {dot}")]
    PortTaken {
        port: u16,
        dot: DotName,
        branch: BranchName,
    },
    /// The node found no free port.
    #[error("there is no free port for {service}:{target}")]
    NoPort { service: String, target: u16 },
}

impl ForkError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::NoFork { .. } => ErrorCode::NotFound,
            Self::CheckedOut { .. } | Self::Forked { .. } | Self::Stays { .. } => ErrorCode::InUse,
            Self::Elsewhere { .. } | Self::ProjectTaken { .. } | Self::PortTaken { .. } => {
                ErrorCode::Exists
            }
            Self::NoPort { .. } => ErrorCode::TooMany,
        }
    }

    fn hint(&self) -> String {
        match self {
            Self::NoFork { .. } => "List the forks with 'dm ps'.".to_owned(),
            Self::CheckedOut { branch } => format!(
                "Choose another name, such as: dm up --name {branch}-2. Or check out another branch first, with 'dm checkout'."
            ),
            Self::Forked { branch, .. } => {
                format!("Stop the fork first, which keeps its branch: dm down {branch}")
            }
            Self::Stays { .. } => {
                "To give it another state: dm reset --hard REV. To run another branch beside it: dm up --name NAME"
                    .to_owned()
            }
            Self::Elsewhere { branch, .. } => format!(
                "Go there, remove it with 'dm down {branch}', or choose another name: dm up --name NAME"
            ),
            Self::ProjectTaken { .. } => "Choose another name: dm up --name NAME".to_owned(),
            Self::PortTaken { .. } => {
                "Choose another port with --port, or remove that fork with 'dm down'.".to_owned()
            }
            Self::NoPort { .. } => {
                "Choose one with --port, or remove forks with 'dm down'.".to_owned()
            }
        }
    }
}

impl From<ForkError> for NodeError {
    fn from(error: ForkError) -> Self {
        let body = ErrorBody::new(error.code(), error.to_string());
        Self::Transfer(body.hint(error.hint()))
    }
}
