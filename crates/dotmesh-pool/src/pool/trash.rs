//! The trash: moves items into it, and later deletes them permanently.
//!
//! Items are deleted one by one. If one cannot be deleted, the others still are. The failure is recorded, and deletion is
//! tried again after a growing pause.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use super::inner::{Inner, names_in, temporary, unused_name};
use crate::durable;
use crate::error::PoolError;
use crate::remove::remove;

/// The pause before the second attempt to delete an item. It doubles with each further attempt.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// The maximum pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);

/// A deleted item that is still in the pool, because deletion failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leftover {
    /// Its path.
    pub path: PathBuf,
    /// Why deletion failed.
    pub problem: String,
}

#[derive(Debug)]
struct Failure {
    problem: String,
    pause: Duration,
    next: Instant,
}

/// The items whose deletion has failed.
#[derive(Debug, Default)]
pub(super) struct Leftovers {
    failures: Mutex<BTreeMap<PathBuf, Failure>>,
}

impl Leftovers {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<PathBuf, Failure>> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_due(&self, path: &Path) -> bool {
        let failures = self.lock();
        let failure = failures.get(path);
        failure.is_none_or(|failure| failure.next <= Instant::now())
    }

    fn failed(&self, path: &Path, error: &PoolError) {
        let problem = error.with_causes();
        let mut failures = self.lock();
        let pause = match failures.get(path) {
            Some(earlier) => (earlier.pause * 2).min(LONGEST_PAUSE),
            None => FIRST_PAUSE,
        };
        let failure = Failure {
            problem,
            pause,
            next: Instant::now() + pause,
        };
        failures.insert(path.to_owned(), failure);
    }

    fn is_gone(&self, path: &Path) {
        self.lock().remove(path);
    }
}

impl Inner {
    /// Moves an item to the trash.
    pub(super) fn discard(&self, path: &Path) -> Result<(), PoolError> {
        durable::rename(path, &temporary(&self.layout.trash()))
    }

    /// Moves an item to the trash, which deletes it at the next opportunity. If that fails, the item is deleted in place, or
    /// becomes a leftover.
    pub(super) fn throw_away(&self, path: &Path) {
        if !self.leftovers.is_due(path) {
            return;
        }
        let to = self.layout.trash().join(format!("0-{}", unused_name()));
        // No fsync: after a crash, the item is at one of the two places, and both are cleaned up.
        if std::fs::rename(path, to).is_ok() {
            self.leftovers.is_gone(path);
        } else {
            self.remove_for_good(path);
        }
    }

    /// Like [`Self::throw_away`], but durable: the item cannot reappear after a power cut. Fails if it cannot be moved.
    pub(super) fn discard_now(&self, path: &Path) -> Result<(), PoolError> {
        let to = self.layout.trash().join(format!("0-{}", unused_name()));
        durable::rename(path, &to)
    }

    /// Deletes an item permanently. Returns whether that succeeded.
    pub(super) fn remove_for_good(&self, path: &Path) -> bool {
        match remove(&*self.driver, path) {
            Ok(()) => {
                self.leftovers.is_gone(path);
                true
            }
            Err(error) => {
                self.leftovers.failed(path, &error);
                false
            }
        }
    }

    /// Deletes items that have been in the trash for at least `grace`, and items that could not be moved there.
    pub(super) fn empty_trash(&self, grace: Duration) -> Result<(), PoolError> {
        let trash = self.layout.trash();
        let names = names_in(&trash)?;
        let items = names.iter().map(|name| trash.join(name)).filter(|item| {
            let moved = discarded_at(item);
            moved.elapsed().is_ok_and(|age| age >= grace)
        });
        let failed: Vec<PathBuf> = self.leftovers.lock().keys().cloned().collect();
        let staging = self.layout.staging();
        let stuck = failed.into_iter().filter(|path| path.starts_with(&staging));
        let mut removed = false;
        for item in items.chain(stuck) {
            if self.leftovers.is_due(&item) {
                removed |= self.remove_for_good(&item);
            }
        }
        if removed {
            self.driver.reclaim()?;
        }
        Ok(())
    }

    /// The items whose deletion failed and that still exist.
    pub(super) fn list_leftovers(&self) -> Vec<Leftover> {
        let mut failures = self.leftovers.lock();
        failures.retain(|path, _| std::fs::symlink_metadata(path).is_ok());
        let leftovers = failures.iter().map(|(path, failure)| Leftover {
            path: path.clone(),
            problem: failure.problem.clone(),
        });
        leftovers.collect()
    }
}

/// When an item was moved to the trash, from its name. Items of [`Inner::throw_away`] begin with 0, so they are due at
/// once.
fn discarded_at(path: &Path) -> SystemTime {
    let nanos = path
        .file_name()
        .and_then(|name| name.to_str()?.split('-').next()?.parse::<u64>().ok())
        .unwrap_or_default();
    SystemTime::UNIX_EPOCH + Duration::from_nanos(nanos)
}
