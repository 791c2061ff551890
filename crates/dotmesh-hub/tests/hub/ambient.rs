//! The clock and randomness of tests: those of the system.

use dotmesh_model::ambient::{Clock, Random};
use jiff::Timestamp;
use rand::Rng as _;

pub(crate) fn now() -> Timestamp {
    Timestamp::now()
}

pub(crate) fn clock() -> Clock {
    Clock::new(now)
}

pub(crate) fn random() -> Random {
    Random::new(|bytes| rand::rng().fill_bytes(bytes))
}
