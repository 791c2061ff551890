//! The gate: all work of requests that costs CPU goes through it, onto blocking threads.
//!
//! Async threads only ever wait, so `/healthz` and everything that needs no such work answers at once. The gate runs a
//! few pieces of work at a time and gives each person, or each address without a login, a turn after the other. Nobody
//! holds all slots, nor do all addresses without a login together. Whoever asks for too much at once is refused; whoever
//! leaves takes their work along.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::background::Background;
use crate::error::HubError;
use crate::limits::WORK;
use crate::rate_limit::Subject;
use crate::turns::Turns;

/// How long one piece of work should take. It looks at the clock by itself ([`Watch::is_over`]).
const DEADLINE: Duration = Duration::from_secs(2);

/// The gate. Cheap to clone.
#[derive(Clone)]
pub struct Gate {
    /// Of its own: nothing else waits behind the work, and they give way.
    threads: Background,
    slots: Turns,
}

/// Somebody's share of the gate. Cheap to clone.
#[derive(Clone)]
pub struct Share {
    gate: Gate,
    subject: Subject,
}

/// What work looks at from time to time.
#[derive(Debug)]
pub struct Watch {
    until: Instant,
    is_left: Arc<AtomicBool>,
}

/// Says that nobody waits for the work any more.
struct Leaving(Arc<AtomicBool>);

impl Drop for Leaving {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Watch {
    /// Whether the work should end with what it has: its time is up, or its client has left.
    pub fn is_over(&self) -> bool {
        self.is_left.load(Ordering::Relaxed) || Instant::now() >= self.until
    }

    /// When its time is up.
    pub fn until(&self) -> Instant {
        self.until
    }

    /// One for work that nobody waits for.
    pub fn lasting(time: Duration) -> Self {
        Self {
            until: Instant::now() + time,
            is_left: Arc::default(),
        }
    }
}

impl Default for Gate {
    /// As many slots as there are cores, and at least two: one person's work leaves one to others.
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self::new(cores.max(WORK.in_all))
    }
}

impl Gate {
    /// With so many slots.
    pub fn new(slots: usize) -> Self {
        Self {
            threads: Background::default(),
            slots: Turns::with(&WORK, slots),
        }
    }

    /// A subject's share.
    pub fn share(&self, subject: Subject) -> Share {
        let gate = self.clone();
        Share { gate, subject }
    }
}

impl Share {
    /// Does some work on a blocking thread, in turn. The thread gives way to those that answer requests.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Watch) -> T + Send + 'static,
    ) -> Result<T, HubError> {
        let slot = self.gate.slots.take(&self.subject, 1).await?;
        let leaving = Leaving(Arc::default());
        let watch = Watch {
            until: Instant::now() + DEADLINE,
            is_left: leaving.0.clone(),
        };
        let working = self.gate.threads.run(move || {
            // The slot is taken as long as the thread is, whoever waits for it.
            let _slot = slot;
            work(&watch)
        });
        Ok(working.await?)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Mutex, mpsc};

    use tokio::sync::oneshot;

    use super::*;
    use crate::database::ids::UserId;
    use crate::limits::WAITING;

    fn person(name: &str) -> Subject {
        Subject::User(UserId::named(name))
    }

    /// Work that holds its slot until it is told to end.
    struct Held {
        end: mpsc::Sender<()>,
        task: tokio::task::JoinHandle<Result<&'static str, HubError>>,
    }

    async fn hold(gate: &Gate, who: &str, what: &'static str) -> Held {
        let (end, ended) = mpsc::channel::<()>();
        let (start, started) = oneshot::channel::<()>();
        let share = gate.share(person(who));
        let task = tokio::spawn(async move {
            let work = move |_: &Watch| {
                let _ = start.send(());
                let _ = ended.recv();
                what
            };
            share.run(work).await
        });
        started.await.expect("it runs");
        Held { end, task }
    }

    fn waiting(gate: &Gate) -> usize {
        gate.slots.waiting()
    }

    /// Work that waits for its turn, and then says so.
    async fn queue(
        gate: &Gate,
        who: &'static str,
        log: &Arc<Mutex<Vec<&'static str>>>,
    ) -> tokio::task::JoinHandle<Result<(), HubError>> {
        let (before, share, log) = (waiting(gate), gate.share(person(who)), log.clone());
        let task = tokio::spawn(async move {
            let work = move |_: &Watch| log.lock().expect("a log").push(who);
            share.run(work).await
        });
        while waiting(gate) == before {
            tokio::task::yield_now().await;
        }
        task
    }

    #[tokio::test]
    async fn one_person_never_has_all_slots() {
        let gate = Gate::new(2);
        let held = hold(&gate, "greedy", "held").await;
        let log = Arc::default();
        let second = queue(&gate, "greedy", &log).await;
        let other = hold(&gate, "other", "other").await;
        assert_eq!((waiting(&gate), log.lock().expect("a log").len()), (1, 0));
        drop((held.end, other.end));
        assert_eq!(held.task.await.expect("a task").expect("work"), "held");
        assert_eq!(other.task.await.expect("a task").expect("work"), "other");
        second.await.expect("a task").expect("work");
        assert!(gate.slots.is_unused());
    }

    #[tokio::test]
    async fn people_take_turns_however_much_each_asks_for() {
        let gate = Gate::new(1);
        let held = hold(&gate, "greedy", "held").await;
        let log = Arc::default();
        let mut tasks = Vec::new();
        for who in ["greedy", "greedy", "greedy", "one", "two", "one"] {
            tasks.push(queue(&gate, who, &log).await);
        }
        drop(held.end);
        for task in tasks {
            task.await.expect("a task").expect("work");
        }
        let order = log.lock().expect("a log").clone();
        assert_eq!(order, ["greedy", "one", "two", "greedy", "one", "greedy"]);
    }

    #[tokio::test]
    async fn who_leaves_takes_the_work_along() {
        let gate = Gate::new(1);
        let (start, started) = oneshot::channel::<()>();
        let (end, ended) = oneshot::channel::<bool>();
        let share = gate.share(person("one"));
        let task = tokio::spawn(async move {
            let work = move |watch: &Watch| {
                let _ = start.send(());
                let begun = Instant::now();
                while !watch.is_over() {
                    std::thread::yield_now();
                }
                let _ = end.send(begun.elapsed() < DEADLINE);
            };
            share.run(work).await
        });
        started.await.expect("it runs");
        let log = Arc::default();
        let waits = queue(&gate, "two", &log).await;
        waits.abort();
        task.abort();
        assert!(ended.await.expect("it ends"), "it ended by its deadline");
        // What waited and has left is passed over.
        let last = gate.share(person("three")).run(|_| 3).await;
        assert_eq!(last.expect("work"), 3);
        assert!(log.lock().expect("a log").is_empty());
    }

    #[tokio::test]
    async fn too_much_at_once_is_refused() {
        let gate = Gate::new(1);
        let held = hold(&gate, "greedy", "held").await;
        let log = Arc::default();
        let mut tasks = Vec::new();
        for _ in 0..WAITING.of_one {
            tasks.push(queue(&gate, "greedy", &log).await);
        }
        let refused = gate.share(person("greedy")).run(|_| ()).await;
        assert!(matches!(refused, Err(HubError::Overloaded)));
        let other = queue(&gate, "other", &log).await;
        drop(held.end);
        other.await.expect("a task").expect("work");
        // Two turns at most were before it.
        assert!(
            log.lock()
                .expect("a log")
                .iter()
                .position(|who| *who == "other")
                <= Some(1)
        );
        for task in tasks {
            task.await.expect("a task").expect("work");
        }
    }
}
