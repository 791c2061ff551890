//! Executes a plan: stops, starts and waits. If one container fails, the work on others already begun goes on.

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

/// Receives the progress.
pub(crate) type Teller = watch::Sender<SwitchProgress>;

/// A container and its problem.
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

/// The result of stopping.
#[derive(Debug, Default)]
pub(crate) struct Stopped {
    /// The containers that did not stop. After the first failure, no more are stopped.
    pub(crate) failed: Vec<Trouble>,
    /// The ids of those that may still stop, since the Engine did not answer.
    pub(crate) uncertain: HashSet<String>,
}

/// Options for starting.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wishes {
    /// Whether to wait until members with health checks are healthy.
    pub(crate) wait: bool,
    /// When to give up waiting.
    pub(crate) deadline: Instant,
    /// Whether to start the others if one cannot be started.
    pub(crate) keep_going: bool,
}

/// The result of starting.
#[derive(Debug, Default)]
pub(crate) struct Started {
    /// The names of those that run, or have run to their end.
    pub(crate) running: Vec<String>,
    /// The names of those that are gone: `removed`, or `replaced` by Swarm.
    pub(crate) removed: Vec<String>,
    pub(crate) replaced: Vec<String>,
    /// Those that the Engine refused to start.
    pub(crate) failed: Vec<Trouble>,
    /// Those that were not started yet, and what they wait for.
    pub(crate) waiting: Vec<Trouble>,
    /// Those that were started but have a problem.
    pub(crate) ailing: Vec<Trouble>,
}

/// Executes one plan.
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

    /// Stops all members, each before its dependencies.
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

    /// Stops a member. Retries for a while if the Engine is unreachable.
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

    /// Starts the members, each when its dependencies are ready. `running` are those that already run correctly.
    pub(crate) async fn start(&self, running: &[Inspected], wishes: Wishes) -> Started {
        Ascent::new(self, running, wishes).run().await
    }
}

/// A deadline that is never reached.
pub(crate) fn never() -> Instant {
    Instant::now() + Duration::from_secs(365 * 24 * 3600)
}
