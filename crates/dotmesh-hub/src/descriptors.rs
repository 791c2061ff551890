//! How many descriptors the process may have: connections are far fewer, so files and databases always find one.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::limits::CONNECTIONS;

/// Raises the limit to what the system allows. It does so for the first caller's sake: programs that are started by a
/// shell have 1024.
pub fn raise() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: maximum,
        maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, "cannot raise the limit on open files");
    }
}

/// How many connections there may be: at most half of what the process may open.
pub fn connections() -> usize {
    let current = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let half = usize::try_from(current / 2).unwrap_or(usize::MAX);
    if half < CONNECTIONS.in_all {
        tracing::info!(
            connections = half,
            "the limit on open files allows no more connections"
        );
    }
    half.min(CONNECTIONS.in_all)
}
