//! The gate: a queue for all CPU work of requests, which runs on blocking threads.
//!
//! Async threads never compute for long, so `/healthz` and other requests without CPU work are answered at once. The
//! gate runs a few pieces of work at a time, and serves each person, or each address without a login, in turn. Neither
//! one subject nor all anonymous addresses together can hold all slots. The gate refuses a subject that queues too
//! much. If a client leaves, its waiting work is dropped and its running work is told to stop.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use dotmesh_hub_model::limits::WORK;

use crate::background::Background;
use crate::error::HubError;
use crate::rate_limit::Subject;
use crate::turns::Turns;

/// The time limit of one piece of work. The work must check it by itself ([`Watch::is_over`]).
const DEADLINE: Duration = Duration::from_secs(2);

/// The gate. Cheap to clone.
#[derive(Clone)]
pub struct Gate {
    /// The gate has its own pool of low-priority threads, so that no other work waits behind its work.
    threads: Background,
    slots: Turns,
}

/// A subject's share of the gate. Cheap to clone.
#[derive(Clone)]
pub struct Share {
    gate: Gate,
    subject: Subject,
}

/// The time limit and the cancellation flag of a piece of work, which the work checks from time to time.
#[derive(Debug)]
pub struct Watch {
    until: Instant,
    is_left: Arc<AtomicBool>,
}

/// Sets the cancellation flag when it is dropped, because then no client waits for the work.
struct Leaving(Arc<AtomicBool>);

impl Drop for Leaving {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Watch {
    /// Returns whether the work should stop and return a partial result, because its time is up or its client has left.
    pub fn is_over(&self) -> bool {
        self.is_left.load(Ordering::Relaxed) || Instant::now() >= self.until
    }

    /// Returns the instant when the time is up.
    pub fn until(&self) -> Instant {
        self.until
    }

    /// Creates a watch for work that no client waits for.
    pub fn lasting(time: Duration) -> Self {
        Self {
            until: Instant::now() + time,
            is_left: Arc::default(),
        }
    }
}

impl Default for Gate {
    /// One slot for each core, and at least two, so that one person's work leaves a slot to others.
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self::new(cores.max(WORK.in_all))
    }
}

impl Gate {
    /// Creates a gate with a number of slots.
    pub fn new(slots: usize) -> Self {
        Self {
            threads: Background::default(),
            slots: Turns::with(&WORK, slots),
        }
    }

    pub fn share(&self, subject: Subject) -> Share {
        let gate = self.clone();
        Share { gate, subject }
    }
}

impl Share {
    /// Waits for a turn, then runs the work on a blocking thread of low priority.
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
            // The thread keeps its slot to the end of the work, even if the client has left.
            let _slot = slot;
            work(&watch)
        });
        Ok(working.await?)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Mutex, mpsc};

    use dotmesh_hub_model::limits::WAITING;
    use tokio::sync::oneshot;

    use super::*;

    fn person(name: &str) -> Subject {
        Subject::of_user(name)
    }

    /// Work that holds its slot until the test ends it.
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

    /// Queues work that logs its name when it runs.
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
        // The gate skips queued work whose client has left.
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
        // At most two turns came before it: the held one, and one of the greedy user's.
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
