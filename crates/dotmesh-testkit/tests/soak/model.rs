//! The expected state: commits, branches and working copies of the nodes, and branches of the hub. Pure.
//!
//! A failed operation may have been done or not. So the model offers candidates for a node's state, and takes the one
//! that is seen. If none matches, something was lost or is half done.

use std::collections::{BTreeMap, BTreeSet};

use crate::rows::Expected;

/// A commit's id, or [`ROOT`].
pub(crate) type Id = String;

/// Stands for the parent of a dot's first commit.
pub(crate) const ROOT: &str = "";

/// The head of a branch after a commit whose id was not reported.
const UNTOLD: &str = "?";

/// A commit that was made.
#[derive(Clone, Debug)]
pub(crate) struct Commit {
    pub(crate) parent: Id,
    pub(crate) state: Expected,
    /// Whether databases were started from it.
    pub(crate) verified: bool,
    /// Whether rows were written during the commit.
    pub(crate) under_load: bool,
}

/// A branch of a node.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Branch {
    pub(crate) head: Id,
    /// The possible rows of its working copy. `None` means the head's state, because nothing has run on the branch.
    pub(crate) live: Option<Expected>,
}

/// The dot on a node.
#[derive(Clone, Debug, Default)]
pub(crate) struct Dot {
    pub(crate) current: String,
    pub(crate) branches: BTreeMap<String, Branch>,
    /// The commits that can be named on the node.
    pub(crate) known: BTreeSet<Id>,
}

/// The dot on the hub.
#[derive(Clone, Debug, Default)]
pub(crate) struct Hub {
    pub(crate) branches: BTreeMap<String, Id>,
    /// All commits whose push succeeded, and their ancestors.
    pub(crate) known: BTreeSet<Id>,
}

/// A node's view of the dot.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) current: String,
    /// The head of each branch, and the head's parent.
    pub(crate) heads: BTreeMap<String, (Id, Id)>,
}

/// The possible states of a node after an operation.
#[derive(Clone, Debug)]
pub(crate) struct Candidates {
    pub(crate) dots: Vec<Dot>,
    /// The commit that may exist although its id was not reported.
    pub(crate) untold: Option<Commit>,
}

/// The possible change of the hub.
#[derive(Clone, Debug)]
pub(crate) enum HubChange {
    Nothing,
    Push {
        branch: String,
        head: Id,
        done: bool,
    },
    PushAll {
        heads: BTreeMap<String, Id>,
    },
    Delete {
        branch: String,
        done: bool,
    },
}

#[derive(Debug, Default)]
pub(crate) struct Model {
    pub(crate) commits: BTreeMap<Id, Commit>,
    pub(crate) dots: [Dot; 2],
    pub(crate) hub: Hub,
}

/// Whether a node may write to a branch.
pub(crate) fn is_own(node: usize, branch: &str) -> bool {
    !branch.contains("DIVERGED")
        && match node {
            0 => branch == "master" || branch.starts_with("a-"),
            _ => branch.starts_with("b-"),
        }
}

impl Dot {
    pub(crate) fn head(&self) -> &str {
        self.branches
            .get(&self.current)
            .map_or(ROOT, |branch| branch.head.as_str())
    }

    /// The dot after a commit.
    pub(crate) fn committed(&self, id: &str) -> Dot {
        let mut dot = self.clone();
        if let Some(branch) = dot.branches.get_mut(&self.current) {
            branch.head = id.to_owned();
        }
        dot.known.insert(id.to_owned());
        dot
    }

    /// The dot after a commit whose id was not reported.
    pub(crate) fn committed_untold(&self) -> Dot {
        self.committed(UNTOLD)
    }

    /// The dot on a new branch. Without a commit, the branch starts with the current state.
    pub(crate) fn branched(&self, name: &str, commit: Option<&str>) -> Dot {
        let mut dot = self.clone();
        let branch = match (commit, self.branches.get(&self.current)) {
            (None, Some(current)) => current.clone(),
            (commit, _) => Branch {
                head: commit.unwrap_or(ROOT).to_owned(),
                live: None,
            },
        };
        dot.branches.insert(name.to_owned(), branch);
        dot.current = name.to_owned();
        dot
    }

    /// The dot after a checkout of another branch.
    pub(crate) fn checked_out(&self, name: &str) -> Dot {
        Dot {
            current: name.to_owned(),
            ..self.clone()
        }
    }

    /// The dot with a branch at a commit, without uncommitted changes.
    pub(crate) fn at(&self, branch: &str, commit: &str) -> Dot {
        let mut dot = self.clone();
        let clean = Branch {
            head: commit.to_owned(),
            live: None,
        };
        dot.branches.insert(branch.to_owned(), clean);
        dot
    }
}

