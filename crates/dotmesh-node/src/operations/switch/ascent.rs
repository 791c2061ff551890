//! Starts the containers of a plan, each when its dependencies are ready, and waits for their health.

use std::collections::HashSet;

use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use tokio::time::Instant;

use super::execute::{Execution, Started, Wishes};
use super::plan::{Afterwards, Condition, Member};
use crate::engine::{Container, EngineError, Health, Inspected, State};

/// The progress of a member.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Progress {
    Waiting,
    Starting,
    Started,
    /// It need not be started: it is removed, replaced or left alone.
    Gone,
    Failed(String),
}

/// Starts the members of a plan.
pub(super) struct Ascent<'a> {
    work: &'a Execution<'a>,
    wishes: Wishes,
    progress: Vec<Progress>,
    /// The last inspection of each member.
    seen: Vec<Option<Inspected>>,
    /// Since when the Engine is unreachable, and the error.
    away: Option<(Instant, String)>,
    /// Whether the Engine was unreachable since the last inspection.
    lost: bool,
    /// The started members that were not inspected since the Engine was unreachable. They may have ended with it. An
    /// Engine that has just come back may inspect only some of them at once.
    unseen: HashSet<usize>,
}

type Starting<'a> = FuturesUnordered<BoxFuture<'a, (usize, Result<(), EngineError>)>>;

impl<'a> Ascent<'a> {
    /// Only `running` is started yet. They are given as last inspected.
    pub(super) fn new(work: &'a Execution<'a>, running: &[Inspected], wishes: Wishes) -> Self {
        let found = |member: &Member| running.iter().find(|one| one.id == member.id);
        let initial = |member: &Member| match member.afterwards {
            _ if found(member).is_some() => Progress::Started,
            Afterwards::Removed | Afterwards::ReplacedBySwarm | Afterwards::Leave => Progress::Gone,
            Afterwards::Start | Afterwards::StartAndPause => Progress::Waiting,
        };
        let progress: Vec<Progress> = work.members().iter().map(initial).collect();
        Self {
            seen: work
                .members()
                .iter()
                .map(|one| found(one).cloned())
                .collect(),
            away: None,
            lost: false,
            unseen: HashSet::new(),
            work,
            wishes,
            progress,
        }
    }

    fn all(&self, state: &Progress) -> Vec<usize> {
        let all = 0..self.progress.len();
        all.filter(|at| self.progress[*at] == *state).collect()
    }

    /// Runs until all members run, or until waiting longer is useless.
    pub(super) async fn run(mut self) -> Started {
        let mut starting = Starting::new();
        loop {
            let may_go_on = self.may_go_on();
            if may_go_on {
                self.start_those_that_can(&mut starting);
            }
            let awaited = self.awaited();
            if starting.is_empty() {
                let waits = self.wishes.wait && !awaited.is_empty();
                if !may_go_on || !waits && self.away.is_none() {
                    break;
                }
                match self.away {
                    Some(_) => self.work.tell("waiting for Docker", []),
                    None => self
                        .work
                        .tell("waiting for containers to be healthy", awaited.clone()),
                }
            } else {
                let under_way = self.all(&Progress::Starting);
                self.work.tell("waiting for containers to start", under_way);
            }
            tokio::select! {
                Some((at, result)) = starting.next() => self.note(at, result).await,
                () = tokio::time::sleep(self.work.timing.poll) => self.look(&awaited).await,
            }
        }
        self.finish().await
    }

    /// Whether to start or wait for more members.
    fn may_go_on(&self) -> bool {
        let is_failed = |one: &Progress| matches!(one, Progress::Failed(_));
        let failed = self.progress.iter().any(is_failed);
        let away = self.away.as_ref();
        let is_away_for_long =
            away.is_some_and(|(since, _)| since.elapsed() >= self.work.timing.away);
        let is_late = Instant::now() >= self.wishes.deadline || is_away_for_long;
        !is_late && (!failed || self.wishes.keep_going)
    }

    fn start_those_that_can(&mut self, starting: &mut Starting<'a>) {
        for at in self.all(&Progress::Waiting) {
            if self.obstacle(at).is_none() {
                self.progress[at] = Progress::Starting;
                let work = self.work;
                let id = &work.members()[at].id;
                starting.push(Box::pin(async move { (at, work.docker.start(id).await) }));
            }
        }
    }

