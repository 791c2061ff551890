//! Turns: a fair semaphore. It limits how much of a resource is in use at once, and gives each person or address a fair
//! share.
//!
//! A subject gets a part only if all that it then has is no more than what was free before. So a newcomer almost always
//! finds a free part. A part is reserved for logged-in users, because one client may have any number of addresses.
//! Subjects that wait are served round robin, however much each has queued.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dotmesh_hub_model::limits::{Allowance, WAITING};
use tokio::sync::oneshot;

use crate::error::HubError;
use crate::rate_limit::Subject;

/// The turns of one resource. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Turns(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    in_all: usize,
    of_one: usize,
    /// The part of `in_all` that is reserved for logged-in users.
    for_people: usize,
    patience: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    used: usize,
    used_by_addresses: usize,
    waiting: usize,
    lines: HashMap<Subject, Line>,
    /// The subjects in the order of their turns. A subject is in it once, while it has something that waits.
    order: VecDeque<Subject>,
}

/// The queue of one subject.
#[derive(Debug, Default)]
struct Line {
    used: usize,
    waiting: VecDeque<(usize, oneshot::Sender<Turn>)>,
}

/// A part of the resource that is in use. Dropping it gives the part back.
#[derive(Debug)]
pub struct Turn {
    turns: Turns,
    subject: Subject,
    amount: usize,
}

impl Turns {
    /// Creates the turns of an allowance.
    pub fn of(allowance: &Allowance) -> Self {
        Self::with(allowance, allowance.in_all)
    }

