//! How fast one user, or one address without a login, may ask: a bucket of tokens for each.
//!
//! Each process counts by itself, since a statement for each request would cost more than most requests do: of several
//! processes behind a load balancer each allows the whole rate. Guessing passwords is limited by the database
//! (`database/attempts.rs`), for all processes together.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::database::ids::UserId;

/// What may be asked at once, in seconds of the rate: a page and a push come in bursts.
const BURST: f64 = 20.0;

/// The most buckets that are kept.
const MAX_BUCKETS: usize = 100_000;

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Subject {
    /// A user, by whatever credentials.
    User(UserId),
    /// Somebody, from an address or network.
    Network(String),
}

/// The buckets.
#[derive(Debug)]
pub struct RateLimit {
    rate: f64,
    buckets: Mutex<HashMap<Subject, Bucket>>,
}

/// How many tokens there were at a time.
#[derive(Debug)]
struct Bucket {
    tokens: f64,
    at: Instant,
}

impl RateLimit {
    /// So many requests per second.
    pub fn new(rate: NonZeroU32) -> Self {
        Self {
            rate: rate.get().into(),
            buckets: Mutex::default(),
        }
    }

    /// Takes a token, or says how long to wait for one.
    pub fn take(&self, subject: Subject, now: Instant) -> Result<(), Duration> {
        let full = self.rate * BURST;
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= MAX_BUCKETS {
            buckets.retain(|_, bucket| self.tokens(bucket, now) < full);
        }
        if buckets.len() >= MAX_BUCKETS {
            // From so many addresses nobody is held up by counting each.
            buckets.clear();
        }
        let bucket = buckets.entry(subject).or_insert(Bucket {
            tokens: full,
            at: now,
        });
        bucket.tokens = self.tokens(bucket, now);
        bucket.at = now;
        if bucket.tokens < 1.0 {
            return Err(Duration::from_secs_f64((1.0 - bucket.tokens) / self.rate));
        }
        bucket.tokens -= 1.0;
        Ok(())
    }

    fn tokens(&self, bucket: &Bucket, now: Instant) -> f64 {
        let passed = now.saturating_duration_since(bucket.at).as_secs_f64();
        (bucket.tokens + passed * self.rate).min(self.rate * BURST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_then_the_rate() {
        let limit = RateLimit::new(NonZeroU32::MIN);
        let one = || Subject::Network("192.0.2.1".to_owned());
        let start = Instant::now();
        for _ in 0..20 {
            assert_eq!(limit.take(one(), start), Ok(()));
        }
        assert_eq!(limit.take(one(), start), Err(Duration::from_secs(1)));
        let other = Subject::Network("192.0.2.2".to_owned());
        assert_eq!(limit.take(other, start), Ok(()));
        let later = start + Duration::from_secs(2);
        assert_eq!(limit.take(one(), later), Ok(()));
        assert_eq!(limit.take(one(), later), Ok(()));
        assert!(limit.take(one(), later).is_err());
        // The clock may come from another core.
        assert!(limit.take(one(), start).is_err());
    }
}
