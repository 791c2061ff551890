//! Containers that do not run as they should. Users see them until they run.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use dotmesh_api::node::ContainerProblem;
use dotmesh_model::DotName;

use crate::operations::switch::execute::Trouble;

/// The containers that this daemon tries to start again, by dot.
#[derive(Default)]
pub(crate) struct Problems {
    dots: Mutex<BTreeMap<DotName, Vec<Trouble>>>,
}

impl Problems {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<DotName, Vec<Trouble>>> {
        self.dots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Replaces the dot's list, and logs what was added or removed.
    pub(crate) fn replace(&self, dot: &DotName, troubles: &[Trouble]) {
        let mut dots = self.lock();
        let before = dots.remove(dot).unwrap_or_default();
        for new in troubles.iter().filter(|trouble| !before.contains(trouble)) {
            tracing::warn!(%dot, container = %new.name, reason = %new.reason, "a container does not run yet");
        }
        for old in before {
            if !troubles.iter().any(|trouble| trouble.id == old.id) {
                tracing::info!(%dot, container = %old.name, "the daemon no longer tries to start this container");
            }
        }
        if !troubles.is_empty() {
            dots.insert(dot.clone(), troubles.to_vec());
        }
    }

    /// The problems of a dot's containers.
    pub(crate) fn of(&self, dot: &DotName) -> Vec<ContainerProblem> {
        let dots = self.lock();
        let troubles = dots.get(dot).into_iter().flatten();
        troubles
            .map(|trouble| ContainerProblem {
                container: trouble.name.clone(),
                problem: trouble.reason.clone(),
                retrying: true,
            })
            .collect()
    }
}
