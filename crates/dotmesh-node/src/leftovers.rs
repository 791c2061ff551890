//! Problems that the API shows: deletions that failed, damaged dots that are left out, and what is wrong with the pool.

use std::sync::{Mutex, MutexGuard, PoisonError};

use dotmesh_pool::{DamagedDot, Leftover};

/// The current problems.
#[derive(Debug, Default)]
pub(crate) struct Leftovers {
    lists: Mutex<Lists>,
}

#[derive(Debug, Default)]
struct Lists {
    leftovers: Vec<Leftover>,
    damaged: Vec<DamagedDot>,
    pool: Option<String>,
}

impl Leftovers {
    /// Replaces the list by the pool's current one. Each leftover is logged once, when it is new.
    pub(crate) fn update(&self, now: Vec<Leftover>) {
        let mut lists = self.lock();
        let is_known = |leftover: &Leftover| {
            let mut known = lists.leftovers.iter();
            known.any(|known| known.path == leftover.path)
        };
        for new in now.iter().filter(|leftover| !is_known(leftover)) {
            tracing::warn!(path = %new.path.display(), problem = new.problem, "cannot delete this yet, the daemon tries again later");
        }
        lists.leftovers = now;
    }

    /// Sets the dots that could not be read at start.
    pub(crate) fn set_damaged(&self, damaged: Vec<DamagedDot>) {
        self.lock().damaged = damaged;
    }

    /// Sets the problem of the pool as a whole. A new one is logged once.
    pub(crate) fn set_pool(&self, problem: Option<String>) {
        let mut lists = self.lock();
        match (&lists.pool, &problem) {
            (None, Some(problem)) => tracing::error!("{problem}"),
            (Some(_), None) => tracing::info!("the pool takes writes again"),
            _ => {}
        }
        lists.pool = problem;
    }

    /// The problem of the pool as a whole.
    pub(crate) fn pool(&self) -> Option<String> {
        self.lock().pool.clone()
    }

    /// What could not be deleted so far. The daemon keeps trying.
    pub(crate) fn list(&self) -> Vec<Leftover> {
        self.lock().leftovers.clone()
    }

    /// The dots that could not be read at start.
    pub(crate) fn damaged(&self) -> Vec<DamagedDot> {
        self.lock().damaged.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Lists> {
        self.lists.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_always_the_last_one() {
        let leftovers = Leftovers::default();
        let one = Leftover {
            path: "/pool/trash/1-0".into(),
            problem: "cannot delete it".to_owned(),
        };
        leftovers.update(vec![one.clone()]);
        leftovers.update(vec![one.clone()]);
        assert_eq!(leftovers.lock().leftovers, [one]);
        leftovers.update(Vec::new());
        assert_eq!(leftovers.lock().leftovers, []);
    }
}
