//! Single files and folders of a dot.

use serde::{Deserialize, Serialize};

use super::{Current, Wait};

/// `POST /v1/dots/{namespace}/{dot}/restore`: puts files and folders of a commit back. Answers as a checkout does.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RestorePaths {
    /// The commit, by any name of one.
    pub revision: String,
    /// What to restore: `SUBDOT` or `SUBDOT/PATH`.
    pub paths: Vec<String>,
    /// What the user saw. It is refused if that has changed.
    #[serde(default)]
    pub expected: Option<Current>,
    /// How to wait for the containers.
    #[serde(default)]
    pub wait: Wait,
}

/// The query of `GET /v1/dots/{namespace}/{dot}/content`, which answers with an archive in the format of `tar`. Its first entry is
/// what was asked for.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ContentQuery {
    /// The commit, by any name of one; without it, the working copy of the current branch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// `SUBDOT` or `SUBDOT/PATH`.
    pub path: String,
}
