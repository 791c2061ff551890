//! Links a local dot to a hub's dot by identity. A name on a hub can pass to another dot, an identity cannot.
//!
//! The identities are stored with the hubs' history. For hubs that report none, the name alone counts.

use std::collections::BTreeMap;

use dotmesh_api::ErrorCode;
use dotmesh_api::hub::{HubBranch, HubDot};
use dotmesh_api::identity::Meant;
use dotmesh_api::node::Source;
use dotmesh_model::{BranchName, CommitId, CommitRecord, DotIdentity, DotName, History};

use dotmesh_sync::retry;

use super::transfer::{Connection, Job};
use crate::error::NodeError;
use crate::hub_history::HubHistory;
use crate::node::Node;
use crate::registry::Dot;

/// The hub's dot in a transfer.
pub(crate) struct Upstream {
    /// Requests to the hub that are valid for this dot only.
    pub(crate) connection: Connection,
    /// Its present name.
    pub(crate) name: DotName,
    /// The dot, or `None` if a push is about to create it.
    pub(crate) there: Option<HubDot>,
}

impl Upstream {
    fn new(job: &Job, meant: Option<Meant>, name: DotName, there: Option<HubDot>) -> Self {
        let connection = Connection {
            hub: job.hub.about(meant),
            ..job.connection.clone()
        };
        Self {
            connection,
            name,
            there,
        }
    }

    /// An existing dot. If an older hub reports no identity, it keeps the requested name.
    fn found(job: &Job, there: HubDot) -> Self {
        let (meant, name) = match there.identity {
            Some(identity) => (Some(Meant::Known(identity)), there.name.clone()),
            None => (None, job.request.remote_dot.clone()),
        };
        Self::new(job, meant, name, Some(there))
    }

    /// Its identity, if known.
    pub(crate) fn identity(&self) -> Option<DotIdentity> {
        self.there.as_ref().and_then(|there| there.identity)
    }

    /// Its present name, if that is not the requested one.
    pub(crate) fn renamed(&self, job: &Job) -> Option<DotName> {
        (self.name != job.request.remote_dot).then(|| self.name.clone())
    }

    /// Those of the given branches that are there, and at that commit.
    pub(crate) fn seen<'a>(
        &self,
        branches: impl Iterator<Item = &'a HubBranch>,
    ) -> BTreeMap<BranchName, CommitId> {
        let there = self.there.as_ref().map_or(&[][..], |there| &there.branches);
        let seen = branches.filter(|branch| there.contains(branch));
        seen.map(|branch| (branch.name.clone(), branch.head))
            .collect()
    }

    /// Where its commits' data can be fetched later.
    pub(crate) fn source(&self) -> Source {
        Source {
            hub: self.connection.hub_name(),
            dot: self.name.clone(),
        }
    }
}

/// Finds the hub's dot for reading. Fails if it is not the linked one.
pub(crate) async fn read(job: &Job, told: &HubHistory) -> Result<(Upstream, HubDot), NodeError> {
    let there = look(job, told).await?;
    let there = there.ok_or_else(|| job.no_remote_dot())?;
    Ok((Upstream::found(job, there.clone()), there))
}

/// Finds the hub's dot to push a branch to. It may not exist yet.
pub(crate) async fn write(
    job: &Job,
    branch: &BranchName,
    history: &History,
) -> Result<Upstream, NodeError> {
    let asked = &job.request.remote_dot;
    let told = HubHistory::load(&job.node, &job.local).await?;
    let new = || Upstream::new(job, Some(Meant::New), asked.clone(), None);
    let Some(there) = look(job, &told).await? else {
        return Ok(new());
    };
    let Some(identity) = there.identity else {
        return Ok(Upstream::found(job, there));
    };
    let (is_renamed, stash) = (there.name != *asked, job.request.stash_on_divergence);
    // If both sides have the branch, the later error that it has diverged says more.
    let has_branch = there.branches.iter().any(|there| there.name == *branch);
    let upstream = Upstream::found(job, there);
    if told.knows(&job.hub_name(), identity) || is_related(&upstream, history).await? {
        return Ok(upstream);
    }
    match is_renamed {
        // The name is free, so the push creates a new dot.
        true => Ok(new()),
        false if stash || has_branch => Ok(upstream),
        false => Err(NodeError::Unrelated {
            hub: job.hub_name(),
            dot: asked.full(),
            local: job.local.clone(),
        }),
    }
}

