//! The rows of a list of branches: the newest commit, its size, and the distance from the default branch.

use std::collections::HashMap;

use dotmesh_api::hub::HubBranch;
use dotmesh_browse::facts::CommitFacts;
use dotmesh_hub_model::commit_summary::CommitSummary;
use dotmesh_hub_model::show;
use dotmesh_hub_service::Hub;
use dotmesh_hub_service::auth::OpenDot;
use dotmesh_hub_service::operations::branch_distances::{Distance, branch_distances};
use dotmesh_model::{BranchName, CommitId};

use crate::error::HttpError;
use crate::web::visit::DotHeader;

/// A branch in a list.
pub(crate) struct BranchRow {
    pub(crate) name: BranchName,
    /// `None` if the branch has no commits.
    pub(crate) commit: Option<CommitSummary>,
    /// The size of its newest state, if it is counted.
    pub(crate) size: Option<String>,
    pub(crate) is_default: bool,
    pub(crate) is_protected: bool,
    /// How far it is from the default branch.
    distance: Option<Distance>,
}

impl BranchRow {
    /// `2 ahead, 1 behind`.
    pub(crate) fn distance(&self) -> Option<String> {
        let Distance { ahead, behind } = self.distance?;
        match (ahead, behind) {
            (0, 0) => Some("the same as the default branch".to_owned()),
            (ahead, 0) => Some(format!("{ahead} ahead")),
            (0, behind) => Some(format!("{behind} behind")),
            (ahead, behind) => Some(format!("{ahead} ahead, {behind} behind")),
        }
    }

    /// Whether a maintainer may delete it.
    pub(crate) fn may_go(&self) -> bool {
        !self.is_default && !self.is_protected
    }
}

/// Looks up what the list shows of branches.
pub(crate) async fn branch_rows(
    hub: &Hub,
    open: &OpenDot,
    dot: &DotHeader,
    branches: Vec<HubBranch>,
) -> Result<Vec<BranchRow>, HttpError> {
    let id = open.existing()?;
    let heads: Vec<CommitId> = branches.iter().map(|branch| branch.head).collect();
    let commits = hub.database.summaries(id, &heads).await?;
    let sizes: HashMap<CommitId, CommitFacts> = hub.database.all_facts(id, &heads).await?;
    let protected = hub.database.protected(id).await?;
    let others = branches.iter().any(|one| one.name != dot.default_branch);
    let base = match others {
        true => hub.database.branch_head(id, &dot.default_branch).await?,
        false => None,
    };
    let distances = match base {
        Some(base) => branch_distances(hub, open, base, &heads).await?,
        None => HashMap::new(),
    };
    let row = |branch: HubBranch| {
        let is_default = branch.name == dot.default_branch;
        BranchRow {
            commit: commits.get(&branch.head).cloned(),
            size: sizes
                .get(&branch.head)
                .map(|facts| show::bytes(facts.total.bytes)),
            is_default,
            is_protected: protected.contains(&branch.name),
            distance: distances.get(&branch.head).copied().filter(|_| !is_default),
            name: branch.name,
        }
    };
    Ok(branches.into_iter().map(row).collect())
}
