//! Makes long CPU work yield to everything else on the machine, above all to the app.
//!
//! A nice level is not enough. If the scheduler has groups (sessions, services, containers), the nice level counts only
//! within a group. A database that wakes up then waits some milliseconds, until a thread of another group has used its
//! time slice. So long work also yields the CPU all the time.

use std::time::{Duration, Instant};

use rustix::process::{getpriority_process, setpriority_process};
use rustix::thread::gettid;

/// The nice level of long work. The scheduler gives it about a tenth of the CPU time of others.
const NICE: i32 = 10;

/// The time after which a thread yields. It is far shorter than a database transaction, and far longer than a context
/// switch.
const YIELD_AFTER: Duration = Duration::from_micros(50);

/// Lowers the priority of this thread from now on.
pub fn give_way() {
    let before = getpriority_process(Some(gettid())).unwrap_or(0);
    // The change is optional: without permission, the work runs at the old priority.
    let _ = setpriority_process(Some(gettid()), NICE.max(before));
}

/// Runs work at a lower priority, on a thread that others will use afterwards.
pub fn politely<T>(work: impl FnOnce() -> T) -> T {
    let before = getpriority_process(Some(gettid()));
    give_way();
    let done = work();
    if let Ok(before) = before {
        let _ = setpriority_process(Some(gettid()), before);
    }
    done
}

/// Measures how long a thread has used the CPU without yielding.
#[derive(Debug)]
pub struct Yielder {
    since: Instant,
}

impl Default for Yielder {
    /// Starts now.
    fn default() -> Self {
        let since = Instant::now();
        Self { since }
    }
}

impl Yielder {
    /// Yields the CPU if the thread has not yielded for long. Call it after each piece of long work.
    pub fn yield_if_due(&mut self) {
        if self.since.elapsed() >= YIELD_AFTER {
            std::thread::yield_now();
            *self = Self::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn niceness() -> i32 {
        getpriority_process(Some(gettid())).expect("a thread may ask about itself")
    }

    #[test]
    fn only_the_work_gives_way() {
        let before = niceness();
        assert_eq!(politely(niceness), before.max(NICE));
        // Only root may raise the priority again.
        if rustix::process::geteuid().is_root() {
            assert_eq!(niceness(), before);
        }
    }

    #[test]
    fn giving_way_never_pushes_ahead() {
        let thread = std::thread::spawn(|| {
            setpriority_process(Some(gettid()), NICE + 5).expect("anybody may be nicer");
            give_way();
            niceness()
        });
        assert_eq!(thread.join().expect("it ends"), NICE + 5);
    }
}
