//! The system's clock and randomness. All else of the hub gets them from here.

use dotmesh_model::ambient::{Clock, Random};
use jiff::Timestamp;
use rand::Rng as _;

/// Returns the time.
#[expect(clippy::disallowed_methods, reason = "this is the edge")]
pub(super) fn now() -> Timestamp {
    Timestamp::now()
}

/// Returns the system's clock.
pub(super) fn clock() -> Clock {
    Clock::new(now)
}

/// Returns a source of random bytes, which the system seeds.
#[expect(clippy::disallowed_methods, reason = "this is the edge")]
pub(super) fn random() -> Random {
    Random::new(|bytes| rand::rng().fill_bytes(bytes))
}
