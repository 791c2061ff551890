//! The rate limit: a token bucket for each user, or for each address without a login.
//!
//! Each process counts by itself, because an SQL statement for each request would cost more than most requests do. So
//! each of several processes behind a load balancer allows the whole rate. The limit on password guesses is in the
//! database (`dotmesh-hub-db/src/attempts.rs`), and covers all processes together.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use dotmesh_hub_db::ids::UserId;

/// The size of a bucket, in seconds of the rate. Pages and pushes send requests in bursts.
const BURST: f64 = 20.0;

/// The most buckets that are kept. Further subjects share one bucket.
const MAX_BUCKETS: usize = 100_000;

/// The shortest interval between two searches for full buckets. A full bucket can be dropped, because a new one is full
/// too.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// The subject of a limit.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Subject {
    /// A user, whatever the credentials are.
    User(UserId),
    /// An anonymous client, by its address or network.
    Network(String),
    /// The hub itself, for work that no client waits for.
    Hub,
    /// A trusted proxy. It forwards requests of many clients, so it has no limit of its own.
    Proxy,
}

#[cfg(test)]
impl Subject {
    /// Makes the subject of some user from any name.
    pub(crate) fn of_user(name: &str) -> Self {
        let number = name.bytes().fold(0, |id, byte| id * 31 + i64::from(byte));
        Self::User(UserId::from_number(number))
    }
}

#[derive(Debug)]
pub struct RateLimit {
    rate: f64,
    most: usize,
    buckets: Mutex<Buckets>,
}

#[derive(Debug, Default)]
struct Buckets {
    of: HashMap<Subject, Bucket>,
    /// The bucket that the remaining subjects share, so that many addresses cannot evade the rate.
    of_others: Option<Bucket>,
    swept: Option<Instant>,
}

/// The number of tokens at an instant.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    tokens: f64,
    at: Instant,
}

impl RateLimit {
    /// Creates a limit in requests per second.
    pub fn new(rate: NonZeroU32) -> Self {
        Self {
            rate: rate.get().into(),
            most: MAX_BUCKETS,
            buckets: Mutex::default(),
        }
    }

    /// Takes a token. The error is the time until there is one.
    pub fn take(&self, subject: Subject, now: Instant) -> Result<(), Duration> {
        let full = Bucket {
            tokens: self.rate * BURST,
            at: now,
        };
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let Buckets {
            of,
            of_others,
            swept,
        } = &mut *buckets;
        let is_due = swept.is_none_or(|swept| now >= swept + SWEEP_INTERVAL);
        if of.len() >= self.most && is_due {
            *swept = Some(now);
            of.retain(|_, bucket| self.tokens(bucket, now) < full.tokens);
        }
        let bucket = match of.len() < self.most || of.contains_key(&subject) {
            true => of.entry(subject).or_insert(full),
            false => of_others.get_or_insert(full),
        };
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
        // The clock may be read on another core.
        assert!(limit.take(one(), start).is_err());
    }

    #[test]
    fn many_addresses_forgive_nobody() {
        let limit = RateLimit {
            most: 3,
            ..RateLimit::new(NonZeroU32::MIN)
        };
        let subject = |n: u32| Subject::Network(n.to_string());
        let start = Instant::now();
        let spend = |n: u32, now| std::iter::from_fn(|| limit.take(subject(n), now).ok()).count();
        assert_eq!(
            (spend(0, start), spend(1, start), spend(2, start)),
            (20, 20, 20)
        );
        // Further subjects share one bucket, and the earlier ones keep their empty buckets.
        assert_eq!(
            (spend(3, start), spend(4, start), spend(0, start)),
            (20, 0, 0)
        );
        let kept = || limit.buckets.lock().expect("the buckets").of.len();
        assert_eq!(kept(), 3);
        // Full buckets are dropped and make room.
        let later = start + Duration::from_secs(20);
        assert_eq!((spend(4, later), kept()), (20, 1));
    }
}