    async fn note(&mut self, at: usize, result: Result<(), EngineError>) {
        self.progress[at] = match result {
            Ok(()) => Progress::Started,
            Err(EngineError::Gone) => Progress::Gone,
            Err(EngineError::Refused(reason)) => Progress::Failed(reason),
            Err(error) => {
                self.lost = true;
                self.away
                    .get_or_insert_with(|| (Instant::now(), error.to_string()));
                // Wait before the next attempt.
                tokio::time::sleep(self.work.timing.poll).await;
                Progress::Waiting
            }
        };
        if self.progress[at] != Progress::Waiting {
            self.away = None;
            // Inspect it, to see whether it has a health check.
            self.look(&[at]).await;
        }
    }

    /// What a member must still wait for before it is started.
    fn obstacle(&self, at: usize) -> Option<String> {
        let members = self.work.members();
        members[at].after.iter().find_map(|(need, condition)| {
            let name = &members[*need].name;
            match (&self.progress[*need], condition) {
                (Progress::Gone | Progress::Failed(_), _) => None,
                (Progress::Waiting | Progress::Starting, _) => Some(format!("it waits for {name}")),
                (Progress::Started, Condition::Started) => None,
                (Progress::Started, condition) => {
                    let state = unmet(self.seen[*need].as_ref(), *condition);
                    state.map(|state| format!("it waits for {name}, which {state}"))
                }
            }
        })
    }

    /// The started members whose health or end is waited for, and still possible.
    fn awaited(&self) -> Vec<usize> {
        let members = self.work.members().iter();
        let waiting = members.zip(&self.progress);
        let waiting = waiting.filter(|(_, progress)| **progress == Progress::Waiting);
        let mut conditions: Vec<(usize, Condition)> = waiting
            .flat_map(|(member, _)| member.after.clone())
            .collect();
        let started = self.all(&Progress::Started);
        if self.wishes.wait {
            conditions.extend(started.iter().map(|at| (*at, Condition::Healthy)));
        }
        let may_come = |at: usize, condition: Condition| match self.seen[at].as_ref() {
            None => condition != Condition::Started,
            Some(one) => unmet(Some(one), condition).is_some() && may_come(one, condition),
        };
        let is_awaited = |at: &usize| {
            let mut conditions = conditions.iter().filter(|(need, _)| need == at);
            conditions.any(|(_, condition)| may_come(*at, *condition))
        };
        started.into_iter().filter(is_awaited).collect()
    }

    /// Inspects members again. After the Engine was unreachable, inspects all started ones.
    async fn look(&mut self, which: &[usize]) {
        let members = self.work.members();
        if self.lost {
            self.unseen = self.all(&Progress::Started).into_iter().collect();
        }
        let mut which = which.to_vec();
        which.extend(
            self.unseen
                .iter()
                .filter(|at| !which.contains(at))
                .copied()
                .collect::<Vec<_>>(),
        );
        let containers: Vec<Container> = which
            .iter()
            .map(|at| Container {
                id: members[*at].id.clone(),
                name: members[*at].name.clone(),
                ..Container::default()
            })
            .collect();
        // Inspect them again later.
        let Ok(found) = self.work.docker.inspect(&containers).await else {
            self.lost = true;
            return;
        };
        self.lost = false;
        for at in which {
            let found = found.iter().find(|one| one.id == members[at].id);
            let Some(one) = found else { continue };
            let lost = self.unseen.remove(&at);
            let before = self.seen[at].replace(one.clone());
            if self.progress[at] != Progress::Started {
                continue;
            }
            let had_ended = before.is_some_and(|before| !before.state.is_active());
            if one.state == State::Removing {
                self.progress[at] = Progress::Gone;
            } else if lost
                && !one.state.is_active()
                && !had_ended
                && members[at].afterwards != Afterwards::Leave
            {
                self.progress[at] = Progress::Waiting;
            }
        }
    }

