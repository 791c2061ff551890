//! History against a model: a tree of numbered commits, with naive walks.

use dotmesh_model::{CommitId, History, Relation};
use proptest::prelude::*;

fn id(n: usize) -> CommitId {
    let mut bytes = [0; 16];
    bytes[8..].copy_from_slice(&(n as u64).to_be_bytes());
    CommitId::from_bytes(bytes)
}

/// Commit `n + 1` has one of the commits before it, or the root (0), as its parent.
fn tree() -> impl Strategy<Value = Vec<usize>> {
    proptest::collection::vec(any::<proptest::sample::Index>(), 1..40).prop_map(|choices| {
        choices
            .iter()
            .enumerate()
            .map(|(n, choice)| choice.index(n + 1))
            .collect()
    })
}

fn history(parents: &[usize]) -> History {
    let mut history = History::default();
    for (n, parent) in parents.iter().enumerate() {
        history.insert(id(n + 1), id(*parent));
    }
    history
}

fn path(parents: &[usize], mut at: usize) -> Vec<usize> {
    let mut path = vec![at];
    while at != 0 {
        at = parents[at - 1];
        path.push(at);
    }
    path
}

proptest! {
    #[test]
    fn relations_are_those_of_the_tree(
        parents in tree(),
        a in any::<proptest::sample::Index>(),
        b in any::<proptest::sample::Index>(),
    ) {
        let (a, b) = (a.index(parents.len() + 1), b.index(parents.len() + 1));
        let history = history(&parents);
        let (to_a, to_b) = (path(&parents, a), path(&parents, b));
        let expected = if a == b {
            Relation::Same
        } else if to_b.contains(&a) {
            Relation::Ahead
        } else if to_a.contains(&b) {
            Relation::Behind
        } else {
            let base = *to_b.iter().find(|n| to_a.contains(n)).unwrap();
            Relation::Diverged { base: id(base) }
        };
        prop_assert_eq!(history.relation(id(a), id(b)), expected);
        prop_assert_eq!(history.is_ancestor(id(a), id(b)), to_b.contains(&a));
        let ancestry: Vec<_> = history.ancestry(id(a)).collect();
        let expected: Vec<_> = to_a.iter().filter(|n| **n != 0).map(|n| id(*n)).collect();
        prop_assert_eq!(ancestry, expected);
    }
}

#[test]
fn a_cycle_ends() {
    let mut history = History::default();
    history.insert(id(1), id(2));
    history.insert(id(2), id(1));
    assert_eq!(history.ancestry(id(1)).count(), 2);
    assert_eq!(
        history.relation(id(3), id(1)),
        Relation::Diverged {
            base: CommitId::ROOT
        }
    );
}

#[test]
fn the_nearest_commit_may_be_above_below_or_beside() {
    let id = |n: u8| CommitId::from_bytes([n; 16]);
    let mut history = History::default();
    // 1 - 2 - 3 - 4, with a second line 5 - 6 from 2. 9 is alone.
    for (commit, parent) in [(2, 1), (3, 2), (4, 3), (5, 2), (6, 5)] {
        history.insert(id(commit), id(parent));
    }
    history.insert(id(1), CommitId::ROOT);
    history.insert(id(9), CommitId::ROOT);
    let nearest = |to, from: &[u8]| history.nearest(id(to), from.iter().map(|n| id(*n)));
    assert_eq!(nearest(4, &[1, 2, 6]), Some(id(2)));
    assert_eq!(nearest(1, &[4, 6]), Some(id(4)), "as near as the other");
    assert_eq!(nearest(6, &[4]), Some(id(4)));
    assert_eq!(
        nearest(6, &[9]),
        None,
        "with nothing in common but the root"
    );
    assert_eq!(nearest(6, &[]), None);
    assert_eq!(nearest(6, &[6, 5]), Some(id(6)));
}
