//! `dm stash`: sets a working copy with uncommitted changes aside, and restores it.
//!
//! Database files cannot be merged. So a stash can be applied only at the commit that it was made at, where it replaces
//! the working copy. Elsewhere it becomes a branch.

use dotmesh_api::node::{ApplyStash, MakeStash, Stash, Switched};
use dotmesh_model::{BranchName, CommitId, DotName, StashId, message};
use dotmesh_pool::{NewStep, PoolError, Start, StashFile, StoredStash};

use super::reset::{Unchanged, refuse_changed, refuse_dirty, refuse_pinned};
use super::switch::check::Scope;
use super::switch::execute::Teller;
use super::switch::{self, Change, Manner, switched};
use super::undo::{self, Made};
use crate::error::NodeError;
use crate::node::{Node, random_stash_id};
use crate::registry::Dot;
use crate::view::{At, Shown, View};

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

/// Stashes the uncommitted changes of the branch, and resets its working copy to its head.
pub(crate) async fn make(
    node: &Node,
    at: impl Into<At>,
    request: MakeStash,
    tell: Teller,
) -> Result<Switched, NodeError> {
    let (_held, view) = node.hold(&at.into(), "stashed").await?;
    refuse_changed(&view, request.expected.as_ref())?;
    let (branch, head) = (view.here.clone(), view.head()?);
    node.pool.flush().await?;
    if node.pool.usage(&view.name, &branch, head).await?.dirty == 0 {
        return Err(NodeError::NothingToStash { branch });
    }
    refuse_pinned(node, &view).await?;
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
        view: &view,
        stash,
        made: None,
    };
    let done = switch::switch(node, &view, &mut change, &manner).await?;
    Ok(switched(branch, head, done))
}

/// Applies a stash to the branch.
pub(crate) async fn apply(
    node: &Node,
    at: impl Into<At>,
    request: ApplyStash,
    tell: Teller,
) -> Result<Switched, NodeError> {
    let (_held, view) = node.hold(&at.into(), "changed by a stash").await?;
    refuse_changed(&view, request.expected.as_ref())?;
    let (place, stash) = find(node, &view.name, request.id).await?;
    let (branch, head) = (view.here.clone(), view.head()?);
    if stash.head != head {
        return Err(NodeError::StashedElsewhere {
            place,
            stashed: stash.head,
            branch,
            head,
        });
    }
    let hint = "Stash them first with 'dm stash', or commit them with 'dm commit'. If only a database wrote them at its start, \
                replace them with --force: 'dm undo' brings them back.";
    let unchanged = match request.force {
        true => None,
        false => Some(refuse_dirty(node, &view, &branch, hint).await?),
    };
    refuse_pinned(node, &view).await?;
    let manner = Manner::new(&request.wait, tell);
    let mut change = BringBack {
        node,
        view: &view,
        stash: stash.id,
        drops: request.pop,
        unchanged,
        made: None,
    };
    let done = switch::switch(node, &view, &mut change, &manner).await?;
    Ok(switched(branch, head, done))
}

/// Drops a stash. The dot's log keeps it.
pub(crate) async fn drop_one(node: &Node, name: &DotName, id: StashId) -> Result<Stash, NodeError> {
    let _lock = node
        .locks
        .operation(name, "changed by 'dm stash drop'")
        .await;
    let dot = node.registry.dot(name).await?;
    let (_, stash) = find(node, name, id).await?;
    let dropped = told(node, &dot, stash).await?;
    let what = format!("drop of a stash of branch {}", dropped.branch);
    let step = NewStep::DropStash { stash: id };
    match undo::log_and_make(node, name, what, step).await {
        // A full pool has no room for the log. Dropping makes room, so it is done without undo.
        Err(NodeError::Pool(PoolError::Full { .. })) => node.pool.drop_stash(name, id).await?,
        done => done?,
    }
    Ok(dropped)
}

struct PutAside<'a> {
    node: &'a Node,
    view: &'a View,
    stash: StoredStash,
    /// The operation in the dot's log.
    made: Option<Made>,
}

impl Change for PutAside<'_> {
    fn shown(&self) -> Shown<'_> {
        self.view.shown()
    }

    fn describe(&self) -> String {
        format!("stashing the changes of branch {}", self.view.here)
    }

    fn creates(&self) -> Option<&BranchName> {
        None
    }

    fn scope(&self) -> Scope<'_> {
        Scope::Branch(&self.view.here)
    }

    async fn apply(&mut self) -> Result<(), NodeError> {
        let (pool, View { dot, here }) = (&self.node.pool, self.view);
        pool.stash(&dot.name, here, &self.stash).await?;
        let what = format!("stash of the changes of branch {here}");
        let start = Start::Commit(self.stash.head);
        let steps = vec![replace(self.view, start)];
        match undo::make(self.node, self.view, what, steps, None).await {
            Ok(made) => {
                self.made = Some(made);
                Ok(())
            }
            Err(error) => {
                self.undo().await?;
                Err(error)
            }
        }
    }

    async fn undo(&mut self) -> Result<(), NodeError> {
        if let Some(made) = self.made.take() {
            undo::retract(self.node, self.view, made).await?;
        }
        let pool = &self.node.pool;
        Ok(pool.drop_stash(&self.view.name, self.stash.id).await?)
    }
}

struct BringBack<'a> {
    node: &'a Node,
    view: &'a View,
    stash: StashId,
    /// Whether the stash is dropped, too.
    drops: bool,
    /// `None` if changes are replaced.
    unchanged: Option<Unchanged>,
    /// The operation in the dot's log.
    made: Option<Made>,
}

impl Change for BringBack<'_> {
    fn shown(&self) -> Shown<'_> {
        self.view.shown()
    }

    fn describe(&self) -> String {
        format!("applying a stash to branch {}", self.view.here)
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
        let what = format!("stash brought back to branch {}", self.view.here);
        let start = Start::Stash(self.stash);
        let mut steps = vec![replace(self.view, start)];
        if self.drops {
            let stash = self.stash;
            steps.push(NewStep::DropStash { stash });
        }
        self.made = Some(undo::make(self.node, self.view, what, steps, None).await?);
        Ok(())
    }

    async fn undo(&mut self) -> Result<(), NodeError> {
        match self.made.take() {
            Some(made) => undo::retract(self.node, self.view, made).await,
            None => Ok(()),
        }
    }
}

/// Replaces the branch's working copy.
fn replace(view: &View, start: Start) -> NewStep {
    let branch = view.here.clone();
    NewStep::Replace { branch, start }
}