    /// Pauses the members that were paused, and collects the outcome.
    async fn finish(mut self) -> Started {
        self.look(&self.all(&Progress::Started)).await;
        let mut outcome = Started::default();
        for (at, member) in self.work.members().iter().enumerate() {
            match &self.progress[at] {
                _ if member.afterwards == Afterwards::Leave => {}
                Progress::Gone if member.afterwards == Afterwards::ReplacedBySwarm => {
                    outcome.replaced.push(member.name.clone());
                }
                Progress::Gone => outcome.removed.push(member.name.clone()),
                Progress::Failed(reason) => outcome.failed.push(self.work.trouble(at, reason)),
                Progress::Waiting | Progress::Starting => {
                    let away = self.away.as_ref().map(|(_, reason)| reason.clone());
                    let reason = self.obstacle(at).or(away);
                    let reason = reason
                        .as_deref()
                        .unwrap_or("there was not enough time to start it");
                    outcome.waiting.push(self.work.trouble(at, reason));
                }
                // A member counts as running only after an inspection.
                Progress::Started if self.lost => {
                    let reason = "cannot reach Docker";
                    outcome.waiting.push(self.work.trouble(at, reason));
                }
                // It may be gone: the daemon looks again.
                Progress::Started if self.unseen.contains(&at) => {
                    let reason = "Docker does not say yet whether it runs";
                    outcome.waiting.push(self.work.trouble(at, reason));
                }
                Progress::Started => {
                    outcome.running.push(member.name.clone());
                    let wait = self.wishes.wait;
                    let ailment = self.seen[at].as_ref().and_then(|one| ailment(one, wait));
                    outcome
                        .ailing
                        .extend(ailment.map(|reason| self.work.trouble(at, &reason)));
                    if member.afterwards == Afterwards::StartAndPause
                        && let Err(error) = self.work.docker.pause(&member.id).await
                    {
                        let reason = format!("cannot pause it again: {error}");
                        outcome.ailing.push(self.work.trouble(at, &reason));
                    }
                }
            }
        }
        outcome
    }
}

/// Why a started dependency does not meet a condition yet. `None` if it does.
fn unmet(seen: Option<&Inspected>, condition: Condition) -> Option<String> {
    let Some(one) = seen else {
        return (condition != Condition::Started).then(|| "is not seen yet".to_owned());
    };
    match (condition, one.state, one.health) {
        (Condition::CompletedSuccessfully, State::Exited, _) if one.exit_code == 0 => None,
        (Condition::CompletedSuccessfully, State::Exited, _) => {
            Some(format!("ended with code {}", one.exit_code))
        }
        (Condition::CompletedSuccessfully, ..) => Some("has not ended".to_owned()),
        (Condition::Started, ..) | (Condition::Healthy, _, None | Some(Health::Healthy)) => None,
        (Condition::Healthy, State::Exited | State::Dead, _) => {
            Some(format!("ended with code {}", one.exit_code))
        }
        (Condition::Healthy, _, Some(Health::Starting)) => Some("is not healthy yet".to_owned()),
        (Condition::Healthy, _, Some(Health::Unhealthy)) => Some("is unhealthy".to_owned()),
    }
}

/// Whether the condition can still be met.
fn may_come(one: &Inspected, condition: Condition) -> bool {
    match condition {
        Condition::Started => false,
        Condition::Healthy => one.state.is_active() && one.health == Some(Health::Starting),
        Condition::CompletedSuccessfully => one.state.is_active(),
    }
}

/// The problem of a started container. That it is not healthy yet counts only if health was waited for.
fn ailment(one: &Inspected, waited: bool) -> Option<String> {
    match (one.state, one.health) {
        (State::Exited | State::Dead, _) if one.exit_code != 0 => Some(format!(
            "it ended with code {} after it was started",
            one.exit_code
        )),
        (State::Restarting, _) => Some(format!(
            "it keeps ending with code {} and being restarted",
            one.exit_code
        )),
        (_, Some(Health::Unhealthy)) if one.state.is_active() => {
            Some("its health check fails".to_owned())
        }
        (_, Some(Health::Starting)) if waited && one.state == State::Running => {
            Some("it is not healthy yet".to_owned())
        }
        _ => None,
    }
}
