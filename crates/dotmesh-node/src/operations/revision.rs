//! Resolves revisions to commits.

use std::collections::BTreeMap;

use dotmesh_model::{BranchName, CommitId, History, Revision};

use super::tag;
use crate::error::NodeError;
use crate::node::Node;
use crate::view::View;

/// The branches, tags and history that revisions are resolved in.
pub(crate) struct Revisions {
    /// The head of the branch.
    pub(crate) head: CommitId,
    pub(crate) history: History,
    names: BTreeMap<BranchName, CommitId>,
}

impl Revisions {
    /// Reads them for the dot's present state.
    pub(crate) async fn of(node: &Node, dot: &View) -> Result<Self, NodeError> {
        // A branch takes precedence over a tag, as on a hub.
        let mut names = tag::commits(node, &dot.name).await?;
        names.extend(dot.heads());
        Ok(Self {
            head: dot.head()?,
            history: node.registry.history(&dot.id).await?,
            names,
        })
    }

    /// The commit that a revision names.
    pub(crate) fn find(&self, revision: &Revision) -> Result<CommitId, NodeError> {
        Ok(revision.resolve(self.head, &self.names, &self.history)?)
    }

    /// Parses a revision and finds its commit.
    pub(crate) fn find_text(&self, text: &str) -> Result<CommitId, NodeError> {
        self.find(&text.parse()?)
    }

    /// All commits with a branch or a tag.
    pub(crate) fn named(&self) -> impl Iterator<Item = CommitId> + '_ {
        self.names.values().copied()
    }
}
