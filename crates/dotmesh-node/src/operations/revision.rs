//! Finds the commits that people name.

use std::collections::BTreeMap;

use dotmesh_model::{BranchName, CommitId, History, Revision};

use super::tag;
use crate::error::NodeError;
use crate::node::Node;
use crate::registry::Dot;

/// What names of commits can stand for in a dot.
pub(crate) struct Revisions {
    /// The head of the current branch.
    pub(crate) head: CommitId,
    pub(crate) history: History,
    names: BTreeMap<BranchName, CommitId>,
}

impl Revisions {
    /// Those of a dot as it is now.
    pub(crate) async fn of(node: &Node, dot: &Dot) -> Result<Self, NodeError> {
        // A branch wins over a tag, as on a hub.
        let mut names = tag::commits(node, &dot.name).await?;
        names.extend(dot.heads());
        Ok(Self {
            head: dot.current()?.head,
            history: node.registry.history(&dot.id).await?,
            names,
        })
    }

    /// The commit that a revision names.
    pub(crate) fn find(&self, revision: &Revision) -> Result<CommitId, NodeError> {
        Ok(revision.resolve(self.head, &self.names, &self.history)?)
    }

    /// The same for a text that somebody wrote.
    pub(crate) fn find_text(&self, text: &str) -> Result<CommitId, NodeError> {
        self.find(&text.parse()?)
    }

    /// All commits that have a name.
    pub(crate) fn named(&self) -> impl Iterator<Item = CommitId> + '_ {
        self.names.values().copied()
    }
}
