//! The graph of a dot's commits: each has one parent, and all descend from the root commit.

use std::collections::HashMap;

use crate::ids::CommitId;

/// The relation of a branch's new head to its old one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Relation {
    /// They are the same commit.
    Same,
    /// The new head descends from the old one: a fast-forward.
    Ahead,
    /// The old head descends from the new one.
    Behind,
    /// Each has commits that the other lacks.
    Diverged {
        /// The latest common commit.
        base: CommitId,
    },
}

/// A set of commits with their parents. The root commit is always a member.
#[derive(Debug, Clone, Default)]
pub struct History {
    parents: HashMap<CommitId, CommitId>,
}

impl History {
    /// Adds a commit. Its parent may come later.
    pub fn insert(&mut self, id: CommitId, parent: CommitId) {
        if id != CommitId::ROOT {
            self.parents.insert(id, parent);
        }
    }

    /// Whether the commit is known.
    pub fn contains(&self, id: CommitId) -> bool {
        id == CommitId::ROOT || self.parents.contains_key(&id)
    }

    /// The commit's parent. `None` for the root commit and for an unknown one.
    pub fn parent(&self, id: CommitId) -> Option<CommitId> {
        self.parents.get(&id).copied()
    }

    /// Every known commit except the root commit.
    pub fn ids(&self) -> impl Iterator<Item = CommitId> + '_ {
        self.parents.keys().copied()
    }

    /// The commit itself and its ancestors, newest first, without the root commit.
    ///
    /// It ends early at an unknown parent, and at a cycle, which only forged records can have.
    pub fn ancestry(&self, id: CommitId) -> impl Iterator<Item = CommitId> + '_ {
        std::iter::successors(Some(id), |id| self.parent(*id))
            .take_while(|id| *id != CommitId::ROOT && self.contains(*id))
            .take(self.parents.len())
    }

    /// Whether `ancestor` is `id` or one of its ancestors.
    pub fn is_ancestor(&self, ancestor: CommitId, id: CommitId) -> bool {
        ancestor == CommitId::ROOT || self.ancestry(id).any(|known| known == ancestor)
    }

    /// The relation of `new` to `old`.
    pub fn relation(&self, old: CommitId, new: CommitId) -> Relation {
        if old == new {
            return Relation::Same;
        }
        if self.is_ancestor(old, new) {
            return Relation::Ahead;
        }
        if self.is_ancestor(new, old) {
            return Relation::Behind;
        }
        let of_old: std::collections::HashSet<_> = self.ancestry(old).collect();
        let base = self
            .ancestry(new)
            .find(|id| of_old.contains(id))
            .unwrap_or(CommitId::ROOT);
        Relation::Diverged { base }
    }

    /// The candidate with the shortest path, up to a common ancestor and down again. The root commit does not count
    /// as a common ancestor.
    ///
    /// Among equals it is the lowest id, so that the answer is always the same.
    pub fn nearest(
        &self,
        to: CommitId,
        candidates: impl IntoIterator<Item = CommitId>,
    ) -> Option<CommitId> {
        let above: HashMap<CommitId, usize> = self
            .ancestry(to)
            .enumerate()
            .map(|(steps, id)| (id, steps))
            .collect();
        let distance = |from| {
            let mut way = self.ancestry(from).enumerate();
            way.find_map(|(steps, id)| Some(steps + above.get(&id)?))
        };
        candidates
            .into_iter()
            .filter_map(|from| Some((distance(from)?, from)))
            .min()
            .map(|(_, nearest)| nearest)
    }

    /// The `n`-th ancestor, where 0 is the commit itself. `None` if the history is shorter.
    pub fn nth_ancestor(&self, id: CommitId, n: usize) -> Option<CommitId> {
        let mut at = id;
        for _ in 0..n {
            at = self.parent(at)?;
        }
        Some(at)
    }
}
