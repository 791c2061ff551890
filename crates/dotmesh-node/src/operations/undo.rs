//! `dm undo` and `dm redo`: undo the last operation of a dot, and redo it.
//!
//! The pool's log has the steps of each operation, which work in both directions. An operation that replaces the
//! working copy that a request is about, or checks out another branch, is a switch like any other.
//!
//! Each branch that is not checked out has its own order: in a fork, the last operation on its branch is undone, and
//! elsewhere the last one that is not a fork's. Operations on different branches can be undone in any order.

use std::collections::BTreeSet;

use dotmesh_api::node::{Switched, Undo};
use dotmesh_model::{BranchName, CommitId, DotName, SubdotName};
use dotmesh_pool::{ForksFile, NewStep, Operation, RestorableDot, to_redo, to_undo};

use super::switch::check::{self, Scope};
use super::switch::execute::Teller;
use super::switch::{self, Change, Done, Manner, switched};
use super::{delete_dot, mount, reconcile, rename_branch, rename_dot, restore};
use crate::engine::{self, Container};
use crate::error::NodeError;
use crate::node::Node;
use crate::registry::Dot;
use crate::view::{At, Shown, View};

/// Whether an operation is undone or redone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Back,
    Again,
}

/// Undoes the last operation. For a deleted dot, that is its deletion.
pub(crate) async fn undo(
    node: &Node,
    at: impl Into<At>,
    request: Undo,
    tell: Teller,
) -> Result<Switched, NodeError> {
    let (at, doing) = (at.into(), "changed by 'dm undo'");
    let manner = Manner::new(&request.wait, tell);
    if request.deleted.is_none() && node.registry.find_dot(&at.dot).await?.is_some() {
        let (_held, view) = node.hold(&at, doing).await?;
        let log = log_of(node, &view).await?;
        match to_undo(&log) {
            Some(last) if last.only_branch() == Some(&view.here) => {
                return go(node, view, last, Way::Back, &manner).await;
            }
            None if !view.is_current() => return Err(nothing_to_undo(&view)),
            // It needs the whole dot.
            _ => {}
        }
    }
    let name = &at.dot;
    let held = node.locks.operation(name, doing).await;
    let deleted = node.pool.deleted_dots(name).await?;
    let chosen = deleted.iter().find(|dot| match &request.deleted {
        Some(id) => dot.file.id.starts_with(id.as_str()),
        None => true,
    });
    let Some(dot) = node.registry.find_dot(name).await? else {
        return match (chosen, request.deleted) {
            (Some(deleted), _) => bring_back(node, name, deleted).await,
            (None, Some(id)) => Err(NodeError::NotKept {
                dot: name.clone(),
                id,
            }),
            (None, None) => Err(NodeError::NoDot { dot: name.clone() }),
        };
    };
    let view = View::new(dot, at.branch.clone())?;
    let log = log_of(node, &view).await?;
    match (to_undo(&log), chosen, request.deleted) {
        (Some(last), _, None) => {
            if let Some((from, to, _)) = last.renamed_dot() {
                drop(held);
                return rename(node, (to, from), last.number, Way::Back).await;
            }
            go(node, view, last, Way::Back, &manner).await
        }
        (_, Some(deleted), _) => Err(NodeError::NameTaken {
            dot: name.clone(),
            id: deleted.file.id.clone(),
        }),
        (_, None, Some(id)) => Err(NodeError::NotKept {
            dot: name.clone(),
            id,
        }),
        (None, None, None) => Err(nothing_to_undo(&view)),
    }
}

/// Redoes the operation that was undone last.
pub(crate) async fn redo(
    node: &Node,
    at: impl Into<At>,
    request: Undo,
    tell: Teller,
) -> Result<Switched, NodeError> {
    let (at, doing) = (at.into(), "changed by 'dm redo'");
    let name = &at.dot;
    let manner = Manner::new(&request.wait, tell);
    let nothing = || NodeError::NothingToRedo { dot: name.clone() };
    {
        let (_held, view) = node.hold(&at, doing).await?;
        let log = log_of(node, &view).await?;
        let next = to_redo(&log).ok_or_else(nothing)?;
        if next.only_branch() == Some(&view.here) {
            return go(node, view, next, Way::Again, &manner).await;
        }
    }
    let held = node.locks.operation(name, doing).await;
    let view = node.view(&at).await?;
    let log = log_of(node, &view).await?;
    let next = to_redo(&log).ok_or_else(nothing)?;
    if next.deleted().is_some() {
        delete_dot::delete_locked(node, name, Some(next.number)).await?;
        let head = view.head()?;
        return Ok(told(view.here, head, Done::default(), next));
    }
    if let Some((from, to, _)) = next.renamed_dot() {
        drop(held);
        return rename(node, (from, to), next.number, Way::Again).await;
    }
    go(node, view, next, Way::Again, &manner).await
}

