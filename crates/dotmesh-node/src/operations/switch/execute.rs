//! Works through a plan: stops, starts, waits. The failure of one container does not end the work on the others.

use std::collections::HashSet;
use std::time::Duration;

use dotmesh_api::node::SwitchProgress;
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use tokio::sync::watch;
use tokio::time::Instant;

use super::ascent::Ascent;
use super::plan::{Member, Plan};
use crate::engine::{Docker, EngineError, Inspected};
use crate::timing::Timing;

/// What is told while the work goes on.
pub(crate) type Teller = watch::Sender<SwitchProgress>;

/// A container and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Trouble {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) reason: String,
}

impl std::fmt::Display for Trouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.name, self.reason)
    }
}

/// How stopping went.
#[derive(Debug, Default)]
pub(crate) struct Stopped {
    /// What did not stop. No other was stopped after the first of these.
    pub(crate) failed: Vec<Trouble>,
    /// Those of them that may stop later, as the Engine gave no answer: ids.
    pub(crate) uncertain: HashSet<String>,
}

/// What starting may do.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wishes {
    /// Wait until those with a health check are healthy.
    pub(crate) wait: bool,
    /// When to give up waiting.
    pub(crate) deadline: Instant,
    /// Start the others when one cannot be started.
    pub(crate) keep_going: bool,
}

/// How starting went.
#[derive(Debug, Default)]
pub(crate) struct Started {
    /// The names of those that run, or ran to their end.
    pub(crate) running: Vec<String>,
    /// The names of those that are gone: removed, or left to Swarm.
    pub(crate) removed: Vec<String>,
    pub(crate) replaced: Vec<String>,
    /// What the Engine refuses to start.
    pub(crate) failed: Vec<Trouble>,
    /// What was not started yet, and what it waits for.
    pub(crate) waiting: Vec<Trouble>,
    /// What was started, and does not run as it should.
    pub(crate) ailing: Vec<Trouble>,
}

/// The work on one plan.
pub(crate) struct Execution<'a> {
    pub(crate) docker: &'a Docker,
    pub(crate) timing: Timing,
    pub(crate) plan: &'a Plan,
    pub(crate) tell: &'a Teller,
}

impl Execution<'_> {
    pub(super) fn members(&self) -> &[Member] {
        &self.plan.members
    }

    pub(super) fn tell(&self, phase: &str, of: impl IntoIterator<Item = usize>) {
        let mut containers: Vec<String> = of
            .into_iter()
            .map(|at| self.members()[at].name.clone())
            .collect();
        containers.sort();
        self.tell.send_if_modified(|told| {
            let now = SwitchProgress {
                phase: phase.to_owned(),
                containers,
            };
            let changed = *told != now;
            *told = now;
            changed
        });
    }

    pub(super) fn trouble(&self, at: usize, reason: &str) -> Trouble {
        let member = &self.members()[at];
        Trouble {
            id: member.id.clone(),
            name: member.name.clone(),
            reason: reason.to_owned(),
        }
    }

    /// Stops all members, each before those that it depends on.
    pub(crate) async fn stop(&self) -> Stopped {
        let all = 0..self.members().len();
        let (mut begun, mut done) = (HashSet::new(), HashSet::new());
        let mut stopping = FuturesUnordered::new();
        let mut outcome = Stopped::default();
        loop {
            if outcome.failed.is_empty() {
                for at in all
                    .clone()
                    .filter(|at| !begun.contains(at))
                    .collect::<Vec<_>>()
                {
                    let mut dependents = all.clone().filter(|other| self.needs(*other, at));
                    if dependents.all(|other| done.contains(&other)) {
                        begun.insert(at);
                        stopping.push(async move { (at, self.stop_one(at).await) });
                    }
                }
            }
            let waits_for = begun.difference(&done).copied();
            self.tell("waiting for containers to stop", waits_for);
            let Some((at, result)) = stopping.next().await else {
                return outcome;
            };
            done.insert(at);
            match result {
                Ok(()) | Err(EngineError::Gone) => {}
                Err(error) => {
                    if !matches!(error, EngineError::Refused(_)) {
                        outcome.uncertain.insert(self.members()[at].id.clone());
                    }
                    outcome.failed.push(self.trouble(at, &error.to_string()));
                }
            }
        }
    }

    fn needs(&self, one: usize, other: usize) -> bool {
        self.members()[one]
            .after
            .iter()
            .any(|(need, _)| *need == other)
    }

    /// An Engine that is away for a moment is waited for.
    async fn stop_one(&self, at: usize) -> Result<(), EngineError> {
        let member = &self.members()[at];
        let give_up = Instant::now() + self.timing.away;
        loop {
            match self.docker.stop(&member.id, member.grace).await {
                Err(EngineError::Unreachable(_)) if Instant::now() < give_up => {
                    tokio::time::sleep(self.timing.poll).await;
                }
                done => return done,
            }
        }
    }

    /// Starts the members, each when what it waits for is there. `running` are those that are as they should be already.
    pub(crate) async fn start(&self, running: &[Inspected], wishes: Wishes) -> Started {
        Ascent::new(self, running, wishes).run().await
    }
}

/// A deadline so far away that it does not matter.
pub(crate) fn never() -> Instant {
    Instant::now() + Duration::from_secs(365 * 24 * 3600)
}
