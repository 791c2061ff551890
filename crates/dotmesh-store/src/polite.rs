//! Work that takes the processors for long, and gives way to whatever else the machine does: to the app above all.
//!
//! Being nice is not enough. Where the scheduler has groups (sessions, services, containers), it counts within a group only; and a
//! database that is woken up waits until a thread of another group has used up its slice, some milliseconds. So long work offers
//! the processor to others all the time.

use std::time::{Duration, Instant};

use rustix::process::{getpriority_process, setpriority_process};
use rustix::thread::gettid;

/// How much further back in the queue; the scheduler gives about a tenth of what others get.
const NICE: i32 = 10;

/// So long a thread keeps a processor: far less than a transaction of a database takes, far more than a change of threads.
const TURN: Duration = Duration::from_micros(50);

/// Makes this thread give way from now on.
pub fn give_way() {
    let before = getpriority_process(Some(gettid())).unwrap_or(0);
    // Only a courtesy: where it is not allowed, the work goes on as it is.
    let _ = setpriority_process(Some(gettid()), NICE.max(before));
}

/// Does work that gives way, on a thread that others will use.
pub fn politely<T>(work: impl FnOnce() -> T) -> T {
    let before = getpriority_process(Some(gettid()));
    give_way();
    let done = work();
    if let Ok(before) = before {
        let _ = setpriority_process(Some(gettid()), before);
    }
    done
}

/// A thread's turn at a processor.
#[derive(Debug)]
pub struct Turn {
    since: Instant,
}

impl Default for Turn {
    /// Begins one.
    fn default() -> Self {
        let since = Instant::now();
        Self { since }
    }
}

impl Turn {
    /// Lets others have theirs, if this one has taken long. To be called after each piece of long work.
    pub fn offer(&mut self) {
        if self.since.elapsed() >= TURN {
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
        // Who is not root may not take it back.
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
