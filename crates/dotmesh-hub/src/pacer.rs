//! Measures how fast a client takes or sends while the hub waits for it.
//!
//! The time that the hub waits is a debt, which bytes pay off at the slowest speed that is allowed. Who owes more than
//! the grace is too slow. Time in which there is nothing to send or to take is nobody's debt, so live pages may stay.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

use crate::limits::Pace;

/// Of one body, or of what is written to one connection.
#[derive(Debug)]
pub struct Pacer {
    debt: Debt,
    /// Since when the hub waits, and how long it will.
    waiting: Option<(Instant, Pin<Box<Sleep>>)>,
}

impl Pacer {
    /// Without debt.
    pub fn new(pace: &Pace) -> Self {
        Self {
            debt: Debt::new(pace),
            waiting: None,
        }
    }

    /// The client has to do something now. Ready when it is too slow.
    pub fn poll_wait(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let patience = self.debt.patience();
        let (_, end) = self.waiting.get_or_insert_with(|| {
            let now = Instant::now();
            (now, Box::pin(tokio::time::sleep_until(now + patience)))
        });
        end.as_mut().poll(context)
    }

    /// It has sent or taken some.
    pub fn moved(&mut self, bytes: usize) {
        let waiting = self.waiting.take();
        let waited = waiting.map_or(Duration::ZERO, |(since, _)| since.elapsed());
        self.debt.change(waited, bytes);
    }
}

/// What a client owes.
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

    /// How much longer it may do nothing.
    fn patience(&self) -> Duration {
        self.grace.saturating_sub(self.time)
    }

    /// It let the hub wait, and then did some.
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

    /// Moves some bytes again and again, after a pause each. Tells how often that went well.
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
        // Half as fast as it must be lasts twice as long.
        assert_eq!(often(500, 1), 18);
        assert_eq!(often(1000, 1), 1000);
        // In steps, too.
        assert_eq!(often(9000, 9), 1000);
    }

    #[test]
    fn what_was_fast_is_no_credit() {
        let mut debt = Debt::new(&PACE);
        debt.change(Duration::ZERO, 1 << 30);
        assert_eq!(moves(&mut debt, 0, 1), 9);
    }
}
