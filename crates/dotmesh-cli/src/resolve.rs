//! Finds the state that an address or a word names in a dot of a hub.

use dotmesh_api::HubClient;
use dotmesh_api::hub::ResolvedRef;
use dotmesh_api::page::Reference;
use dotmesh_model::{BranchName, CommitId, DotName};

use crate::error::{CliError, Result};
use crate::hub;

/// A state, and the branch that it is worked on with here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// The branch.
    pub branch: BranchName,
    /// The commit; `None` for wherever the hub has the branch.
    pub commit: Option<CommitId>,
}

/// Asks the hub.
pub async fn resolve(client: &HubClient, dot: &DotName, reference: &Reference) -> Result<State> {
    let resolved = client.resolve(dot, reference).await.map_err(hub::explain)?;
    State::of(&resolved, reference)
}

impl State {
    /// The branch that was named; else one that is at the commit, `master` before others; else a new one.
    ///
    /// A full id stands for that commit and nothing else. A hub of an earlier version takes it for a name first.
    pub fn of(resolved: &ResolvedRef, reference: &Reference) -> Result<Self> {
        let (commit, heads) = (resolved.commit, &resolved.heads);
        let at = |name: &str| heads.iter().find(|head| head.as_str() == name).cloned();
        let id = CommitId::from_any_case(reference.as_str());
        if id.is_some_and(|id| id != commit) {
            return Err(CliError::failed(format!(
                "the hub has a branch or a tag called {reference}, which is not the commit with that id"
            ))
            .hint("Clone the branch by its name: dm clone REMOTE DOT BRANCH"));
        }
        if let Some(branch) = at(reference.as_str()).filter(|_| id.is_none()) {
            return Ok(Self {
                branch,
                commit: None,
            });
        }
        let found = at(BranchName::master().as_str()).or_else(|| heads.first().cloned());
        Ok(Self {
            branch: found.unwrap_or_else(|| BranchName::at(commit)),
            commit: Some(commit),
        })
    }
}
