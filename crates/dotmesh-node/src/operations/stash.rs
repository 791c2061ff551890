//! `dm stash`: puts a working copy with its uncommitted changes aside, and brings it back.
//!
//! Nobody can merge the files of databases. So a stash is brought back only to the commit that it was made at, where it takes the
//! place of the working copy. Anywhere else it becomes a branch.

use dotmesh_api::node::{ApplyStash, MakeStash, Stash, Switched};
use dotmesh_model::{BranchName, CommitId, DotName, StashId, message};
use dotmesh_pool::{Replaced, StashFile, StoredStash};
use jiff::Timestamp;

use super::reset::{refuse_changed, refuse_dirty, refuse_pinned};
use super::switch::check::Scope;
use super::switch::execute::Teller;
use super::switch::{self, Change, Manner, switched};
use crate::error::NodeError;
use crate::node::{Node, random_stash_id};
use crate::registry::Dot;

/// The stashes of a dot, the newest first.
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

/// A stash, and its place in the list.
pub(crate) async fn find(
    node: &Node,
    name: &DotName,
    id: StashId,
) -> Result<(usize, StoredStash), NodeError> {
    let stashes = node.pool.stashes(name).await?.into_iter().enumerate();
    let mut found = stashes.filter(|(_, stash)| stash.id == id);
    found.next().ok_or(NodeError::NoStash { id })
}

/// Puts the uncommitted changes of the current branch aside, which is as its newest commit then.
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
            time: Timestamp::now(),
            message: request.message.trim().to_owned(),
        },
    };
    let mut change = PutAside {
        node,
        dot: &dot,
        stash,
    };
    let done = switch::switch(node, &dot, &mut change, &manner).await?;
    Ok(switched(branch, head, done))
}

/// Brings the changes of a stash back to the current branch.
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
    let hint = "Keep them first: 'dm stash' puts them aside, and 'dm commit' commits them.";
    refuse_dirty(node, &dot, &branch, hint).await?;
    refuse_pinned(node, &dot).await?;
    let manner = Manner::new(&request.wait, tell);
    let mut change = BringBack {
        node,
        dot: &dot,
        stash: stash.id,
        replaced: None,
    };
    let done = switch::switch(node, &dot, &mut change, &manner).await?;
    if request.pop {
        node.pool.drop_stash(name, stash.id).await?;
    }
    Ok(switched(branch, head, done))
}

/// Moves a stash to the trash.
pub(crate) async fn drop_one(node: &Node, name: &DotName, id: StashId) -> Result<Stash, NodeError> {
    let _lock = node.locks.operation(name, "relieved of a stash").await;
    let dot = node.registry.dot(name).await?;
    let (_, stash) = find(node, name, id).await?;
    node.pool.drop_stash(name, id).await?;
    told(node, &dot, stash).await
}

struct PutAside<'a> {
    node: &'a Node,
    dot: &'a Dot,
    stash: StoredStash,
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
        let Dot { name, current, .. } = self.dot;
        Ok(self.node.pool.stash(name, current, &self.stash).await?)
    }

    async fn undo(&mut self) -> Result<(), NodeError> {
        let (Dot { name, current, .. }, id) = (self.dot, self.stash.id);
        Ok(self.node.pool.take_stash_back(name, current, id).await?)
    }
}

struct BringBack<'a> {
    node: &'a Node,
    dot: &'a Dot,
    stash: StashId,
    replaced: Option<Replaced>,
}

impl Change for BringBack<'_> {
    fn describe(&self) -> String {
        format!("bringing a stash back to branch {}", self.dot.current)
    }

    fn creates(&self) -> Option<&BranchName> {
        None
    }

    fn scope(&self) -> Scope<'_> {
        Scope::Branch(&self.dot.current)
    }

    async fn apply(&mut self) -> Result<(), NodeError> {
        let Dot { name, current, .. } = self.dot;
        let pool = &self.node.pool;
        self.replaced = Some(pool.apply_stash(name, current, self.stash).await?);
        Ok(())
    }

    async fn undo(&mut self) -> Result<(), NodeError> {
        if let Some(replaced) = self.replaced.take() {
            let Dot { name, current, .. } = self.dot;
            let pool = &self.node.pool;
            pool.restore_branch(name, current, replaced).await?;
        }
        Ok(())
    }
}
