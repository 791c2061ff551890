//! Finds the state of a dot on a hub that an address or an argument names.

use dotmesh_api::HubClient;
use dotmesh_api::hub::ResolvedRef;
use dotmesh_api::page::Reference;
use dotmesh_model::{BranchName, CommitId, DotName};

use crate::error::{CliError, Code, Result};
use crate::hub;

/// A state, and the branch on which it is checked out here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// The branch.
    pub branch: BranchName,
    /// The commit. `None` means the head of the branch on the hub.
    pub commit: Option<CommitId>,
}

/// Asks the hub which state a reference names.
pub async fn resolve(client: &HubClient, dot: &DotName, reference: &Reference) -> Result<State> {
    let resolved = client.resolve(dot, reference).await.map_err(hub::explain)?;
    State::of(&resolved, reference)
}

impl State {
    /// Uses the branch that was named. Otherwise, uses a branch whose head is the commit, `master` first, or else a new branch.
    ///
    /// A full id always means that commit. Hubs of earlier versions look for a branch or a tag with that name first.
    pub fn of(resolved: &ResolvedRef, reference: &Reference) -> Result<Self> {
        let (commit, heads) = (resolved.commit, &resolved.heads);
        let at = |name: &str| heads.iter().find(|head| head.as_str() == name).cloned();
        let id = CommitId::from_any_case(reference.as_str());
        if id.is_some_and(|id| id != commit) {
            return Err(CliError::new(Code::Refused, format!(
                "the hub has a branch or a tag named {reference}, but it is not at the commit with that id"
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
