//! `dm checkout`: switches the dot's unpinned volumes to another branch.

use dotmesh_api::node::{BranchStart, Checkout, Switched};
use dotmesh_model::branches::Origin;
use dotmesh_model::{BranchName, CommitId, History};
use dotmesh_pool::{NewStep, Start};

use super::bookkeeping::{self, Effort};
use super::forks::{self, ForkError};
use super::revision::Revisions;
use super::switch::check::Scope;
use super::switch::execute::Teller;
use super::switch::{self, Change, Done, Manner, switched};
use super::{require_here, stash, undo};
use crate::error::NodeError;
use crate::node::Node;
use crate::registry::{Branch, Dot};
use crate::view::{At, View};

/// Switches to a branch, and creates it first on request.
pub(crate) async fn checkout(
    node: &Node,
    at: impl Into<At>,
    request: Checkout,
    tell: Teller,
) -> Result<Switched, NodeError> {
    let At { dot: name, branch } = &at.into();
    if let Some(branch) = branch {
        let branch = branch.clone();
        return Err(ForkError::Stays { branch }.into());
    }
    let doing = format!("switched to branch {}", request.branch);
    let _lock = node.locks.operation(name, &doing).await;
    let dot = node.registry.dot(name).await?;
    let branch = request.branch;
    let create = match request.create {
        None => {
            dot.branch(&branch)?;
            None
        }
        Some(BranchStart::Throwaway(revision)) if dot.branches.contains_key(&branch) => {
            let view = View::new(dot.clone(), None)?;
            let commit = Revisions::of(node, &view).await?.find_text(&revision)?;
            refuse_other(node, &dot, &branch, commit).await?;
            None
        }
        Some(_) if dot.branches.contains_key(&branch) => {
            return Err(NodeError::BranchExists { branch });
        }
        Some(start) => {
            branch.check_new()?;
            Some(plan(node, &View::new(dot.clone(), None)?, start).await?)
        }
    };
    if branch == dot.current {
        // The containers already show this branch.
        let head = dot.current()?.head;
        return Ok(switched(branch, head, Done::default()));
    }
    forks::refuse_forked(node, name, &branch).await?;
    let manner = Manner::new(&request.wait, tell);
    let mut change = Switch {
        node,
        before: dot.clone(),
        after: dot.clone(),
        branch: branch.clone(),
        create,
        operation: None,
    };
    let done = switch::switch(node, &dot, &mut change, &manner).await;
    undo::settle(node, name).await;
    let done = done?;
    let head = change.after.current()?.head;
    Ok(switched(branch, head, done))
}

/// Fails unless the branch is at the commit and nobody has changed it.
async fn refuse_other(
    node: &Node,
    dot: &Dot,
    branch: &BranchName,
    commit: CommitId,
) -> Result<(), NodeError> {
    node.pool.flush().await?;
    let head = dot.branch(branch)?.head;
    let is_unchanged = node.pool.usage(&dot.name, branch, head).await?.dirty == 0
        || bookkeeping::is_all(node, dot, branch, Effort::Decision).await;
    match head == commit && is_unchanged {
        true => Ok(()),
        false => Err(NodeError::NotAsMade {
            branch: branch.clone(),
            commit,
        }),
    }
}

/// The start of a new branch, and its entry in the registry.
pub(super) async fn plan(
    node: &Node,
    dot: &View,
    start: BranchStart,
) -> Result<(Start, Branch), NodeError> {
    let current = dot.dot.branch(&dot.here)?;
    let (start, head, shared) = match start {
        BranchStart::WorkingCopy => (
            Start::WorkingCopy(dot.here.clone()),
            current.head,
            current.head,
        ),
        BranchStart::Stash(id) => {
            let (_, stash) = stash::find(node, &dot.name, id).await?;
            let history = node.registry.history(&dot.id).await?;
            let shared = common(&history, current.head, stash.head);
            (Start::Stash(id), stash.head, shared)
        }
        BranchStart::Commit(revision) | BranchStart::Throwaway(revision) => {
            let revisions = Revisions::of(node, dot).await?;
            let commit = revisions.find_text(&revision)?;
            require_here(node, dot, commit).await?;
            let shared = common(&revisions.history, current.head, commit);
            (Start::Commit(commit), commit, shared)
        }
    };
    let origin = Origin {
        branch: dot.here.clone(),
        commit: shared,
    };
    Ok((
        start,
        Branch {
            head,
            origin: Some(origin),
        },
    ))
}

/// The newest common ancestor.
fn common(history: &History, one: CommitId, other: CommitId) -> CommitId {
    let mut ancestry = history.ancestry(one);
    let common = ancestry.find(|id| history.is_ancestor(*id, other));
    common.unwrap_or(CommitId::ROOT)
}

struct Switch<'a> {
    node: &'a Node,
    before: Dot,
    after: Dot,
    branch: BranchName,
    create: Option<(Start, Branch)>,
    /// The operation's number in the dot's log, once it is logged.
    operation: Option<u64>,
}

impl Change for Switch<'_> {
    fn describe(&self) -> String {
        format!("switching to branch {}", self.branch)
    }

    fn creates(&self) -> Option<&BranchName> {
        self.create.as_ref().map(|_| &self.branch)
    }

    fn scope(&self) -> Scope<'_> {
        Scope::Unpinned
    }

    /// Creates the branch only now, since the applications have stopped and written everything.
    async fn apply(&mut self) -> Result<(), NodeError> {
        let (pool, name) = (&self.node.pool, &self.before.name);
        let (from, to) = (&self.before.current, &self.branch);
        let mut steps = Vec::new();
        let mut kind = "branch";
        if let Some((start, branch)) = &self.create {
            kind = "the new branch";
            steps.push(NewStep::Create {
                branch: to.clone(),
                start: start.clone(),
            });
            self.after.branches.insert(to.clone(), branch.clone());
        }
        self.after.current = to.clone();
        steps.push(NewStep::Describe(self.after.to_file()));
        let what = format!("switch from branch {from} to {kind} {to}");
        let number = pool.begin_operation(name, what, steps).await?;
        self.operation = Some(number);
        pool.carry_out(name, number).await?;
        match self.node.registry.put_dot(&self.after).await {
            Ok(()) => Ok(()),
            Err(error) => {
                self.undo().await?;
                Err(error)
            }
        }
    }

    async fn undo(&mut self) -> Result<(), NodeError> {
        if let Some(number) = self.operation {
            self.node.pool.roll_back(&self.before.name, number).await?;
        }
        self.node.registry.put_dot(&self.before).await
    }
}