/// Undoes or redoes the rename of a dot, which needs the locks of both names.
async fn rename(
    node: &Node,
    (from, to): (&DotName, &DotName),
    number: u64,
    way: Way,
) -> Result<Switched, NodeError> {
    let operation = rename_dot::again(node, from, to, number, way).await?;
    let dot = node.registry.dot(to).await?;
    let head = dot.current()?.head;
    Ok(Switched {
        renamed: Some(to.clone()),
        ..told(dot.current, head, Done::default(), &operation)
    })
}

/// Makes an operation of one step that moves no working copy.
pub(crate) async fn log_and_make(
    node: &Node,
    name: &DotName,
    what: String,
    step: NewStep,
) -> Result<(), NodeError> {
    let _changing = node.locks.changing(name).await;
    let number = node.pool.begin_operation(name, what, vec![step]).await?;
    let made = node.pool.carry_out(name, number).await;
    settle(node, name).await;
    Ok(made?)
}

fn nothing_to_undo(view: &View) -> NodeError {
    let dot = view.name.clone();
    NodeError::NothingToUndo { dot }
}

/// The operations that a request can undo or redo, in order.
async fn log_of(node: &Node, view: &View) -> Result<Vec<Operation>, NodeError> {
    let _changing = node.locks.changing(&view.name).await;
    node.pool.settle(&view.name).await?;
    let log = node.pool.operations(&view.name).await?;
    Ok(seen_from(view, log, &node.pool.forks(&view.name).await?))
}

/// The operations that belong to the branch that a request is about.
pub(super) fn seen_from(view: &View, log: Vec<Operation>, forks: &ForksFile) -> Vec<Operation> {
    let is_of_fork = |branch: Option<&BranchName>| {
        branch.is_some_and(|branch| *branch != view.here && forks.forks.contains_key(branch))
    };
    let belongs = |operation: &Operation| match view.is_current() {
        true => !is_of_fork(operation.only_branch()) && !is_of_fork(operation.only_made()),
        false => operation.only_branch() == Some(&view.here),
    };
    log.into_iter().filter(belongs).collect()
}

/// An operation on one branch that was made and is in the log.
#[derive(Debug)]
pub(super) struct Made {
    number: u64,
    branch: BranchName,
    /// The head before, if it moved the head.
    head: Option<CommitId>,
}

/// Makes an operation on the branch, and logs it. `head` is the branch's head after it, if it moves.
pub(super) async fn make(
    node: &Node,
    view: &View,
    what: String,
    steps: Vec<NewStep>,
    head: Option<CommitId>,
) -> Result<Made, NodeError> {
    let (pool, name) = (&node.pool, &view.name);
    let before = view.head()?;
    let _changing = node.locks.changing(name).await;
    let number = pool.begin_operation(name, what, steps).await?;
    let made = async {
        pool.carry_out(name, number).await?;
        let Some(head) = head else {
            return Ok(());
        };
        let moved = node.move_head(view, &view.here, head).await;
        if moved.is_err() {
            pool.roll_back(name, number).await?;
        }
        moved
    };
    let made = made.await;
    settle(node, name).await;
    made?;
    Ok(Made {
        number,
        branch: view.here.clone(),
        head: head.map(|_| before),
    })
}

/// Takes an operation of [`make`] back.
pub(super) async fn retract(node: &Node, view: &View, made: Made) -> Result<(), NodeError> {
    let _changing = node.locks.changing(&view.name).await;
    let retracted = node.pool.retract(&view.name, made.number).await;
    settle(node, &view.name).await;
    retracted?;
    match made.head {
        Some(head) => node.move_head(view, &made.branch, head).await,
        None => Ok(()),
    }
}

fn told(
    branch: BranchName,
    head: dotmesh_model::CommitId,
    done: Done,
    operation: &Operation,
) -> Switched {
    Switched {
        operation: Some(operation.what.clone()),
        ..switched(branch, head, done)
    }
}

/// Completes unfinished operations in a dot's log. If the log cannot be written now, the next operation does it.
pub(crate) async fn settle(node: &Node, name: &DotName) {
    if let Err(error) = node.pool.settle(name).await {
        tracing::warn!(dot = %name, %error, "cannot complete a dot's log now, the next operation does it");
    }
}

async fn go(
    node: &Node,
    view: View,
    operation: &Operation,
    way: Way,
    manner: &Manner,
) -> Result<Switched, NodeError> {
    let branches: BTreeSet<BranchName> = operation.moves().cloned().collect();
    refuse_pinned(node, &view, &branches).await?;
    let restored = operation.restored().map(|(branch, paths)| {
        let subdots = paths.iter().map(|path| path.subdot().clone());
        (branch.clone(), subdots.collect())
    });
    let mut is_switch = operation.switches() || branches.contains(&view.here);
    if let Some((branch, subdots)) = &restored {
        restore::refuse_pinned(node, &view, subdots).await?;
        is_switch |= *branch == view.here;
    }
    let mut change = Move {
        node,
        view: view.clone(),
        operation,
        way,
        branches,
        restored,
    };
    let done = match (operation.renamed_branch(), is_switch) {
        (Some((before, after)), _) => {
            let names = match way {
                Way::Back => (after, before),
                Way::Again => (before, after),
            };
            rename_branch::again(node, &view.name, names, change.apply()).await?;
            Done::default()
        }
        (None, true) => switch::switch(node, &view, &mut change, manner).await?,
        (None, false) => beside(node, &view, &mut change).await?,
    };
    let now = node.registry.dot(&view.name).await?;
    let pinned = (!view.is_current()).then_some(view.here);
    let now = View::new(now, pinned)?;
    let head = now.head()?;
    Ok(told(now.here, head, done, operation))
}