/// Asks the hub for the dot. Fails if it is known not to be the linked one.
async fn look(job: &Job, told: &HubHistory) -> Result<Option<HubDot>, NodeError> {
    let asked = &job.request.remote_dot;
    let known = told.identity(&job.hub_name(), asked);
    let hub = job.hub.about(known.map(Meant::Known));
    let asking = retry(&job.progress, "read the dot's branches", || hub.dot(asked));
    let there = match asking.await {
        Err(error) if error.source.code() == ErrorCode::AnotherDot => {
            return Err(another(job, error.source));
        }
        there => there?,
    };
    let found = there.as_ref().map(|there| there.identity);
    match known {
        // An older hub, which reports no identity.
        Some(_) if found == Some(None) => Ok(there),
        Some(known) if found != Some(Some(known)) => Err(job.another_dot(None)),
        _ => Ok(there),
    }
}

/// Turns the hub's refusal into an error in terms of the user's command.
fn another(job: &Job, error: dotmesh_api::ClientError) -> NodeError {
    match error {
        dotmesh_api::ClientError::Refused(body) => job.another_dot(body.moved_to),
        error => error.into(),
    }
}

/// Whether the two dots have a common commit, or the hub's dot has no commits.
async fn is_related(upstream: &Upstream, history: &History) -> Result<bool, NodeError> {
    let branches = upstream.there.iter().flat_map(|there| &there.branches);
    let heads: Vec<CommitId> = branches
        .map(|branch| branch.head)
        .filter(|head| *head != CommitId::ROOT)
        .collect();
    if heads.is_empty() || heads.iter().any(|head| history.contains(*head)) {
        return Ok(true);
    }
    for head in heads {
        let hub = &upstream.connection;
        for commit in hub.hub_commits(&upstream.name, head, None).await?.commits {
            let record = CommitRecord::decode(commit.record.as_bytes())?;
            if history.contains(record.id) {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// Stores the link to the hub's dot, and where a push left its branches. `made` is the identity of a dot that the push
/// created.
pub(crate) async fn remember(
    job: &Job,
    dot: &Dot,
    upstream: &Upstream,
    made: Option<DotIdentity>,
    heads: BTreeMap<BranchName, CommitId>,
) -> Result<(), NodeError> {
    let (hub, asked) = (job.hub_name(), &job.request.remote_dot);
    let identity = made.or_else(|| upstream.identity());
    let note = |told: &mut HubHistory| {
        let learnt =
            identity.is_some_and(|identity| told.learn(&hub, asked, &upstream.name, identity));
        learnt | told.see(&upstream.source(), identity, heads.clone(), false)
    };
    // What is known already is not written again.
    if !note(&mut HubHistory::load(&job.node, &job.local).await?) {
        return Ok(());
    }
    let _lock = job.node.locks.operation(&job.local, "pushed").await;
    // The local dot may have been deleted meanwhile, and another may have its name.
    let here = job.node.registry.find_dot(&job.local).await?;
    if here.is_none_or(|here| here.id != dot.id) {
        return Ok(());
    }
    let mut told = HubHistory::load(&job.node, &job.local).await?;
    if note(&mut told) {
        told.save(&job.node, &job.local).await?;
    }
    Ok(())
}

/// Forgets which dot a name on a hub belongs to. The next transfer links the dot that has the name then.
pub(crate) async fn forget(node: &Node, name: &DotName, there: &Source) -> Result<(), NodeError> {
    let _lock = node.locks.operation(name, "given another upstream").await;
    node.registry.dot(name).await?;
    let mut told = HubHistory::load(node, name).await?;
    if told.forget(&there.hub, &there.dot) {
        told.save(node, name).await?;
    }
    Ok(())
}
