//! The time and randomness, which the edge of a program passes to all else. Tests can pass others.

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;

/// Tells the time. Cheap to clone.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> Timestamp + Send + Sync>);

impl Clock {
    /// Makes a clock from a function that returns the time.
    pub fn new(read: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self(Arc::new(read))
    }

    /// Returns the time.
    pub fn now(&self) -> Timestamp {
        (self.0)()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock(…)")
    }
}

type Fill = dyn Fn(&mut [u8]) + Send + Sync;

/// Makes random bytes, which nobody can guess. Cheap to clone.
#[derive(Clone)]
pub struct Random(Arc<Fill>);

impl Random {
    /// Makes a source from a function that fills a buffer with random bytes.
    pub fn new(fill: impl Fn(&mut [u8]) + Send + Sync + 'static) -> Self {
        Self(Arc::new(fill))
    }

    /// Returns random bytes.
    pub fn bytes<const LENGTH: usize>(&self) -> [u8; LENGTH] {
        let mut bytes = [0; LENGTH];
        (self.0)(&mut bytes);
        bytes
    }

    /// Returns a random number below `end`, which must not be 0.
    pub fn below(&self, end: u64) -> u64 {
        // The bias is below 2^-32 for each `end` below 2^32.
        u64::from_le_bytes(self.bytes()) % end
    }
}

impl fmt::Debug for Random {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Random(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_passed_in_decides() {
        let clock = Clock::new(|| Timestamp::UNIX_EPOCH);
        assert_eq!(clock.now(), Timestamp::UNIX_EPOCH);
        let random = Random::new(|bytes| bytes.fill(1));
        assert_eq!(random.bytes::<2>(), [1, 1]);
        assert_eq!(random.below(1 << 16), 0x0101);
        assert_eq!(random.below(1), 0);
    }
}
