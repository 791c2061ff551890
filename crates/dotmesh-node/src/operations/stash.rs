//! `dm stash`: sets a working copy with uncommitted changes aside, and restores it.
//!
//! Database files cannot be merged. So a stash can be applied only at the commit that it was made at, where it replaces
//! the working copy. Elsewhere it becomes a branch.

use dotmesh_api::node::{ApplyStash, MakeStash, Stash, Switched};
use dotmesh_model::{BranchName, CommitId, DotName, StashId, message};
use dotmesh_pool::{NewStep, Start, StashFile, StoredStash};

use super::reset::{refuse_changed, refuse_dirty, refuse_pinned};
use super::switch::check::Scope;
use super::switch::execute::Teller;
use super::switch::{self, Change, Manner, switched};
use super::undo;
use crate::error::NodeError;
use crate::node::{Node, random_stash_id};
use crate::registry::Dot;

/// The stashes of a dot, newest first.
pub(crate) async fn list(node: &Node, name: &DotName) -> Result<Vec<Stash>, NodeError> {
    let dot = node.registry.dot(name).await?;
    let mut stashes = Vec::new();
    for stash in node.pool.stashes(name).await? {
        stashes.push(told(node, &dot, stash).await?);
    }
    Ok(stashes)
}

async fn told(node: &Node, dot: &Dot, stash: StoredStash) -> Result<Stash, NodeError> {
    let title = match stash.head {
        CommitId::ROOT => String::new(),
        head => {
            let record = node.registry.decoded(&dot.id, head).await?;
            message::title(&record.message).into_owned()
        }
    };
    let StoredStash { id, head, file } = stash;
    let StashFile {
        branch,
        time,
        message,
    } = file;
    Ok(Stash {
        id,
        branch,
        head,
        title,
        message,
        time,
    })
}

/// A stash, and its index in the list.
pub(crate) async fn find(
    node: &Node,
    name: &DotName,
    id: StashId,
) -> Result<(usize, StoredStash), NodeError> {
    let stashes = node.pool.stashes(name).await?.into_iter().enumerate();
    let mut found = stashes.filter(|(_, stash)| stash.id == id);
    found.next().ok_or(NodeError::NoStash { id })
}

/// Stashes the uncommitted changes of the current branch, and resets its working copy to its head.
pub(crate) async fn make(
    node: &Node,
    name: &DotName,
    request: MakeStash,
    tell: Teller,
) -> Result<Switched, NodeError> {
    let _lock = node.locks.operation(name, "stashed").await;
    let dot = node.registry.dot(name).await?;
    refuse_changed(&dot, request.expected.as_ref())?;
    let (branch, head) = (dot.current.clone(), dot.current()?.head);
    node.pool.flush().await?;
    if node.pool.usage(name, &branch, head).await?.dirty == 0 {
        return Err(NodeError::NothingToStash { branch });
    }
    refuse_pinned(node, &dot).await?;
    let manner = Manner::new(&request.wait, tell);
    let stash = StoredStash {
        id: random_stash_id(),
        head,
        file: StashFile {
            branch: branch.clone(),
            time: crate::node::now(),
            message: request.message.trim().to_owned(),
        },
    };
    let mut change = PutAside {
        node,
        dot: &dot,
        stash,
        operation: None,
    };
    let done = switch::switch(node, &dot, &mut change, &manner).await;
    undo::settle(node, name).await;
    Ok(switched(branch, head, done?))
}

