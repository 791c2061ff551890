//! The limit on open file descriptors. Connections use at most half of them, so files and databases always get one.

use dotmesh_hub_model::limits::CONNECTIONS;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the soft limit to the hard limit. Programs started from a shell usually have a soft limit of 1024.
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

/// Returns the most connections that the hub accepts: at most half of the descriptors that the process may open.
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
