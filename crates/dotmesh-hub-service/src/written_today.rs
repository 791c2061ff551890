//! Remembers which entries of the access log this process has written today.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use dotmesh_hub_db::access_log::LoggedAccess;

/// The most entries of a day that are remembered. Beyond it, the process forgets them all and starts again.
const MOST_REMEMBERED: usize = 20_000;

/// The entries that this process has written today.
#[derive(Debug, Default)]
pub(crate) struct WrittenToday {
    today: Mutex<(i64, HashSet<LoggedAccess>)>,
}

impl WrittenToday {
    /// Returns whether an entry has been written on this day.
    pub(crate) fn has(&self, access: &LoggedAccess, day: i64) -> bool {
        let today = self.today.lock().unwrap_or_else(PoisonError::into_inner);
        today.0 == day && today.1.contains(access)
    }

    /// Remembers an entry of this day.
    pub(crate) fn add(&self, access: LoggedAccess, day: i64) {
        let mut today = self.today.lock().unwrap_or_else(PoisonError::into_inner);
        if today.0 != day || today.1.len() >= MOST_REMEMBERED {
            *today = (day, HashSet::new());
        }
        today.1.insert(access);
    }
}
