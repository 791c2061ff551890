//! What hubs have told of a dot's history: kept in the pool, so that commits whose data is not here outlive the registry.

use std::collections::BTreeMap;

use dotmesh_api::hub::SealedCommit;
use dotmesh_api::node::Source;
use dotmesh_model::{CommitId, CommitRecord, DotName};
use serde::{Deserialize, Serialize};

use crate::error::NodeError;
use crate::node::Node;
use crate::registry::{NewCommit, Seal};

/// Commits that a hub has, each verified by its seal when it was told.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct HubHistory {
    commits: BTreeMap<CommitId, HubCommit>,
}

/// A commit, and where its data can be fetched.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct HubCommit {
    #[serde(flatten)]
    pub(crate) sealed: SealedCommit,
    #[serde(flatten)]
    pub(crate) source: Source,
}

impl HubHistory {
    /// Reads what was told before. What cannot be read is told again by the next pull.
    pub(crate) async fn load(node: &Node, dot: &DotName) -> Result<Self, NodeError> {
        let Some(bytes) = node.pool.hub_history(dot).await? else {
            return Ok(Self::default());
        };
        Ok(serde_json::from_slice(&bytes).unwrap_or_else(|error| {
            tracing::warn!(%dot, %error, "what hubs told of a dot cannot be read");
            Self::default()
        }))
    }

    /// Writes it durably.
    pub(crate) async fn save(&self, node: &Node, dot: &DotName) -> Result<(), NodeError> {
        let bytes = serde_json::to_vec(self).expect("a history has only string keys");
        Ok(node.pool.write_hub_history(dot, bytes).await?)
    }

    /// Adds a commit; `false` when it was there.
    pub(crate) fn add(&mut self, id: CommitId, commit: HubCommit) -> bool {
        self.commits.insert(id, commit).is_none()
    }

    /// A commit that was told.
    pub(crate) fn get(&self, id: CommitId) -> Option<&HubCommit> {
        self.commits.get(&id)
    }

    /// Every commit that was told.
    pub(crate) fn ids(&self) -> impl Iterator<Item = CommitId> + '_ {
        self.commits.keys().copied()
    }
}

impl HubCommit {
    /// The commit as the registry keeps it while its data is not here.
    pub(crate) fn absent(&self) -> Result<NewCommit, NodeError> {
        let record = CommitRecord::decode(self.sealed.record.as_bytes())?;
        Ok(NewCommit {
            id: record.id,
            parent: record.parent,
            record: self.sealed.record.clone().into_bytes(),
            seal: Some(self.seal()),
            source: Some(self.source.clone()),
        })
    }

    /// Its seal. Whether a file has several names is not told.
    pub(crate) fn seal(&self) -> Seal {
        Seal {
            seal: self.sealed.seal,
            root: self.sealed.root,
            links: true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_first_version_kept_is_read() {
        let kept = include_bytes!("../../../testdata/v1/pool/hub-history.json");
        let history: HubHistory = serde_json::from_slice(kept).expect("a history");
        let written = serde_json::to_value(&history).expect("JSON");
        let whole: serde_json::Value = serde_json::from_slice(kept).expect("JSON");
        assert_eq!(written, whole, "nothing is lost, nothing is unknown");
        for id in history.ids() {
            let commit = history.get(id).expect("a commit");
            let absent = commit.absent().expect("its record can be read");
            assert_eq!(absent.id, id);
            assert_eq!(absent.seal.map(|seal| seal.seal), Some(commit.sealed.seal));
            assert_eq!(commit.source.hub, "https://hub.example.com");
        }
        assert_eq!(history.ids().count(), 3);
    }
}