/// Applies a stash to the current branch.
pub(crate) async fn apply(
    node: &Node,
    name: &DotName,
    request: ApplyStash,
    tell: Teller,
) -> Result<Switched, NodeError> {
    let _lock = node.locks.operation(name, "changed by a stash").await;
    let dot = node.registry.dot(name).await?;
    refuse_changed(&dot, request.expected.as_ref())?;
    let (place, stash) = find(node, name, request.id).await?;
    let (branch, head) = (dot.current.clone(), dot.current()?.head);
    if stash.head != head {
        return Err(NodeError::StashedElsewhere {
            place,
            stashed: stash.head,
            branch,
            head,
        });
    }
    let hint = "Stash them first with 'dm stash', or commit them with 'dm commit'.";
    refuse_dirty(node, &dot, &branch, hint).await?;
    refuse_pinned(node, &dot).await?;
    let manner = Manner::new(&request.wait, tell);
    let mut change = BringBack {
        node,
        dot: &dot,
        stash: stash.id,
        operation: None,
    };
    let done = switch::switch(node, &dot, &mut change, &manner).await;
    undo::settle(node, name).await;
    let done = done?;
    if request.pop {
        node.pool.drop_stash(name, stash.id).await?;
    }
    Ok(switched(branch, head, done))
}

/// Moves a stash to the trash.
pub(crate) async fn drop_one(node: &Node, name: &DotName, id: StashId) -> Result<Stash, NodeError> {
    let _lock = node
        .locks
        .operation(name, "changed by 'dm stash drop'")
        .await;
    let dot = node.registry.dot(name).await?;
    let (_, stash) = find(node, name, id).await?;
    node.pool.drop_stash(name, id).await?;
    told(node, &dot, stash).await
}

struct PutAside<'a> {
    node: &'a Node,
    dot: &'a Dot,
    stash: StoredStash,
    /// The operation's number in the dot's log, once it is logged.
    operation: Option<u64>,
}

impl Change for PutAside<'_> {
    fn describe(&self) -> String {
        format!("stashing the changes of branch {}", self.dot.current)
    }

    fn creates(&self) -> Option<&BranchName> {
        None
    }

    fn scope(&self) -> Scope<'_> {
        Scope::Branch(&self.dot.current)
    }

    async fn apply(&mut self) -> Result<(), NodeError> {
        let (pool, Dot { name, current, .. }) = (&self.node.pool, self.dot);
        pool.stash(name, current, &self.stash).await?;
        let what = format!("stash of the changes of branch {current}");
        let start = Start::Commit(self.stash.head);
        match replace(self.node, self.dot, what, start, &mut self.operation).await {
            Ok(()) => Ok(()),
            Err(error) => {
                self.undo().await?;
                Err(error)
            }
        }
    }

    async fn undo(&mut self) -> Result<(), NodeError> {
        let (pool, Dot { name, .. }) = (&self.node.pool, self.dot);
        if let Some(number) = self.operation.take() {
            pool.roll_back(name, number).await?;
        }
        Ok(pool.drop_stash(name, self.stash.id).await?)
    }
}

struct BringBack<'a> {
    node: &'a Node,
    dot: &'a Dot,
    stash: StashId,
    /// The operation's number in the dot's log, once it is logged.
    operation: Option<u64>,
}

impl Change for BringBack<'_> {
    fn describe(&self) -> String {
        format!("applying a stash to branch {}", self.dot.current)
    }

    fn creates(&self) -> Option<&BranchName> {
        None
    }

    fn scope(&self) -> Scope<'_> {
        Scope::Branch(&self.dot.current)
    }

    async fn apply(&mut self) -> Result<(), NodeError> {
        let what = format!("stash brought back to branch {}", self.dot.current);
        let start = Start::Stash(self.stash);
        let done = replace(self.node, self.dot, what, start, &mut self.operation).await;
        if done.is_err() {
            self.undo().await?;
        }
        done
    }

    async fn undo(&mut self) -> Result<(), NodeError> {
        if let Some(number) = self.operation.take() {
            let pool = &self.node.pool;
            pool.roll_back(&self.dot.name, number).await?;
        }
        Ok(())
    }
}

/// Replaces the current branch's working copy, as an operation in the dot's log.
async fn replace(
    node: &Node,
    dot: &Dot,
    what: String,
    start: Start,
    operation: &mut Option<u64>,
) -> Result<(), NodeError> {
    let branch = dot.current.clone();
    let steps = vec![NewStep::Replace { branch, start }];
    let number = node.pool.begin_operation(&dot.name, what, steps).await?;
    *operation = Some(number);
    Ok(node.pool.carry_out(&dot.name, number).await?)
}
