//! `dm branch -d`: moves a branch's working copy to the dot's log. Its commits can still be named by their ids.

use std::collections::BTreeMap;

use dotmesh_model::branches::Origin;
use dotmesh_model::{BranchName, CommitId, DotName, History};
use dotmesh_pool::{NewStep, PoolError};

use super::bookkeeping::{self, Effort};
use super::forks;
use super::switch::check::{self, Scope};
use super::undo;
use crate::engine;
use crate::error::NodeError;
use crate::node::Node;
use crate::registry::{Branch, Dot};

/// Deletes a branch that is neither checked out nor in use. Unless forced, it fails if the branch has uncommitted
/// changes, or commits that no other branch has.
pub(crate) async fn delete_branch(
    node: &Node,
    name: &DotName,
    branch: &BranchName,
    force: bool,
) -> Result<CommitId, NodeError> {
    let doing = format!("branch {branch} deleted");
    let _lock = node.locks.operation(name, &doing).await;
    let mut dot = node.registry.dot(name).await?;
    let head = dot.branch(branch)?.head;
    if dot.current == *branch {
        let branch = branch.clone();
        return Err(NodeError::CheckedOut { branch });
    }
    let containers = node.docker.list().await?;
    let users = containers
        .iter()
        .filter(|container| container.uses(name, branch, &dot.current));
    let users = engine::names(users);
    if !users.is_empty() {
        return Err(NodeError::InUse {
            what: format!("branch {branch} of {name}"),
            containers: users,
        });
    }
    let _moving = check::unused(node, &dot, Scope::Branch(branch)).await?;
    if !force {
        node.pool.flush().await?;
        let history = node.registry.history(&dot.id).await?;
        let commits = only_here(&dot.branches, branch, &history);
        let mut dirty = node.pool.usage(name, branch, head).await?.dirty;
        if dirty > 0 && bookkeeping::is_all(node, &dot, branch, Effort::Decision).await {
            dirty = 0;
        }
        if commits > 0 || dirty > 0 {
            return Err(NodeError::WouldLose {
                branch: branch.clone(),
                commits,
                dirty,
            });
        }
    }
    let before = dot.clone();
    let history = node.registry.history(&dot.id).await?;
    remove(&mut dot.branches, branch, &history);
    let what = format!("deletion of branch {branch} at {}", head.short());
    let steps = vec![
        NewStep::Delete {
            branch: branch.clone(),
        },
        NewStep::Describe(dot.to_file()),
    ];
    match node.pool.begin_operation(name, what, steps).await {
        Ok(number) => {
            let deleted = carry_out(node, &before, &dot, number).await;
            undo::settle(node, name).await;
            deleted?;
        }
        // A full pool has no room for the log. Deleting makes room, so it is done without undo.
        Err(PoolError::Full { .. }) => {
            node.pool.delete_branch(name, branch).await?;
            node.save(&dot).await?;
        }
        Err(error) => return Err(error.into()),
    }
    forks::forget(node, name, branch).await?;
    Ok(head)
}

/// Makes the steps of an operation, and then writes the dot's new state to the registry.
pub(super) async fn carry_out(
    node: &Node,
    before: &Dot,
    after: &Dot,
    number: u64,
) -> Result<(), NodeError> {
    node.pool.carry_out(&before.name, number).await?;
    if let Err(error) = node.registry.put_dot(after).await {
        node.pool.roll_back(&before.name, number).await?;
        return Err(error);
    }
    Ok(())
}

/// The number of a branch's commits that no other branch has.
fn only_here(
    branches: &BTreeMap<BranchName, Branch>,
    branch: &BranchName,
    history: &History,
) -> usize {
    let Some(deleted) = branches.get(branch) else {
        return 0;
    };
    let others = branches.iter().filter(|(name, _)| *name != branch);
    let others: Vec<CommitId> = others.map(|(_, other)| other.head).collect();
    let is_kept = |id: &CommitId| others.iter().any(|head| history.is_ancestor(*id, *head));
    history
        .ancestry(deleted.head)
        .take_while(|id| !is_kept(id))
        .count()
}

/// Removes a branch. Branches that started from it get its own origin instead.
fn remove(branches: &mut BTreeMap<BranchName, Branch>, branch: &BranchName, history: &History) {
    let Some(deleted) = branches.remove(branch) else {
        return;
    };
    for other in branches.values_mut() {
        let Some(origin) = other.origin.take_if(|origin| origin.branch == *branch) else {
            continue;
        };
        other.origin = deleted.origin.as_ref().map(|earlier| Origin {
            branch: earlier.branch.clone(),
            commit: match history.is_ancestor(origin.commit, earlier.commit) {
                true => origin.commit,
                false => earlier.commit,
            },
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_deleted_leaves_no_trace_in_others() {
        let id = |digit: &str| digit.repeat(32).parse::<CommitId>().expect("an id");
        let name = |name: &str| name.parse::<BranchName>().expect("a name");
        // master: 1, 2. work was made at 2 and has 3. fix was made from work at 3, early at 2.
        let mut history = History::default();
        for (commit, parent) in [("1", "0"), ("2", "1"), ("3", "2")] {
            history.insert(id(commit), id(parent));
        }
        let branch = |head: &str, origin: Option<(&str, &str)>| Branch {
            head: id(head),
            origin: origin.map(|(branch, commit)| Origin {
                branch: name(branch),
                commit: id(commit),
            }),
        };
        let mut branches = BTreeMap::from([
            (name("master"), branch("2", None)),
            (name("work"), branch("3", Some(("master", "2")))),
            (name("fix"), branch("3", Some(("work", "3")))),
            (name("early"), branch("1", Some(("work", "1")))),
        ]);
        assert_eq!(
            only_here(&branches, &name("work"), &history),
            0,
            "fix has it"
        );
        assert_eq!(only_here(&branches, &name("early"), &history), 0);

        remove(&mut branches, &name("work"), &history);
        let origin = |of: &str| branches[&name(of)].origin.clone();
        let from_master = |commit| {
            Some(Origin {
                branch: name("master"),
                commit: id(commit),
            })
        };
        assert_eq!(origin("fix"), from_master("2"));
        assert_eq!(origin("early"), from_master("1"));
        assert_eq!(only_here(&branches, &name("fix"), &history), 1);

        remove(&mut branches, &name("master"), &history);
        assert!(branches.values().all(|branch| branch.origin.is_none()));
    }
}
