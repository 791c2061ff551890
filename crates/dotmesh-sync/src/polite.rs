//! Work that gives way to the app: it takes the processor when nobody else wants it.

use rustix::process::setpriority_process;
use rustix::thread::gettid;

/// How much further back in the queue; the scheduler gives about a tenth of what the app gets.
const NICE: i32 = 10;

/// Makes this thread give way from now on.
pub(crate) fn give_way() {
    // Only a courtesy: where it is not allowed, the work goes on as it is.
    let _ = setpriority_process(Some(gettid()), NICE);
}

/// Does work that gives way, on a thread that others will use.
pub(crate) fn politely<T>(work: impl FnOnce() -> T) -> T {
    let before = rustix::process::getpriority_process(Some(gettid()));
    give_way();
    let done = work();
    if let Ok(before) = before {
        let _ = setpriority_process(Some(gettid()), before);
    }
    done
}
