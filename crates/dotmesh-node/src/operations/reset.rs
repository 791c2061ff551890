//! `dm reset`: moves the current branch to a commit.

use dotmesh_api::node::{Current, Reset, Switched};
use dotmesh_model::size::format_size;
use dotmesh_model::{BranchName, CommitId, DotName, Revision};
use dotmesh_pool::{NewStep, Start};

use super::bookkeeping::{self, Effort};
use super::require_here;
use super::revision::Revisions;
use super::switch::check::Scope;
use super::switch::execute::Teller;
use super::switch::{self, Change, Manner, switched};
use super::undo;
use crate::engine;
use crate::error::NodeError;
use crate::node::Node;
use crate::registry::Dot;

/// Resets the current branch. Commits that no branch has any more can still be named by their ids.
pub(crate) async fn reset(
    node: &Node,
    name: &DotName,
    request: Reset,
    tell: Teller,
) -> Result<Switched, NodeError> {
    let revision: Revision = request.revision.parse()?;
    let doing = format!("reset to {revision}");
    let _lock = node.locks.operation(name, &doing).await;
    let dot = node.registry.dot(name).await?;
    refuse_changed(&dot, request.expected.as_ref())?;
    let commit = Revisions::of(node, &dot).await?.find(&revision)?;
    require_here(node, &dot, commit).await?;
    let hint = "Commit them with 'dm commit', or discard them with 'dm reset --hard'.";
    let unchanged = match request.hard {
        true => None,
        false => Some(refuse_dirty(node, &dot, &dot.current, hint).await?),
    };
    refuse_pinned(node, &dot).await?;
    let branch = dot.current.clone();
    let manner = Manner::new(&request.wait, tell);
    let mut change = Rewind {
        node,
        before: dot.clone(),
        commit,
        unchanged,
        operation: None,
    };
    let done = switch::switch(node, &dot, &mut change, &manner).await;
    undo::settle(node, name).await;
    Ok(switched(branch, commit, done?))
}

/// Fails if a running container pins the current branch: a reset does not restart it.
pub(crate) async fn refuse_pinned(node: &Node, dot: &Dot) -> Result<(), NodeError> {
    let running = node.docker.active().await?;
    let pinned = running.iter().filter(|container| {
        let mut uses = container.uses.iter().map(|used| &used.volume);
        uses.any(|volume| volume.dot == dot.name && volume.pinned.as_ref() == Some(&dot.current))
    });
    let pinned = engine::names(pinned);
    if !pinned.is_empty() {
        let what = format!("branch {} of {} as a pinned volume", dot.current, dot.name);
        return Err(NodeError::InUse {
            what,
            containers: pinned,
        });
    }
    Ok(())
}

/// Fails if the current branch or its head has changed since the user saw it.
pub(crate) fn refuse_changed(dot: &Dot, expected: Option<&Current>) -> Result<(), NodeError> {
    let Some(expected) = expected else {
        return Ok(());
    };
    let head = dot.current()?.head;
    if dot.current == expected.branch && head == expected.head {
        return Ok(());
    }
    Err(NodeError::Changed {
        dot: dot.name.clone(),
        expected: Box::new(expected.clone()),
        now: Box::new(Current {
            branch: dot.current.clone(),
            head,
        }),
    })
}

/// A working copy that nobody has changed. A change that replaces it calls [`Unchanged::refuse_more`] once nothing runs on it.
#[derive(Debug, Clone)]
#[must_use = "databases may write rows when they are stopped"]
pub(crate) struct Unchanged {
    branch: BranchName,
    hint: &'static str,
    /// Whether databases have written to it, as they do at a mere restart.
    by_databases: bool,
}

impl Unchanged {
    /// Fails if databases wrote more than bookkeeping when they were stopped.
    pub(crate) async fn refuse_more(&self, node: &Node, dot: &Dot) -> Result<(), NodeError> {
        if !self.by_databases {
            return Ok(());
        }
        let unchanged = unchanged(node, dot, &self.branch, self.hint, Effort::Stopped).await;
        unchanged.map(drop)
    }
}

/// Fails if a branch has uncommitted changes, other than what databases write by themselves.
pub(crate) async fn refuse_dirty(
    node: &Node,
    dot: &Dot,
    branch: &BranchName,
    hint: &'static str,
) -> Result<Unchanged, NodeError> {
    unchanged(node, dot, branch, hint, Effort::Running).await
}

async fn unchanged(
    node: &Node,
    dot: &Dot,
    branch: &BranchName,
    hint: &'static str,
    effort: Effort,
) -> Result<Unchanged, NodeError> {
    node.pool.flush().await?;
    let usage = node
        .pool
        .usage(&dot.name, branch, dot.branch(branch)?.head)
        .await?;
    if usage.dirty == 0 || bookkeeping::is_all(node, dot, branch, effort).await {
        return Ok(Unchanged {
            branch: branch.clone(),
            hint,
            by_databases: usage.dirty > 0,
        });
    }
    Err(NodeError::Dirty {
        branch: branch.clone(),
        size: format_size(usage.dirty),
        hint,
    })
}

struct Rewind<'a> {
    node: &'a Node,
    before: Dot,
    commit: CommitId,
    /// `None` if changes are discarded.
    unchanged: Option<Unchanged>,
    /// The operation's number in the dot's log, once it is logged.
    operation: Option<u64>,
}

impl Change for Rewind<'_> {
    fn describe(&self) -> String {
        format!("resetting branch {}", self.before.current)
    }

    fn creates(&self) -> Option<&BranchName> {
        None
    }

    fn scope(&self) -> Scope<'_> {
        Scope::Branch(&self.before.current)
    }

    async fn apply(&mut self) -> Result<(), NodeError> {
        let (pool, dot) = (&self.node.pool, &self.before);
        if let Some(unchanged) = &self.unchanged {
            unchanged.refuse_more(self.node, dot).await?;
        }
        let (branch, commit) = (dot.current.clone(), self.commit);
        let (from, to) = (dot.current()?.head.short(), commit.short());
        let what = format!("reset of branch {branch} from {from} to {to}");
        let start = Start::Commit(commit);
        let steps = vec![NewStep::Replace { branch, start }];
        let number = pool.begin_operation(&dot.name, what, steps).await?;
        self.operation = Some(number);
        pool.carry_out(&dot.name, number).await?;
        let mut after = dot.clone();
        if let Some(branch) = after.branches.get_mut(&dot.current) {
            branch.head = self.commit;
        }
        match self.node.registry.put_dot(&after).await {
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
