//! Single files and folders of a dot.

use serde::{Deserialize, Serialize};

use super::{Current, Wait};

/// `POST /v1/dots/{namespace}/{dot}/restore`: restores files and folders of a commit. The answer is like that of a
/// checkout.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RestorePaths {
    /// The commit, by any of its names.
    pub revision: String,
    /// The paths to restore: `SUBDOT` or `SUBDOT/PATH`.
    pub paths: Vec<String>,
    /// The state that the user saw. The request is refused if it has changed.
    #[serde(default)]
    pub expected: Option<Current>,
    /// The way to wait for the containers.
    #[serde(default)]
    pub wait: Wait,
}

/// The query of `GET /v1/dots/{namespace}/{dot}/content`. The answer is a `tar` archive, whose first entry is the requested
/// path.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::IntoParams), into_params(parameter_in = Query))]
pub struct ContentQuery {
    /// The commit, by any of its names. `None` means the working copy of the current branch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// `SUBDOT` or `SUBDOT/PATH`.
    pub path: String,
}
