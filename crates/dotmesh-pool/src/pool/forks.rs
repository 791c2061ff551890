//! The forks of a dot, in one small file that is replaced atomically.

use std::collections::BTreeMap;
use std::path::PathBuf;

use dotmesh_model::{BranchName, DotName};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Pool;
use crate::error::PoolError;
use crate::layout::{read_json, write_json};

/// `forks.json`: the copies of the app that run on branches of their own.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForksFile {
    /// The forks by their branch, whose name is the fork's name.
    #[serde(default)]
    pub forks: BTreeMap<BranchName, StoredFork>,
}

/// A fork.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredFork {
    /// Its Compose project.
    pub project: String,
    /// The folder of its Compose file, in which commands are about this fork by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folder: Option<PathBuf>,
    /// Whether the app itself runs from that folder, so that commands there are not about this fork.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub shares_folder: bool,
    /// Its ports on this machine. They stay the same as long as the fork is kept.
    #[serde(default)]
    pub ports: Vec<StoredPort>,
    /// When it was made.
    pub made: Timestamp,
    /// When the daemon stops it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
    /// The configuration that Compose got for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<String>,
}

/// A port of a fork.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredPort {
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

impl Pool {
    /// The forks of a dot.
    pub async fn forks(&self, dot: &DotName) -> Result<ForksFile, PoolError> {
        let path = self.inner.layout.forks(dot);
        self.run(move |_| Ok(read_json(&path)?.unwrap_or_default()))
            .await
    }

    /// Replaces the forks of a dot durably.
    pub async fn write_forks(&self, dot: &DotName, forks: &ForksFile) -> Result<(), PoolError> {
        let (path, forks) = (self.inner.layout.forks(dot), forks.clone());
        self.run(move |_| write_json(&path, &forks)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_read() {
        let kept = include_str!("../../../../testdata/v1/pool/forks.json");
        let read: ForksFile = serde_json::from_str(kept).expect("the file");
        let written = serde_json::to_string_pretty(&read).expect("JSON");
        assert_eq!(written, kept, "nothing is lost, nothing is unknown");
    }
}
