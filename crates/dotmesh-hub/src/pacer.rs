//! Measures how fast a client sends or takes data while the hub waits for it.
//!
//! The time that the hub waits is a debt. Each byte pays off some of it, at the slowest allowed speed. A client whose
//! debt exceeds the grace is too slow. Time in which there is nothing to send or to take doesn't count, so live pages
//! can stay open.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use dotmesh_hub_model::limits::Pace;
use tokio::time::{Instant, Sleep};

/// The pacer of one body, or of the writes to one connection.
#[derive(Debug)]
pub(crate) struct Pacer {
    debt: Debt,
    /// Since when the hub waits, and the timer for the end of its patience.
    waiting: Option<(Instant, Pin<Box<Sleep>>)>,
}

impl Pacer {
    /// Creates a pacer without debt.
    pub(crate) fn new(pace: &Pace) -> Self {
        Self {
            debt: Debt::new(pace),
            waiting: None,
        }
    }

    /// Waits for the client. It is ready when the client is too slow.
    pub(crate) fn poll_wait(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let patience = self.debt.patience();
        let (_, end) = self.waiting.get_or_insert_with(|| {
            let now = Instant::now();
            (now, Box::pin(tokio::time::sleep_until(now + patience)))
        });
        end.as_mut().poll(context)
    }

    /// Notes that the client has sent or taken bytes.
    pub(crate) fn moved(&mut self, bytes: usize) {
        let waiting = self.waiting.take();
        let waited = waiting.map_or(Duration::ZERO, |(since, _)| since.elapsed());
        self.debt.change(waited, bytes);
    }
}

/// The time that a client owes.
#[derive(Debug)]
struct Debt {
    speed: u32,
    grace: Duration,
    time: Duration,
}

impl Debt {
    fn new(pace: &Pace) -> Self {
        Self {
            speed: pace.speed.max(1),
            grace: pace.grace,
            time: Duration::ZERO,
        }
    }

    /// How much longer the client may do nothing.
    fn patience(&self) -> Duration {
        self.grace.saturating_sub(self.time)
    }

    /// Adds the time that the hub waited, and subtracts what the bytes pay off.
    fn change(&mut self, waited: Duration, bytes: usize) {
        let paid = Duration::from_secs_f64(bytes as f64 / f64::from(self.speed));
        self.time = (self.time + waited).saturating_sub(paid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACE: Pace = Pace {
        speed: 1000,
        grace: Duration::from_secs(10),
        ..Pace::DEFAULT
    };

    /// Moves some bytes again and again, with a pause before each move. Returns how many moves were in time.
    fn moves(debt: &mut Debt, bytes: usize, pause: u64) -> usize {
        let pause = Duration::from_secs(pause);
        let moves = (0..1000).take_while(|_| {
            let in_time = pause < debt.patience();
            debt.change(pause, bytes);
            in_time
        });
        moves.count()
    }

    #[test]
    fn slow_is_less_than_the_speed_for_longer_than_the_grace() {
        let often = |bytes, pause| moves(&mut Debt::new(&PACE), bytes, pause);
        assert_eq!(often(1, 15), 0);
        assert_eq!(often(1, 1), 10);
        // At half the slowest speed, the grace lasts twice as long.
        assert_eq!(often(500, 1), 18);
        assert_eq!(often(1000, 1), 1000);
        // The same speed in larger steps is allowed too.
        assert_eq!(often(9000, 9), 1000);
    }

    #[test]
    fn what_was_fast_is_no_credit() {
        let mut debt = Debt::new(&PACE);
        debt.change(Duration::ZERO, 1 << 30);
        assert_eq!(moves(&mut debt, 0, 1), 9);
    }
}
