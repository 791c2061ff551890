//! The layout of the commit graph.
//!
//! Each commit has one parent, so the history is a forest. A line begins at a head, goes down in a lane of its own, and
//! ends where it meets the line that it branched off from.

use std::collections::{BinaryHeap, HashMap};

use dotmesh_hub_model::commit_summary::{CommitSummary, GraphCommit};
use dotmesh_model::CommitId;
use jiff::Timestamp;

/// A commit with its place in the graph. Its index is its row.
#[derive(Debug, Clone)]
pub struct Placed {
    /// The commit.
    pub commit: CommitSummary,
    /// The lane, counted from the left.
    pub lane: usize,
    /// The parent's row, if the parent is drawn.
    pub parent_row: Option<usize>,
}

/// Puts commits into rows and lanes. Each commit is above its parent, and otherwise newer commits are on top. The line
/// that leads down from `first` gets the leftmost lane.
pub fn place(commits: Vec<GraphCommit>, first: Option<CommitId>) -> Vec<Placed> {
    let rows = in_order(commits);
    let row_of: HashMap<CommitId, usize> = rows
        .iter()
        .enumerate()
        .map(|(row, commit)| (commit.commit.id, row))
        .collect();
    let mut lanes: HashMap<CommitId, usize> = HashMap::new();
    let mut next = first;
    while let Some(id) = next {
        let Some(row) = row_of.get(&id) else { break };
        lanes.insert(id, 0);
        next = Some(rows[*row].parent);
    }
    // For each lane, the row down to which it is occupied. The first lane is reserved for the line of `first`.
    let mut taken: Vec<usize> = vec![usize::MAX];
    for (row, commit) in rows.iter().enumerate() {
        if lanes.contains_key(&commit.commit.id) {
            continue;
        }
        // The commit is a head. Its line goes down to the first commit that has a lane already.
        let mut line = vec![commit.commit.id];
        let mut end = row;
        let mut parent = commit.parent;
        while let Some(below) = row_of.get(&parent) {
            end = *below;
            if lanes.contains_key(&parent) {
                break;
            }
            line.push(parent);
            parent = rows[*below].parent;
        }
        let free = taken.iter().position(|until| *until <= row);
        let lane = free.unwrap_or(taken.len());
        if lane == taken.len() {
            taken.push(0);
        }
        taken[lane] = end.max(row + 1);
        lanes.extend(line.into_iter().map(|id| (id, lane)));
    }
    rows.into_iter()
        .map(|commit| Placed {
            lane: lanes.get(&commit.commit.id).copied().unwrap_or_default(),
            parent_row: row_of.get(&commit.parent).copied(),
            commit: commit.commit,
        })
        .collect()
}

/// Sorts children before parents, and otherwise newer commits first. It doesn't rely on the clocks, which may be wrong.
fn in_order(commits: Vec<GraphCommit>) -> Vec<GraphCommit> {
    let mut children: HashMap<CommitId, usize> = HashMap::new();
    for commit in &commits {
        *children.entry(commit.parent).or_default() += 1;
    }
    let mut by_id: HashMap<CommitId, GraphCommit> = commits
        .into_iter()
        .map(|commit| (commit.commit.id, commit))
        .collect();
    let key =
        |commit: &GraphCommit| -> (Timestamp, CommitId) { (commit.commit.time, commit.commit.id) };
    let mut ready: BinaryHeap<(Timestamp, CommitId)> = by_id
        .values()
        .filter(|commit| !children.contains_key(&commit.commit.id))
        .map(key)
        .collect();
    let mut ordered = Vec::with_capacity(by_id.len());
    while let Some((_, id)) = ready.pop() {
        let Some(commit) = by_id.remove(&id) else {
            continue;
        };
        if let Some(count) = children.get_mut(&commit.parent) {
            *count -= 1;
            if *count == 0
                && let Some(parent) = by_id.get(&commit.parent)
            {
                ready.push(key(parent));
            }
        }
        ordered.push(commit);
    }
    ordered
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id(n: usize) -> CommitId {
        let mut bytes = [0; CommitId::LENGTH];
        bytes[..8].copy_from_slice(&(n as u64 + 1).to_be_bytes());
        CommitId::from_bytes(bytes)
    }

    fn commit(n: usize, parent: Option<usize>, second: i64) -> GraphCommit {
        let time = Timestamp::from_second(second).expect("in range");
        GraphCommit {
            commit: CommitSummary::new(id(n), "a", time, "m"),
            parent: parent.map_or(CommitId::ROOT, id),
        }
    }

    proptest! {
        #[test]
        fn every_history_can_be_drawn(
            parents in prop::collection::vec((0.0..1.0f64, 0..1000i64), 1..60),
            first in 0..60usize,
        ) {
            let commits: Vec<_> = parents
                .iter()
                .enumerate()
                .map(|(n, (parent, second))| {
                    let parent = (n > 0).then(|| (parent * n as f64) as usize);
                    commit(n, parent, *second)
                })
                .collect();
            let placed = place(commits.clone(), Some(id(first)));
            prop_assert_eq!(placed.len(), commits.len());
            for (row, child) in placed.iter().enumerate() {
                let Some(parent) = child.parent_row else { continue };
                prop_assert!(row < parent);
                // No other commit is in the lane between a commit and its parent.
                for between in &placed[row + 1..parent] {
                    prop_assert_ne!(between.lane, child.lane);
                }
            }
            if let Some(first) = placed.iter().find(|placed| placed.commit.id == id(first)) {
                prop_assert_eq!(first.lane, 0);
            }
        }
    }
}