impl Candidates {
    pub(crate) fn one(dot: Dot) -> Candidates {
        Candidates {
            dots: vec![dot],
            untold: None,
        }
    }

    /// The state after the operation. If the operation was not reported as done, also the state before it.
    pub(crate) fn of(done: bool, before: Dot, after: Dot) -> Candidates {
        Candidates {
            dots: if done {
                vec![after]
            } else {
                vec![before, after]
            },
            untold: None,
        }
    }
}

impl Model {
    /// A commit and all its ancestors.
    pub(crate) fn ancestry(&self, id: &str) -> BTreeSet<Id> {
        let mut all = BTreeSet::new();
        let mut at = id;
        while at != ROOT && all.insert(at.to_owned()) {
            at = self
                .commits
                .get(at)
                .map_or(ROOT, |commit| commit.parent.as_str());
        }
        all
    }

    /// The possible rows in the working copy of a dot's current branch.
    pub(crate) fn live(&self, dot: &Dot) -> Expected {
        let branch = dot.branches.get(&dot.current);
        let live = branch.and_then(|branch| branch.live.clone());
        live.or_else(|| {
            let commit = self.commits.get(dot.head())?;
            Some(commit.state.clone())
        })
        .unwrap_or_default()
    }

    /// Records the possible rows of the current working copy.
    pub(crate) fn set_live(&mut self, node: usize, live: Expected) {
        let dot = &mut self.dots[node];
        if let Some(branch) = dot.branches.get_mut(&dot.current) {
            branch.live = Some(live);
        }
    }

    /// Takes the first candidate that matches what is seen, and returns the others that match. These may differ in
    /// their working copies, for example after a reset to the head.
    pub(crate) fn settle(
        &mut self,
        node: usize,
        candidates: &Candidates,
        seen: &Seen,
    ) -> Result<Vec<Dot>, String> {
        let mut found = candidates
            .dots
            .iter()
            .filter_map(|dot| self.matching(dot, candidates.untold.as_ref(), seen))
            .collect::<Vec<_>>()
            .into_iter();
        let Some((dot, made)) = found.next() else {
            let expected: Vec<_> = candidates.dots.iter().map(describe).collect();
            return Err(format!(
                "expected {}, but seen is branch {} with {:?}",
                expected.join(" or "),
                seen.current,
                seen.heads
            ));
        };
        if let (Some(id), Some(commit)) = (made, &candidates.untold) {
            self.commits.insert(id, commit.clone());
        }
        self.dots[node] = dot;
        Ok(found.map(|(other, _)| other).collect())
    }

    fn matching(
        &self,
        dot: &Dot,
        untold: Option<&Commit>,
        seen: &Seen,
    ) -> Option<(Dot, Option<Id>)> {
        let mut matched = dot.clone();
        let mut made = None;
        if dot.current != seen.current || !dot.branches.keys().eq(seen.heads.keys()) {
            return None;
        }
        for (name, branch) in &mut matched.branches {
            let (head, parent) = seen.heads.get(name)?;
            if branch.head == UNTOLD {
                let is_it = untold.is_some_and(|commit| commit.parent == *parent)
                    && !self.commits.contains_key(head);
                if !is_it {
                    return None;
                }
                branch.head.clone_from(head);
                made = Some(head.clone());
            } else if branch.head != *head {
                return None;
            }
        }
        if let Some(id) = &made {
            matched.known.remove(UNTOLD);
            matched.known.insert(id.clone());
        }
        Some((matched, made))
    }

    /// Compares the hub's branches with the allowed ones.
    pub(crate) fn settle_hub(
        &mut self,
        change: &HubChange,
        seen: &BTreeMap<String, Id>,
    ) -> Result<(), String> {
        let mut may_come = BTreeSet::new();
        match change {
            HubChange::Push { head, .. } => may_come.extend(self.ancestry(head)),
            HubChange::PushAll { heads } => {
                for head in heads.values() {
                    may_come.extend(self.ancestry(head));
                }
            }
            HubChange::Nothing | HubChange::Delete { .. } => {}
        }
        for (name, old) in &self.hub.branches {
            let gone = matches!(change, HubChange::Delete { branch, .. } if branch == name);
            if !gone && !seen.contains_key(name) {
                return Err(format!("the hub has lost branch {name} at {old}"));
            }
        }
        for (name, head) in seen {
            match change {
                HubChange::Delete { branch, done: true } if branch == name => {
                    return Err(format!("the hub still has the deleted branch {name}"));
                }
                HubChange::Push {
                    branch,
                    head: pushed,
                    done: true,
                } if branch == name && head != pushed && !self.ancestry(head).contains(pushed) => {
                    return Err(format!(
                        "branch {name} is at {head}, though a push to {pushed} was reported as done"
                    ));
                }
                _ => {}
            }
            let old = self.hub.branches.get(name);
            let stays = old == Some(head);
            let comes = may_come.contains(head);
            // The push has put a branch aside under another name, or has made one at a known commit.
            let begins = old.is_none()
                && self.hub.known.contains(head)
                && matches!(change, HubChange::Push { .. } | HubChange::PushAll { .. });
            if !(stays || comes || begins) {
                return Err(format!(
                    "branch {name} of the hub went from {old:?} to {head}"
                ));
            }
        }
        for head in seen.values() {
            let ancestry = self.ancestry(head);
            self.hub.known.extend(ancestry);
        }
        self.hub.branches.clone_from(seen);
        Ok(())
    }
}