/// Makes a change that does not affect containers of the branch that the request is about.
async fn beside(node: &Node, dot: &Dot, change: &mut Move<'_>) -> Result<Done, NodeError> {
    let _moving = match change.branches.is_empty() && change.restored.is_none() {
        true => None,
        false => Some(check::unused(node, dot, change.scope()).await?),
    };
    change.apply().await?;
    mount::refresh(node, &dot.name).await?;
    Ok(Done::default())
}

/// Fails if a running container pins one of the branches and is not restarted: only those of the branch that the request
/// is about are.
async fn refuse_pinned(
    node: &Node,
    view: &View,
    branches: &BTreeSet<BranchName>,
) -> Result<(), NodeError> {
    let stay = branches
        .iter()
        .filter(|branch| view.shown() != Shown::Pinned(branch));
    let stay: Vec<&BranchName> = stay.collect();
    if stay.is_empty() {
        return Ok(());
    }
    let running = node.docker.active().await?;
    for branch in stay {
        let pinned = Shown::Pinned(branch);
        let users = running.iter().filter(|one| pinned.by(&view.name, one));
        let containers = engine::names(users);
        if !containers.is_empty() {
            let what = format!("branch {branch} of {} as a pinned volume", view.name);
            return Err(NodeError::InUse { what, containers });
        }
    }
    Ok(())
}

struct Move<'a> {
    node: &'a Node,
    /// The dot before the change.
    view: View,
    operation: &'a Operation,
    way: Way,
    /// The branches whose working copies are replaced.
    branches: BTreeSet<BranchName>,
    /// The branch and the subdots of which files are restored.
    restored: Option<(BranchName, BTreeSet<SubdotName>)>,
}

impl Move<'_> {
    /// Moves the pool one way or the other, and the registry after it.
    async fn go(&self, way: Way) -> Result<(), NodeError> {
        let (pool, name, number) = (&self.node.pool, &self.view.name, self.operation.number);
        let _changing = self.node.locks.changing(name).await;
        let moved = match way {
            Way::Back => pool.undo(name, number).await,
            Way::Again => pool.redo(name, number).await,
        };
        settle(self.node, name).await;
        moved?;
        let reread = reconcile::reread(self.node, name).await;
        if reread.is_err() {
            match way {
                Way::Back => pool.redo(name, number).await?,
                Way::Again => pool.undo(name, number).await?,
            }
            settle(self.node, name).await;
        }
        reread.map(drop)
    }
}

impl Change for Move<'_> {
    fn shown(&self) -> Shown<'_> {
        self.view.shown()
    }

    fn describe(&self) -> String {
        let what = &self.operation.what;
        match self.way {
            Way::Back => format!("undoing the {what}"),
            Way::Again => format!("redoing the {what}"),
        }
    }

    /// A branch that is restored is not new: it must not be deleted if the change fails.
    fn creates(&self) -> Option<&BranchName> {
        None
    }

    fn affects(&self, dot: &DotName, container: &Container) -> bool {
        match &self.restored {
            Some((_, subdots)) => restore::shows_any(container, dot, self.shown(), subdots),
            None => self.shown().by(dot, container),
        }
    }

    fn scope(&self) -> Scope<'_> {
        match &self.restored {
            Some((branch, subdots)) => Scope::Subdots(branch, subdots),
            None => Scope::Moved {
                branches: &self.branches,
                unpinned: self.operation.switches(),
            },
        }
    }

    async fn apply(&mut self) -> Result<(), NodeError> {
        self.go(self.way).await
    }

    async fn undo(&mut self) -> Result<(), NodeError> {
        self.go(match self.way {
            Way::Back => Way::Again,
            Way::Again => Way::Back,
        })
        .await
    }
}

/// Restores a deleted dot, with all that the registry knew of it.
async fn bring_back(
    node: &Node,
    name: &DotName,
    deleted: &RestorableDot,
) -> Result<Switched, NodeError> {
    let deletion = deleted.deletion();
    let stored = node.pool.bring_dot_back(name, deleted).await?;
    let stored = stored.ok_or_else(|| NodeError::NoDot { dot: name.clone() })?;
    reconcile::reconcile_dot(node, &stored).await?;
    if let Some(with) = deletion.and_then(Operation::deleted) {
        for volume in &with.volumes {
            node.registry.add_volume(volume).await?;
        }
        if let Some(maker) = &with.made_by {
            let maker = maker.parse()?;
            node.registry.note_made_by(&deleted.file.id, maker).await?;
        }
    }
    let dot = node.registry.dot(name).await?;
    let head = dot.current()?.head;
    let back = switched(dot.current, head, Done::default());
    Ok(Switched {
        operation: deletion.map(|deletion| deletion.what.clone()),
        ..back
    })
}
