//! Containers that do not run as they should. Users see them until they run.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use dotmesh_api::node::ContainerProblem;
use dotmesh_model::{BranchName, DotName};

use crate::operations::switch::execute::Trouble;

/// A dot, and the branch to which the containers are pinned, if they are.
type Key = (DotName, Option<BranchName>);

/// The containers that this daemon tries to start again, by dot.
#[derive(Default)]
pub(crate) struct Problems {
    dots: Mutex<BTreeMap<Key, Vec<Trouble>>>,
}

impl Problems {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Key, Vec<Trouble>>> {
        self.dots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets all problems of a dot.
    pub(crate) fn forget(&self, dot: &DotName) {
        self.lock().retain(|(of, _), _| of != dot);
    }

    /// Replaces a list of the dot, and logs what was added or removed.
    pub(crate) fn replace(&self, dot: &DotName, pinned: Option<&BranchName>, troubles: &[Trouble]) {
        let mut dots = self.lock();
        let key = (dot.clone(), pinned.cloned());
        let before = dots.remove(&key).unwrap_or_default();
        for new in troubles.iter().filter(|trouble| !before.contains(trouble)) {
            tracing::warn!(%dot, container = %new.name, reason = %new.reason, "a container does not run yet");
        }
        for old in before {
            if !troubles.iter().any(|trouble| trouble.id == old.id) {
                tracing::info!(%dot, container = %old.name, "the daemon no longer tries to start this container");
            }
        }
        if !troubles.is_empty() {
            dots.insert(key, troubles.to_vec());
        }
    }

    /// The problems of a dot's containers.
    pub(crate) fn of(&self, dot: &DotName) -> Vec<ContainerProblem> {
        let dots = self.lock();
        let of_dot = dots.iter().filter(|((of, _), _)| of == dot);
        let troubles = of_dot.flat_map(|(_, troubles)| troubles);
        troubles
            .map(|trouble| ContainerProblem {
                container: trouble.name.clone(),
                problem: trouble.reason.clone(),
                retrying: true,
            })
            .collect()
    }
}
