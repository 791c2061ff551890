//! The node's timeouts and intervals. Tests use shorter ones.

use std::time::Duration;

/// Timeouts, and intervals between attempts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timing {
    /// Timeout of an Engine call. For stopping a container, it is added to the container's grace period.
    pub(crate) call: Duration,
    /// Timeout for starting a container.
    pub(crate) start: Duration,
    /// Timeout for copying a folder from an image.
    pub(crate) copy: Duration,
    /// Polling interval of a wait.
    pub(crate) poll: Duration,
    /// How long a switch waits for an Engine that stopped answering.
    pub(crate) away: Duration,
    /// How long a switch waits until the container of a handed-out mount is seen running, or gone.
    pub(crate) in_flight: Duration,
    /// How long the processes of a stopped container may take to exit.
    pub(crate) linger: Duration,
    /// How long a mount waits for a switch before it is refused. The Engine gives up after two minutes, and on a managed
    /// plugin after 30 seconds.
    pub(crate) mount: Duration,
    /// The same for an Engine that answers nothing else meanwhile, and how long it may take to say which one it is.
    pub(crate) mute: Duration,
    /// Timeout for copying a folder from an image while Docker waits for the mount.
    pub(crate) fill: Duration,
    /// Interval between attempts to start a container: the first, and the maximum.
    pub(crate) retry: (Duration, Duration),
    /// Interval between checks of all containers when there are no events.
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
            mute: Duration::from_secs(1),
            fill: Duration::from_secs(25),
            retry: (Duration::from_secs(1), Duration::from_secs(30)),
            watch: Duration::from_secs(30),
        }
    }
}

impl Timing {
    /// The timing of a managed plugin. The mount and the copy together take less than the Engine's 30 seconds.
    pub(crate) fn of_managed_plugin() -> Self {
        Self {
            mount: Duration::from_secs(12),
            fill: Duration::from_secs(12),
            ..Self::default()
        }
    }
}
