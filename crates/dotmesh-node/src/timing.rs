//! How long the node waits for what others do. Tests wait less.

use std::time::Duration;

/// The node's patience.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timing {
    /// For an answer of the Engine, and beyond a container's own grace for its end.
    pub(crate) call: Duration,
    /// For the start of a container.
    pub(crate) start: Duration,
    /// For the copy of an image's folder.
    pub(crate) copy: Duration,
    /// Between two looks at something that is waited for.
    pub(crate) poll: Duration,
    /// For an Engine that went away in the middle of a switch.
    pub(crate) away: Duration,
    /// For a container whose mount was handed out to be seen running or gone.
    pub(crate) in_flight: Duration,
    /// For the processes of a stopped container to be gone.
    pub(crate) linger: Duration,
    /// For a switch to end before a mount is refused. The Engine itself gives up after two minutes.
    pub(crate) mount: Duration,
    /// For the copy of an image's folder while Docker waits for a mount.
    pub(crate) fill: Duration,
    /// Between two attempts to start what could not be started: at first, and at most.
    pub(crate) retry: (Duration, Duration),
    /// Between two looks at all containers when nothing happens.
    pub(crate) watch: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            call: Duration::from_secs(30),
            start: Duration::from_secs(150),
            copy: Duration::from_secs(600),
            poll: Duration::from_millis(50),
            away: Duration::from_secs(20),
            in_flight: Duration::from_secs(30),
            linger: Duration::from_secs(5),
            mount: Duration::from_secs(90),
            fill: Duration::from_secs(25),
            retry: (Duration::from_secs(1), Duration::from_secs(30)),
            watch: Duration::from_secs(30),
        }
    }
}