fn describe(dot: &Dot) -> String {
    let heads: BTreeMap<_, _> = dot
        .branches
        .iter()
        .map(|(name, branch)| (name, &branch.head))
        .collect();
    format!("branch {} with {heads:?}", dot.current)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn commit(parent: &str) -> Commit {
        Commit {
            parent: parent.to_owned(),
            state: Expected::default(),
            verified: false,
            under_load: true,
        }
    }

    fn model() -> Model {
        let mut model = Model::default();
        model.commits.insert("1".into(), commit(ROOT));
        model.commits.insert("2".into(), commit("1"));
        model.dots[0] = Dot::default().branched("master", Some("2"));
        model
    }

    fn seen(current: &str, heads: &[(&str, &str, &str)]) -> Seen {
        let heads = heads
            .iter()
            .map(|(name, head, parent)| ((*name).into(), ((*head).into(), (*parent).into())));
        Seen {
            current: current.into(),
            heads: heads.collect(),
        }
    }

    #[test]
    fn a_commit_that_was_not_told_of_is_there_or_not() {
        for (head, parent, fits) in [
            ("2", "1", true),
            ("3", "2", true),
            ("3", "1", false),
            ("1", "", false),
        ] {
            let mut model = model();
            let candidates = Candidates {
                dots: vec![model.dots[0].clone(), model.dots[0].committed_untold()],
                untold: Some(commit("2")),
            };
            let settled =
                model.settle(0, &candidates, &seen("master", &[("master", head, parent)]));
            assert_eq!(settled.is_ok(), fits, "{head} after {parent}");
            if fits {
                assert_eq!(model.dots[0].head(), head);
                assert!(model.commits.contains_key(head));
            }
        }
    }

    #[test]
    fn a_checkout_that_was_done_is_seen_as_done() {
        let mut model = model();
        let before = model.dots[0].clone();
        let after = before.branched("a-1", Some("1"));
        let new = seen("a-1", &[("a-1", "1", ""), ("master", "2", "1")]);
        let old = seen("master", &[("master", "2", "1")]);
        let half = seen("master", &[("a-1", "1", ""), ("master", "2", "1")]);
        for (done, seen, fits) in [
            (true, &new, true),
            (true, &old, false),
            (false, &new, true),
            (false, &old, true),
            (false, &half, false),
        ] {
            let candidates = Candidates::of(done, before.clone(), after.clone());
            assert_eq!(model.settle(0, &candidates, seen).is_ok(), fits, "{seen:?}");
        }
    }

    #[test]
    fn a_reset_to_the_head_that_failed_leaves_two_possible_contents() {
        let mut model = model();
        model.set_live(0, Expected::default());
        let before = model.dots[0].clone();
        let after = before.at("master", "2");
        let seen = seen("master", &[("master", "2", "1")]);
        let candidates = Candidates::of(false, before, after.clone());
        let others = model.settle(0, &candidates, &seen).unwrap();
        assert_eq!(others.len(), 1);
        assert_eq!(others[0].branches, after.branches);
    }

    #[test]
    fn a_push_that_was_done_is_on_the_hub_and_takes_nothing_away() {
        let heads = |heads: &[(&str, &str)]| -> BTreeMap<String, Id> {
            heads
                .iter()
                .map(|(name, head)| ((*name).into(), (*head).into()))
                .collect()
        };
        let push = |done| HubChange::Push {
            branch: "master".into(),
            head: "2".into(),
            done,
        };
        for (done, head, fits) in [
            (true, "2", true),
            (true, "1", false),
            (false, "1", true),
            (false, "2", true),
            (false, "9", false),
        ] {
            let mut model = model();
            model.hub.branches = heads(&[("master", "1"), ("a-1", "1")]);
            model.hub.known.insert("1".into());
            let settled = model.settle_hub(&push(done), &heads(&[("master", head), ("a-1", "1")]));
            assert_eq!(settled.is_ok(), fits, "{done} {head}");
            let lost = model.settle_hub(&push(false), &heads(&[("master", "1")]));
            assert!(lost.is_err());
        }
    }
}
