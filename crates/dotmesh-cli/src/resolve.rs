//! Finds the state that an address or a word names in a dot of a hub.

use std::collections::BTreeSet;

use dotmesh_api::hub::{HubBranch, HubDot};
use dotmesh_api::page::{self, Reference};
use dotmesh_api::{ClientError, HubClient};
use dotmesh_model::{BranchName, CommitId, CommitRecord, DotName};

use crate::error::{CliError, Result};
use crate::hub;

/// The most branches that an error lists.
const MAX_LISTED: usize = 10;

/// A state, and the branch that it is worked on with here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// The branch.
    pub branch: BranchName,
    /// The commit; `None` for wherever the hub has the branch.
    pub commit: Option<CommitId>,
}

/// Finds it.
pub async fn resolve(client: &HubClient, name: &DotName, reference: &Reference) -> Result<State> {
    let dot = client.dot(name).await.map_err(hub::explain)?;
    let Some(dot) = dot else {
        let (hub, user) = (client.address(), client.user());
        return Err(CliError::failed(format!(
            "there is no dot {} on {hub} that {user} may see",
            name.full()
        ))
        .hint("Check the address, or ask the dot's owner for access."));
    };
    let digits = match reference {
        Reference::Commit(digits) => digits.clone(),
        Reference::Name(word) => match named(&dot, word) {
            Ok(branch) => {
                return Ok(State {
                    branch,
                    commit: None,
                });
            }
            Err(error) => page::commit_prefix(word).ok_or(error)?,
        },
    };
    let commit = match digits.parse() {
        Ok(id) => id,
        Err(_) => by_prefix(client, &dot, &digits).await?,
    };
    Ok(at_commit(&dot.branches, commit))
}

fn named(dot: &HubDot, word: &str) -> Result<BranchName> {
    let found = dot
        .branches
        .iter()
        .find(|branch| branch.name.as_str() == word);
    found.map(|branch| branch.name.clone()).ok_or_else(|| {
        let known = dot.branches.iter().take(MAX_LISTED);
        let known: Vec<_> = known.map(|branch| branch.name.as_str()).collect();
        let more = if dot.branches.len() > MAX_LISTED {
            ", …"
        } else {
            ""
        };
        CliError::failed(format!("{} has no branch '{word}' there", dot.name.full()))
            .hint(format!("Its branches: {}{more}", known.join(", ")))
    })
}

/// The branch that is at a commit, `master` before others; a new one where none is.
pub fn at_commit(branches: &[HubBranch], commit: CommitId) -> State {
    let at = || branches.iter().filter(|branch| branch.head == commit);
    let found = at()
        .find(|branch| branch.name == BranchName::master())
        .or_else(|| at().next());
    let branch = match found {
        Some(branch) => branch.name.clone(),
        None => named_after(commit),
    };
    State {
        branch,
        commit: Some(commit),
    }
}

/// `at-0123abcd01`
fn named_after(commit: CommitId) -> BranchName {
    format!("at-{}", commit.short())
        .parse()
        .expect("digits are letters of names")
}

/// The one commit on the hub's branches whose id begins like this.
async fn by_prefix(client: &HubClient, dot: &HubDot, digits: &str) -> Result<CommitId> {
    let mut seen = BTreeSet::new();
    for branch in &dot.branches {
        // Histories share most of what they have.
        if seen.contains(&branch.head) {
            continue;
        }
        let list = client.commits(&dot.name, branch.head, None).await;
        for commit in list.map_err(hub::explain)?.commits {
            let record = CommitRecord::decode(commit.record.as_bytes()).map_err(|_| {
                let status = 200;
                let server = client.address().to_string();
                hub::explain(ClientError::NotDotmesh { server, status })
            })?;
            seen.insert(record.id);
        }
    }
    let found: Vec<_> = seen
        .into_iter()
        .filter(|id| id.to_string().starts_with(digits))
        .collect();
    let dot = dot.name.full();
    match found.as_slice() {
        [id] => Ok(*id),
        [] => Err(CliError::failed(format!(
            "no commit on a branch of {dot} begins with {digits}"
        ))),
        several => Err(CliError::failed(format!(
            "{} commits of {dot} begin with {digits}: give more of the id",
            several.len()
        ))),
    }
}
