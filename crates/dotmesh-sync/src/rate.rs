//! Limits how many bytes a transfer sends or receives per second.

use std::num::NonZeroU64;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

/// The time that one send or request takes at the limit. It is short, so that others can use the network in between.
const STEP: Duration = Duration::from_millis(500);

/// The limit, shared by everything that one transfer sends or receives.
#[derive(Debug, Default)]
pub struct Rate {
    limit: Option<NonZeroU64>,
    /// The time from which the limit allows the next bytes.
    free_at: Mutex<Option<Instant>>,
}

impl Rate {
    /// Makes a limit in bytes per second. `None` is no limit.
    pub fn new(limit: Option<NonZeroU64>) -> Self {
        Self {
            limit,
            free_at: Mutex::default(),
        }
    }

    /// Whether there is a limit.
    pub fn is_limited(&self) -> bool {
        self.limit.is_some()
    }

    /// The number of bytes to send or request at once. It is `most` without a limit.
    pub fn step(&self, most: usize) -> usize {
        let Some(limit) = self.limit else { return most };
        let bytes = limit.get().saturating_mul(STEP.as_millis() as u64) / 1000;
        usize::try_from(bytes).unwrap_or(most).clamp(1, most)
    }

    /// Counts bytes, and returns when the next bytes may follow.
    pub async fn spend(&self, bytes: usize) {
        let Some(limit) = self.limit else { return };
        let takes = Duration::from_secs_f64(bytes as f64 / limit.get() as f64);
        let until = {
            let mut free_at = self.free_at.lock().await;
            let now = Instant::now();
            let until = free_at.unwrap_or(now).max(now) + takes;
            *free_at = Some(until);
            until
        };
        tokio::time::sleep_until(until).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_spent_together_takes_as_long_as_one_after_the_other() {
        let rate = Rate::new(NonZeroU64::new(1000));
        let start = Instant::now();
        tokio::join!(rate.spend(500), rate.spend(1000), rate.spend(500));
        assert_eq!(start.elapsed(), Duration::from_secs(2));
        // Idle time must not add up to a burst.
        tokio::time::advance(Duration::from_secs(60)).await;
        let start = Instant::now();
        rate.spend(1000).await;
        assert_eq!(start.elapsed(), Duration::from_secs(1));
        assert_eq!(rate.step(1 << 20), 500);
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_limit_nothing_waits() {
        let rate = Rate::default();
        let start = Instant::now();
        rate.spend(usize::MAX).await;
        assert_eq!(start.elapsed(), Duration::ZERO);
        assert_eq!(rate.step(1 << 20), 1 << 20);
    }
}
