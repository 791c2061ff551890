//! What checkout and reset share: stop the containers that follow the current branch, change what they see, start
//! them again.
//!
//! The journal in the registry is written before the first container is stopped and crossed out when the last one
//! runs again. After a crash `recover.rs` starts what it lists: by then the change has happened or it has not,
//! since it is a single step.

use dotmesh_model::{BranchName, DotName};

use crate::docker::{self, Container};
use crate::error::NodeError;
use crate::node::Node;
use crate::registry::SwitchJournal;

/// A change of what a dot's unpinned volumes show.
pub(crate) trait Change {
    /// What it is called in errors.
    fn describe(&self) -> String;
    /// A branch that it makes, to be deleted again should it not come to be.
    fn creates(&self) -> Option<&BranchName>;
    /// Makes the change, all of it or nothing.
    async fn apply(&mut self) -> Result<(), NodeError>;
    /// Takes the change back.
    async fn undo(&mut self) -> Result<(), NodeError>;
}

/// Makes a change while no container looks. The caller holds the dot's operation lock. Returns the names of the
/// containers that were stopped and started again.
pub(crate) async fn switch(
    node: &Node,
    dot: &DotName,
    branch: &BranchName,
    change: &mut impl Change,
) -> Result<Vec<String>, NodeError> {
    let gate = node.locks.close_gate(dot).await;
    // What an interrupted switch has stopped shall run again after this one.
    let unfinished = node.registry.open_switch(dot).await?;
    let stopped = unfinished
        .map(|journal| journal.containers)
        .unwrap_or_default();
    let mut users: Vec<Container> = node.engine.containers().await?;
    users.retain(|container| {
        container.uses_unpinned(dot) && (container.running || stopped.contains(&container.id))
    });
    let ids: Vec<String> = users.iter().map(|container| container.id.clone()).collect();
    let journal = SwitchJournal {
        dot: dot.clone(),
        containers: ids.clone(),
        created: change.creates().cloned(),
    };
    node.registry.begin_switch(&journal).await?;

    let changed = match node.engine.stop_all(&ids).await {
        Ok(()) => change.apply().await,
        Err(error) => Err(error),
    };
    drop(gate);
    let started = match changed {
        Ok(()) => node.engine.start_all(&ids).await,
        Err(cause) => return Err(resume(node, dot, branch, change, &ids, cause).await),
    };
    if let Err(cause) = started {
        let gate = node.locks.close_gate(dot).await;
        // One that does not stop keeps the files that it has open; the others matter more.
        let _ = node.engine.stop_all(&ids).await;
        let undone = change.undo().await;
        drop(gate);
        return Err(match undone {
            Ok(()) => resume(node, dot, branch, change, &ids, cause).await,
            Err(restart) => NodeError::SwitchBroken {
                what: change.describe(),
                cause: Box::new(cause),
                restart: Box::new(restart),
            },
        });
    }
    node.registry.end_switch(dot).await?;
    let mut restarted = docker::names(&users);
    restarted.sort();
    Ok(restarted)
}

/// Starts the containers on the branch that they were on, and says what went wrong.
async fn resume(
    node: &Node,
    dot: &DotName,
    branch: &BranchName,
    change: &impl Change,
    ids: &[String],
    cause: NodeError,
) -> NodeError {
    let what = change.describe();
    match node.engine.start_all(ids).await {
        Ok(()) => {
            if let Err(error) = node.registry.end_switch(dot).await {
                tracing::warn!(%error, "the journal of a switch stays open; the next start closes it");
            }
            if ids.is_empty() {
                return cause;
            }
            NodeError::SwitchUndone {
                what,
                branch: branch.clone(),
                cause: Box::new(cause),
            }
        }
        // The journal stays: the next start of the daemon tries again.
        Err(restart) => NodeError::SwitchBroken {
            what,
            cause: Box::new(cause),
            restart: Box::new(restart),
        },
    }
}
