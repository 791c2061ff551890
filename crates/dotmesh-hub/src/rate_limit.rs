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

/// The most buckets that are kept. Whoever comes beyond them shares one with others.
const MAX_BUCKETS: usize = 100_000;

/// How often full buckets are looked for at most, which are as good as none.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Subject {
    /// A user, by whatever credentials.
    User(UserId),
    /// Somebody, from an address or network.
    Network(String),
    /// The hub itself, for work that nobody waits for.
    Hub,
    /// A proxy that the hub trusts: it speaks for many, and its own share has no end.
    Proxy,
}

/// The buckets.
#[derive(Debug)]
pub struct RateLimit {
    rate: f64,
    most: usize,
    buckets: Mutex<Buckets>,
}

#[derive(Debug, Default)]
struct Buckets {
    of: HashMap<Subject, Bucket>,
    /// Of those who found no place: many addresses at once are no way around the rate.
    of_others: Option<Bucket>,
    swept: Option<Instant>,
}

/// How many tokens there were at a time.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    tokens: f64,
    at: Instant,
}

impl RateLimit {
    /// So many requests per second.
    pub fn new(rate: NonZeroU32) -> Self {
        Self {
            rate: rate.get().into(),
            most: MAX_BUCKETS,
            buckets: Mutex::default(),
        }
    }

    /// Takes a token, or says how long to wait for one.
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
        // The clock may come from another core.
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
        // The others have one together, and those before them have still spent theirs.
        assert_eq!(
            (spend(3, start), spend(4, start), spend(0, start)),
            (20, 0, 0)
        );
        let kept = || limit.buckets.lock().expect("the buckets").of.len();
        assert_eq!(kept(), 3);
        // Full again, they make room.
        let later = start + Duration::from_secs(20);
        assert_eq!((spend(4, later), kept()), (20, 1));
    }
}
