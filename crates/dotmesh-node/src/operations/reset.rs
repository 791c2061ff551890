//! `dm reset`: moves a branch to a commit.

use dotmesh_api::node::{Current, Reset, Switched};
use dotmesh_model::size::format_size;
use dotmesh_model::{BranchName, CommitId, Revision};
use dotmesh_pool::{NewStep, Start};

use super::bookkeeping::{self, Effort};
use super::require_here;
use super::revision::Revisions;
use super::switch::check::Scope;
use super::switch::execute::Teller;
use super::switch::{self, Change, Manner, switched};
use super::undo::{self, Made};
use crate::engine;
use crate::error::NodeError;
use crate::node::Node;
use crate::registry::Dot;
use crate::view::{At, Shown, View};

/// Resets the branch. Commits that no branch has any more can still be named by their ids.
pub(crate) async fn reset(
    node: &Node,
    at: impl Into<At>,
    request: Reset,
    tell: Teller,
) -> Result<Switched, NodeError> {
    let revision: Revision = request.revision.parse()?;
    let doing = format!("reset to {revision}");
    let (_held, view) = node.hold(&at.into(), &doing).await?;
    refuse_changed(&view, request.expected.as_ref())?;
    let commit = Revisions::of(node, &view).await?.find(&revision)?;
    require_here(node, &view, commit).await?;
    let hint = "Commit them with 'dm commit', or discard them with 'dm reset --hard'.";
    let unchanged = match request.hard {
        true => None,
        false => Some(refuse_dirty(node, &view, &view.here, hint).await?),
    };
    refuse_pinned(node, &view).await?;
    let branch = view.here.clone();
    let manner = Manner::new(&request.wait, tell);
    let mut change = Rewind {
        node,
        view: &view,
        commit,
        unchanged,
        made: None,
    };
    let done = switch::switch(node, &view, &mut change, &manner).await?;
    Ok(switched(branch, commit, done))
}

/// Fails if the branch is checked out and a running container pins it: only the containers that follow the branch that
/// is checked out are restarted then.
pub(crate) async fn refuse_pinned(node: &Node, dot: &View) -> Result<(), NodeError> {
    if !dot.is_current() {
        return Ok(());
    }
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

/// Fails if the branch or its head has changed since the user saw it.
pub(crate) fn refuse_changed(view: &View, expected: Option<&Current>) -> Result<(), NodeError> {
    let Some(expected) = expected else {
        return Ok(());
    };
    let head = view.head()?;
    if view.here == expected.branch && head == expected.head {
        return Ok(());
    }
    Err(NodeError::Changed {
        dot: view.name.clone(),
        expected: Box::new(expected.clone()),
        now: Box::new(Current {
            branch: view.here.clone(),
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
        let unchanged = unchanged(node, dot, &self.branch, self.hint, Effort::Decision).await;
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
    unchanged(node, dot, branch, hint, Effort::Decision).await
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
    view: &'a View,
    commit: CommitId,
    /// `None` if changes are discarded.
    unchanged: Option<Unchanged>,
    /// The operation in the dot's log.
    made: Option<Made>,
}

impl Change for Rewind<'_> {
    fn shown(&self) -> Shown<'_> {
        self.view.shown()
    }

    fn describe(&self) -> String {
        format!("resetting branch {}", self.view.here)
    }

    fn creates(&self) -> Option<&BranchName> {
        None
    }

    fn scope(&self) -> Scope<'_> {
        Scope::Branch(&self.view.here)
    }

    async fn apply(&mut self) -> Result<(), NodeError> {
        if let Some(unchanged) = &self.unchanged {
            unchanged.refuse_more(self.node, self.view).await?;
        }
        let (branch, commit) = (self.view.here.clone(), self.commit);
        let (from, to) = (self.view.head()?.short(), commit.short());
        let what = format!("reset of branch {branch} from {from} to {to}");
        let start = Start::Commit(commit);
        let steps = vec![NewStep::Replace { branch, start }];
        self.made = Some(undo::make(self.node, self.view, what, steps, Some(commit)).await?);
        Ok(())
    }

    async fn undo(&mut self) -> Result<(), NodeError> {
        match self.made.take() {
            Some(made) => undo::retract(self.node, self.view, made).await,
            None => Ok(()),
        }
    }
}
