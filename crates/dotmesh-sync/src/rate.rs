//! A limit to how fast bytes cross the network.

use std::num::NonZeroU64;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

/// What is sent or asked for at once takes about this long at the limit, so that others get their turn.
const STEP: Duration = Duration::from_millis(500);

/// Shared by everything that one transfer sends or receives.
#[derive(Debug, Default)]
pub struct Rate {
    limit: Option<NonZeroU64>,
    /// When what was spent so far is paid off.
    free_at: Mutex<Option<Instant>>,
}

impl Rate {
    /// At most so many bytes a second; as many as possible when `None`.
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

    /// How many bytes to send or ask for at once, where it would be `most` without a limit.
    pub fn step(&self, most: usize) -> usize {
        let Some(limit) = self.limit else { return most };
        let bytes = limit.get().saturating_mul(STEP.as_millis() as u64) / 1000;
        usize::try_from(bytes).unwrap_or(most).clamp(1, most)
    }

    /// Counts bytes, and returns when the next may follow.
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
        // A pause does not save up for a burst.
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
