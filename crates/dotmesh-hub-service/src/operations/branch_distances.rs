//! How far branches are from the default branch.

use std::collections::HashMap;

use dotmesh_model::CommitId;

use crate::auth::OpenDot;
use crate::error::HubError;
use crate::state::Hub;

/// The most commits that are looked at. Branches that left the default branch earlier have no distance.
const MAX_COMMITS: u32 = 2_000;

/// How many commits a branch has that the default branch lacks, and the other way round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Distance {
    pub ahead: usize,
    pub behind: usize,
}

/// Returns the distances of heads from `base`. Heads without a known distance are absent.
pub async fn branch_distances(
    hub: &Hub,
    dot: &OpenDot,
    base: CommitId,
    heads: &[CommitId],
) -> Result<HashMap<CommitId, Distance>, HubError> {
    let parents = hub.database.parents(dot.existing()?, MAX_COMMITS).await?;
    Ok(distances(&parents, base, heads))
}

fn distances(
    parents: &HashMap<CommitId, CommitId>,
    base: CommitId,
    heads: &[CommitId],
) -> HashMap<CommitId, Distance> {
    // A line ends at a commit whose parent is not known.
    let line = |head| std::iter::successors(Some(head), |commit| parents.get(commit).copied());
    let places: HashMap<CommitId, usize> = line(base).zip(0..).collect();
    let distance = |head: CommitId| {
        let mut steps = line(head).zip(0..);
        let (behind, ahead) =
            steps.find_map(|(commit, ahead)| Some((*places.get(&commit)?, ahead)))?;
        Some((head, Distance { ahead, behind }))
    };
    heads.iter().filter_map(|head| distance(*head)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u8) -> CommitId {
        CommitId::from_bytes([number; 16])
    }

    #[test]
    fn distances_are_counted_from_where_lines_part() {
        // 0 is the root commit: 1, 2 and 3 follow it, 4 and 5 follow 1, and 8 has a parent that is not known.
        let pairs = [(1, 0), (2, 1), (3, 2), (4, 1), (5, 4), (8, 7)];
        let parents = pairs
            .map(|(commit, parent)| (id(commit), id(parent)))
            .into();
        let heads = [id(3), id(5), id(1), id(8), id(0)];
        let found = distances(&parents, id(3), &heads);
        for (head, ahead, behind) in [(3, 0, 0), (5, 2, 2), (1, 0, 2), (0, 0, 3)] {
            assert_eq!(found.get(&id(head)), Some(&Distance { ahead, behind }));
        }
        assert_eq!(found.get(&id(8)), None);
    }
}
