//! What is deleted: on its way into the trash, and out of it for good.
//!
//! Each item is deleted by itself. One that cannot be deleted keeps no other, is remembered with what keeps it, and is
//! tried again after a pause that grows.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use super::inner::{Inner, names_in, temporary, unused_name};
use crate::durable;
use crate::error::PoolError;
use crate::remove::remove;

/// How long an item that could not be deleted waits for the second attempt; each further one waits twice as long.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// The longest such pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);

/// Something deleted that is still in the pool, because it could not be removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leftover {
    /// Where it is.
    pub path: PathBuf,
    /// What keeps it.
    pub problem: String,
}

#[derive(Debug)]
struct Failure {
    problem: String,
    pause: Duration,
    next: Instant,
}

/// What could not be removed so far.
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
    /// Moves something to the trash.
    pub(super) fn discard(&self, path: &Path) -> Result<(), PoolError> {
        durable::rename(path, &temporary(&self.layout.trash()))
    }

    /// Moves something that nobody will want back to the trash, which keeps it no longer than it must. Fails only in
    /// that the thing stays where it is, as a leftover.
    pub(super) fn throw_away(&self, path: &Path) {
        if !self.leftovers.is_due(path) {
            return;
        }
        let to = self.layout.trash().join(format!("0-{}", unused_name()));
        // A crash leaves it at one of the two places, from which it goes later.
        if std::fs::rename(path, to).is_ok() {
            self.leftovers.is_gone(path);
        } else {
            self.remove_for_good(path);
        }
    }

    /// The same for what must not come back after a power cut.
    pub(super) fn discard_now(&self, path: &Path) -> Result<(), PoolError> {
        let to = self.layout.trash().join(format!("0-{}", unused_name()));
        durable::rename(path, &to)
    }

    /// Deletes something at last. Returns whether it is gone.
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

    /// Deletes what has been in the trash for longer than `grace`, and what failed to get there.
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

    /// What could not be removed and is still there.
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

/// When something was moved to the trash, as its name there says; long ago for what was thrown
/// away.
fn discarded_at(path: &Path) -> SystemTime {
    let nanos = path
        .file_name()
        .and_then(|name| name.to_str()?.split('-').next()?.parse::<u64>().ok())
        .unwrap_or_default();
    SystemTime::UNIX_EPOCH + Duration::from_nanos(nanos)
}