    /// Creates the turns of an allowance, but with another total.
    pub fn with(allowance: &Allowance, in_all: usize) -> Self {
        let in_all = in_all.max(1);
        Self(Arc::new(Inner {
            in_all,
            of_one: allowance.of_one,
            for_people: allowance.for_people.min(in_all - 1),
            patience: allowance.patience,
            state: Mutex::default(),
        }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes an amount if it is free now.
    pub fn try_take(&self, subject: &Subject, amount: usize) -> Option<Turn> {
        let mut state = self.state();
        if !state.may(&self.0, subject, amount) {
            return None;
        }
        state.lines.entry(subject.clone()).or_default();
        state.change(subject, |used| used + amount);
        Some(self.turn(subject.clone(), amount))
    }

    /// Waits for an amount.
    pub async fn take(&self, subject: &Subject, amount: usize) -> Result<Turn, HubError> {
        let turn = self.queue(subject, amount)?;
        self.hand_out();
        match tokio::time::timeout(self.0.patience, turn).await {
            Ok(Ok(turn)) => Ok(turn),
            Ok(Err(_)) | Err(_) => Err(HubError::Overloaded),
        }
    }

    fn queue(&self, subject: &Subject, amount: usize) -> Result<oneshot::Receiver<Turn>, HubError> {
        let mut state = self.state();
        let line = state.lines.entry(subject.clone()).or_default();
        let before = line.waiting.len();
        line.waiting.retain(|(_, turn)| !turn.is_closed());
        let (gone, waiting) = (before - line.waiting.len(), line.waiting.len());
        state.waiting -= gone;
        // The same rule shares the places in the queue.
        let places = WAITING.in_all - state.waiting;
        if waiting >= WAITING.of_one.min(places) {
            state.forget(subject);
            return Err(HubError::Overloaded);
        }
        let (sender, turn) = oneshot::channel();
        state.waiting += 1;
        if let Some(line) = state.lines.get_mut(subject) {
            line.waiting.push_back((amount, sender));
        }
        if waiting == 0 && !state.order.contains(subject) {
            state.order.push_back(subject.clone());
        }
        Ok(turn)
    }

    fn turn(&self, subject: Subject, amount: usize) -> Turn {
        let turns = self.clone();
        Turn {
            turns,
            subject,
            amount,
        }
    }

    /// Gives the free parts to the next subjects.
    fn hand_out(&self) {
        loop {
            let mut state = self.state();
            let Some((subject, amount, sender)) = state.next(&self.0) else {
                return;
            };
            drop(state);
            // If the receiver has gone, dropping the turn gives the part back, and the loop goes on.
            drop(sender.send(self.turn(subject, amount)));
        }
    }

    /// Returns the amount in use.
    pub fn used(&self) -> usize {
        self.state().used
    }

    #[cfg(test)]
    pub(crate) fn waiting(&self) -> usize {
        self.state().waiting
    }

    #[cfg(test)]
    pub(crate) fn is_unused(&self) -> bool {
        let state = self.state();
        state.lines.is_empty() && state.used == 0
    }
}

impl State {
    /// Returns whether a subject may take so much more.
    fn may(&self, inner: &Inner, subject: &Subject, amount: usize) -> bool {
        let free = inner.in_all - self.used;
        let own = self.lines.get(subject).map_or(0, |line| line.used);
        match subject {
            Subject::Proxy => amount <= free,
            Subject::Network(_) => {
                let for_addresses = inner.in_all - inner.for_people;
                let free = free.min(for_addresses - self.used_by_addresses);
                own + amount <= free.min(inner.of_one)
            }
            Subject::User(_) | Subject::Hub => own + amount <= free.min(inner.of_one),
        }
    }

    /// Changes the counts of the amount in use.
    fn change(&mut self, subject: &Subject, change: impl Fn(usize) -> usize) {
        self.used = change(self.used);
        if let Subject::Network(_) = subject {
            self.used_by_addresses = change(self.used_by_addresses);
        }
        if let Some(line) = self.lines.get_mut(subject) {
            line.used = change(line.used);
        }
    }

    /// Removes a queue with nothing in use and nothing that waits.
    fn forget(&mut self, subject: &Subject) {
        let line = self.lines.get(subject);
        if line.is_some_and(|line| line.used == 0 && line.waiting.is_empty()) {
            self.lines.remove(subject);
        }
    }

    /// Takes a part for the next subject that may have it.
    fn next(&mut self, inner: &Inner) -> Option<(Subject, usize, oneshot::Sender<Turn>)> {
        for _ in 0..self.order.len() {
            let subject = self.order.pop_front()?;
            let next = self.next_of(inner, &subject);
            match self.lines.get(&subject) {
                Some(line) if !line.waiting.is_empty() => self.order.push_back(subject.clone()),
                _ => self.forget(&subject),
            }
            if let Some((amount, sender)) = next {
                return Some((subject, amount, sender));
            }
        }
        None
    }

    fn next_of(
        &mut self,
        inner: &Inner,
        subject: &Subject,
    ) -> Option<(usize, oneshot::Sender<Turn>)> {
        loop {
            let line = self.lines.get_mut(subject)?;
            let (amount, sender) = line.waiting.front()?;
            let (amount, is_gone) = (*amount, sender.is_closed());
            if !is_gone && !self.may(inner, subject, amount) {
                return None;
            }
            let line = self.lines.get_mut(subject)?;
            let (amount, sender) = line.waiting.pop_front()?;
            self.waiting -= 1;
            if !is_gone {
                self.change(subject, |used| used + amount);
                return Some((amount, sender));
            }
        }
    }
}

impl Turn {
    /// Adds another turn of the same resource and subject to this one.
    pub fn join(&mut self, mut other: Self) {
        debug_assert!(self.subject == other.subject);
        self.amount += std::mem::take(&mut other.amount);
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if self.amount == 0 {
            return;
        }
        {
            let mut state = self.turns.state();
            state.change(&self.subject, |used| used - self.amount);
            state.forget(&self.subject);
        }
        self.turns.hand_out();
    }
}

#[cfg(test)]
mod tests {
    use dotmesh_hub_model::limits;

    use super::*;

    fn turns(in_all: usize, of_one: usize, for_people: usize, patience: u64) -> Turns {
        Turns::of(&Allowance {
            in_all,
            of_one,
            for_people,
            patience: Duration::from_secs(patience),
            ..limits::DOWNLOADS
        })
    }

    fn person(name: &str) -> Subject {
        Subject::Network(name.to_owned())
    }

    #[test]
    fn nobody_has_more_than_is_left_for_others() {
        let turns = turns(64, 64, 0, 60);
        let mut held = Vec::new();
        let mut had = Vec::new();
        for greedy in 0..7 {
            let subject = person(&greedy.to_string());
            let taken = std::iter::from_fn(|| turns.try_take(&subject, 1));
            let before = held.len();
            held.extend(taken);
            had.push(held.len() - before);
        }
        assert_eq!(had, [32, 16, 8, 4, 2, 1, 1]);
        drop(held);
        assert!(turns.is_unused());
    }

    #[test]
    fn a_share_has_an_end_but_for_proxies() {
        let turns = turns(100, 3, 0, 60);
        let hold = |subject: &Subject| {
            let taken: Vec<Turn> = std::iter::from_fn(|| turns.try_take(subject, 1)).collect();
            taken
        };
        let one = hold(&person("one"));
        let proxy = hold(&Subject::Proxy);
        assert_eq!((one.len(), proxy.len()), (3, 97));
    }

    #[test]
    fn a_part_is_kept_for_people() {
        let turns = turns(8, 2, 3, 60);
        let addresses = (0..8).map(|n| turns.try_take(&person(&n.to_string()), 1));
        let addresses: Vec<Turn> = addresses.flatten().collect();
        let people = ["alice", "bob", "carol", "dave"].map(Subject::of_user);
        let people = people.iter().map(|subject| turns.try_take(subject, 1));
        let people: Vec<Turn> = people.flatten().collect();
        assert_eq!((addresses.len(), people.len()), (5, 3));
        drop(addresses);
        assert!(turns.try_take(&person("one"), 1).is_some());
    }

    #[tokio::test]
    async fn amounts_wait_until_they_fit() {
        let turns = turns(10, 10, 0, 60);
        let mut held = turns.try_take(&person("one"), 3).expect("room");
        held.join(turns.try_take(&person("one"), 2).expect("room"));
        assert!(turns.try_take(&person("one"), 1).is_none());
        assert!(turns.try_take(&person("two"), 6).is_none());
        let (waits, two) = (turns.clone(), person("two"));
        let waits = tokio::spawn(async move { waits.take(&two, 6).await });
        while turns.waiting() == 0 {
            tokio::task::yield_now().await;
        }
        // A smaller request can pass a larger one that waits.
        assert!(turns.take(&person("three"), 5).await.is_ok());
        drop(held);
        assert_eq!(waits.await.expect("a task").expect("a turn").amount, 6);
    }

    #[tokio::test]
    async fn patience_ends() {
        let turns = turns(1, 1, 0, 0);
        let _held = turns.take(&person("one"), 1).await.expect("a turn");
        let refused = turns.take(&person("two"), 1).await;
        assert!(matches!(refused, Err(HubError::Overloaded)));
    }
}
