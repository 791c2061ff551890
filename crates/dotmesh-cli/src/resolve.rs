//! Finds the state that an address or a word names in a dot of a hub.

use dotmesh_api::HubClient;
use dotmesh_api::hub::ResolvedRef;
use dotmesh_api::page::Reference;
use dotmesh_model::{BranchName, CommitId, DotName};

use crate::error::Result;
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
    Ok(State::of(&resolved, reference))
}

impl State {
    /// The branch that was named; else one that is at the commit, `master` before others; else a new one.
    pub fn of(resolved: &ResolvedRef, reference: &Reference) -> Self {
        let (commit, heads) = (resolved.commit, &resolved.heads);
        let at = |name: &str| heads.iter().find(|head| head.as_str() == name).cloned();
        if let Some(branch) = at(&reference.to_string()) {
            return Self {
                branch,
                commit: None,
            };
        }
        let found = at(BranchName::master().as_str()).or_else(|| heads.first().cloned());
        Self {
            branch: found.unwrap_or_else(|| named_after(commit)),
            commit: Some(commit),
        }
    }
}

/// `at-0123abcd01`
fn named_after(commit: CommitId) -> BranchName {
    format!("at-{}", commit.short())
        .parse()
        .expect("digits are letters of names")
}
