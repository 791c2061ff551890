//! `dm undo` and `dm redo`: undo the last operation of a dot, and redo it.
//!
//! The pool's log has the steps of each operation, which work in both directions. An operation that replaces the
//! current working copy, or checks out another branch, is a switch like any other.

use std::collections::BTreeSet;

use dotmesh_api::node::{Switched, Undo};
use dotmesh_model::{BranchName, DotName, SubdotName};
use dotmesh_pool::{NewStep, Operation, RestorableDot, to_redo, to_undo};

use super::switch::check::{self, Scope};
use super::switch::execute::Teller;
use super::switch::{self, Change, Done, Manner, switched};
use super::{delete_dot, mount, reconcile, rename_branch, rename_dot, restore};
use crate::engine::{self, Container};
use crate::error::NodeError;
use crate::node::Node;
use crate::registry::Dot;

/// Whether an operation is undone or redone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Back,
    Again,
}

/// Undoes the last operation. For a deleted dot, that is its deletion.
pub(crate) async fn undo(
    node: &Node,
    name: &DotName,
    request: Undo,
    tell: Teller,
) -> Result<Switched, NodeError> {
    let lock = node.locks.operation(name, "changed by 'dm undo'").await;
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
    node.pool.settle(name).await?;
    let log = node.pool.operations(name).await?;
    match (to_undo(&log), chosen, request.deleted) {
        (Some(last), _, None) => {
            if let Some((from, to, _)) = last.renamed_dot() {
                drop(lock);
                return rename(node, (to, from), last.number, Way::Back).await;
            }
            let manner = Manner::new(&request.wait, tell);
            go(node, dot, last, Way::Back, &manner).await
        }
        (_, Some(deleted), _) => Err(NodeError::NameTaken {
            dot: name.clone(),
            id: deleted.file.id.clone(),
        }),
        (_, None, Some(id)) => Err(NodeError::NotKept {
            dot: name.clone(),
            id,
        }),
        (None, None, None) => Err(NodeError::NothingToUndo { dot: name.clone() }),
    }
}

/// Redoes the operation that was undone last.
pub(crate) async fn redo(
    node: &Node,
    name: &DotName,
    request: Undo,
    tell: Teller,
) -> Result<Switched, NodeError> {
    let lock = node.locks.operation(name, "changed by 'dm redo'").await;
    let dot = node.registry.dot(name).await?;
    node.pool.settle(name).await?;
    let log = node.pool.operations(name).await?;
    let Some(next) = to_redo(&log) else {
        return Err(NodeError::NothingToRedo { dot: name.clone() });
    };
    if next.deleted().is_some() {
        delete_dot::delete_locked(node, name, Some(next.number)).await?;
        let head = dot.current()?.head;
        return Ok(told(dot.current, head, Done::default(), next));
    }
    if let Some((from, to, _)) = next.renamed_dot() {
        drop(lock);
        return rename(node, (from, to), next.number, Way::Again).await;
    }
    let manner = Manner::new(&request.wait, tell);
    go(node, dot, next, Way::Again, &manner).await
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
    let number = node.pool.begin_operation(name, what, vec![step]).await?;
    let made = node.pool.carry_out(name, number).await;
    settle(node, name).await;
    Ok(made?)
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
    dot: Dot,
    operation: &Operation,
    way: Way,
    manner: &Manner,
) -> Result<Switched, NodeError> {
    let name = dot.name.clone();
    let branches: BTreeSet<BranchName> = operation.moves().cloned().collect();
    if !branches.is_empty() {
        refuse_pinned(node, &dot, &branches).await?;
    }
    let restored = operation.restored().map(|(branch, paths)| {
        let subdots = paths.iter().map(|path| path.subdot().clone());
        (branch.clone(), subdots.collect())
    });
    let mut is_switch = operation.switches() || branches.contains(&dot.current);
    if let Some((branch, subdots)) = &restored {
        restore::refuse_pinned(node, &dot, subdots).await?;
        is_switch |= *branch == dot.current;
    }
    let mut change = Move {
        node,
        dot: dot.clone(),
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
            let renamed = rename_branch::again(node, &name, names, change.apply()).await;
            renamed.map(|()| Done::default())
        }
        (None, true) => switch::switch(node, &dot, &mut change, manner).await,
        (None, false) => beside(node, &dot, &mut change).await,
    };
    settle(node, &name).await;
    let done = done?;
    let now = node.registry.dot(&name).await?;
    let head = now.current()?.head;
    Ok(told(now.current, head, done, operation))
}

/// Makes a change that does not affect containers of the current branch.
async fn beside(node: &Node, dot: &Dot, change: &mut Move<'_>) -> Result<Done, NodeError> {
    let _moving = match change.branches.is_empty() && change.restored.is_none() {
        true => None,
        false => Some(check::unused(node, dot, change.scope()).await?),
    };
    change.apply().await?;
    mount::refresh(node, &dot.name).await?;
    Ok(Done::default())
}

/// Fails if a running container pins one of the branches. Such containers are not stopped, so their branches must not
/// be replaced.
async fn refuse_pinned(
    node: &Node,
    dot: &Dot,
    branches: &BTreeSet<BranchName>,
) -> Result<(), NodeError> {
    let running = node.docker.active().await?;
    for branch in branches {
        let pinned = running.iter().filter(|container| {
            let mut uses = container.uses.iter().map(|used| &used.volume);
            uses.any(|volume| volume.dot == dot.name && volume.pinned.as_ref() == Some(branch))
        });
        let containers = engine::names(pinned);
        if !containers.is_empty() {
            let what = format!("branch {branch} of {} as a pinned volume", dot.name);
            return Err(NodeError::InUse { what, containers });
        }
    }
    Ok(())
}

struct Move<'a> {
    node: &'a Node,
    /// The dot before the change.
    dot: Dot,
    operation: &'a Operation,
    way: Way,
    /// The branches whose working copies are replaced.
    branches: BTreeSet<BranchName>,
    /// The branch and the subdots of which files are restored.
    restored: Option<(BranchName, BTreeSet<SubdotName>)>,
}

impl Change for Move<'_> {
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
            Some((_, subdots)) => restore::shows_any(container, dot, subdots),
            None => container.uses_unpinned(dot),
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
        let (pool, name, number) = (&self.node.pool, &self.dot.name, self.operation.number);
        match self.way {
            Way::Back => pool.undo(name, number).await?,
            Way::Again => pool.redo(name, number).await?,
        }
        if let Err(error) = reconcile::reread(self.node, name).await {
            self.undo().await?;
            return Err(error);
        }
        Ok(())
    }

    async fn undo(&mut self) -> Result<(), NodeError> {
        let (pool, name, number) = (&self.node.pool, &self.dot.name, self.operation.number);
        match self.way {
            Way::Back => pool.carry_out(name, number).await?,
            Way::Again => pool.roll_back(name, number).await?,
        }
        self.node.registry.put_dot(&self.dot).await
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
