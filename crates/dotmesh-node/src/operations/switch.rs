//! Shared parts of checkout, reset and the like: stop the containers that follow the current branch, change what their
//! volumes show, start them again, and verify their mounts.
//!
//! `plan.rs` decides which containers stop and start, and in which order. `execute.rs` and `ascent.rs` do it.
//! `check.rs` compares what containers really have mounted with what they should. A journal is written to the registry
//! before the first container is stopped, and deleted when all run again. After a crash or an error, `resume.rs`
//! finishes the journal.

use std::time::Duration;

use dotmesh_api::node::{ContainerProblem, SwitchProgress, Switched, Wait};
use dotmesh_model::{BranchName, CommitId, DotName};
use tokio::sync::OwnedRwLockWriteGuard;
use tokio::time::Instant;

use super::{fill, mount};
use crate::engine::{Container, Inspected};
use crate::error::NodeError;
use crate::node::Node;
use crate::registry::{Dot, SwitchJournal, ToStart};
use crate::view::Shown;

mod ascent;
pub(crate) mod check;
pub(crate) mod execute;
pub(crate) mod plan;
pub(crate) mod resume;
#[cfg(test)]
mod tests;

use check::Scope;
use execute::{Execution, Started, Stopped, Teller, Trouble, Wishes, never};
use plan::{Afterwards, Member, Plan};

/// A change of what a dot's volumes show.
pub(crate) trait Change {
    /// The volumes whose content it changes.
    fn shown(&self) -> Shown<'_> {
        Shown::Unpinned
    }
    /// Its name in errors: `switching to branch b`.
    fn describe(&self) -> String;
    /// The branch that it creates, which is deleted if the change fails.
    fn creates(&self) -> Option<&BranchName>;
    /// Whether a container must stop for it.
    fn affects(&self, dot: &DotName, container: &Container) -> bool {
        self.shown().by(dot, container)
    }
    /// Which uses must have ended before it is made.
    fn scope(&self) -> Scope<'_>;
    /// Makes the change, all or nothing.
    async fn apply(&mut self) -> Result<(), NodeError>;
    /// Rolls the change back.
    async fn undo(&mut self) -> Result<(), NodeError>;
}

/// The user's options for a switch.
pub(crate) struct Manner {
    /// Whether to wait for health checks.
    pub(crate) wait: bool,
    /// How long to wait for containers.
    pub(crate) timeout: Duration,
    pub(crate) tell: Teller,
}

impl Manner {
    /// From a request's options.
    pub(crate) fn new(wait: &Wait, tell: Teller) -> Self {
        Self {
            wait: wait.healthy,
            timeout: Duration::from_secs(wait.seconds),
            tell,
        }
    }

    fn wishes(&self, keep_going: bool) -> Wishes {
        let deadline = Instant::now().checked_add(self.timeout);
        Wishes {
            wait: self.wait,
            deadline: deadline.unwrap_or_else(never),
            keep_going,
        }
    }
}

/// What a switch did to containers, by their names.
#[derive(Debug, Default)]
pub(crate) struct Done {
    pub(crate) restarted: Vec<String>,
    pub(crate) removed: Vec<String>,
    pub(crate) replaced: Vec<String>,
    /// Those that start once their dependencies are ready.
    pub(crate) later: Vec<String>,
    pub(crate) problems: Vec<ContainerProblem>,
}

/// The response to a completed switch.
pub(crate) fn switched(branch: BranchName, head: CommitId, done: Done) -> Switched {
    Switched {
        branch,
        head,
        restarted: done.restarted,
        removed: done.removed,
        replaced: done.replaced,
        later: done.later,
        problems: done.problems,
        operation: None,
        renamed: None,
    }
}

/// Makes a change while the affected containers are stopped. The caller holds the lock of the branch, or of the dot.
pub(crate) async fn switch(
    node: &Node,
    dot: &Dot,
    change: &mut impl Change,
    manner: &Manner,
) -> Result<Done, NodeError> {
    let name = &dot.name;
    manner.tell.send_replace(SwitchProgress {
        phase: "waiting for containers that are being started".to_owned(),
        containers: Vec::new(),
    });
    let gate = close_gate(node, name, change.shown()).await?;
    // Containers that an earlier switch left stopped are started after this one.
    let pinned = change.shown().branch().cloned();
    let unfinished = node.registry.open_switch(name, pinned.as_ref()).await?;
    let unfinished = unfinished
        .map(|journal| journal.containers)
        .unwrap_or_default();
    let listed = affected(node, &unfinished).await?;
    let containers = node.docker.inspect(&listed).await?;
    let plan = plan::plan(&containers, &unfinished, |one| change.affects(name, one));
    let mut journal = SwitchJournal {
        dot: name.clone(),
        pinned,
        containers: to_start(&plan),
        created: change.creates().cloned(),
    };
    // A container that is being started does not answer an inspection. Keep it in the journal.
    let is_silent = |left: &ToStart| {
        let is = |id: &str| id == left.id;
        listed.iter().any(|one| is(&one.id)) && !plan.members.iter().any(|one| is(&one.id))
    };
    journal
        .containers
        .extend(unfinished.into_iter().filter(is_silent));
    let attempt = Attempt {
        node,
        dot,
        manner,
        plan: &plan,
        journal,
    };

    let (stopped, changed) = match attempt.stop().await {
        Ok(stopped) => {
            let changed = match refused(&stopped) {
                Some(error) => Err(error),
                None => apply(node, dot, change, &containers).await,
            };
            (stopped, changed)
        }
        Err(error) => (Stopped::default(), Err(error)),
    };
    drop(gate);
    if let Err(cause) = changed {
        return Err(attempt.back(change, &stopped, cause).await);
    }
    let wishes = manner.wishes(false);
    let started = attempt.work().start(&[], wishes).await;
    if let Some(trouble) = started.failed.first() {
        let cause = not_started(trouble);
        return Err(attempt.undo(change, cause).await);
    }
    let waiting = started.waiting.iter().map(|trouble| trouble.name.clone());
    let waiting: Vec<String> = waiting.collect();
    let mut done = finish(node, &plan, attempt.journal, started).await?;
    if !manner.wait {
        // Without --wait, report waiting containers as pending, not as problems.
        let is_waiting = |problem: &ContainerProblem| waiting.contains(&problem.container);
        done.problems.retain(|problem| !is_waiting(problem));
        done.later = waiting;
    }
    Ok(done)
}

/// Closes the gate for mounts that follow the branch that is checked out. A mount of a pinned volume waits only for the
/// moment of the change.
async fn close_gate(
    node: &Node,
    dot: &DotName,
    shown: Shown<'_>,
) -> Result<Option<OwnedRwLockWriteGuard<()>>, NodeError> {
    match shown {
        Shown::Unpinned => check::close_gate(node, dot).await.map(Some),
        Shown::Pinned(_) => Ok(None),
    }
}

/// The containers to plan for: all that run, and those that an earlier switch left stopped.
async fn affected(node: &Node, unfinished: &[ToStart]) -> Result<Vec<Container>, NodeError> {
    let mut containers = node.docker.list().await?;
    containers
        .retain(|one| one.state.is_active() || unfinished.iter().any(|left| left.id == one.id));
    Ok(containers)
}

fn to_start(plan: &Plan) -> Vec<ToStart> {
    let starts = |member: &&Member| {
        matches!(
            member.afterwards,
            Afterwards::Start | Afterwards::StartAndPause
        )
    };
    let members = plan.members.iter().filter(starts);
    members
        .map(|member| ToStart {
            id: member.id.clone(),
            name: member.name.clone(),
            pause: member.afterwards == Afterwards::StartAndPause,
            stopping_until: None,
        })
        .collect()
}

fn refused(stopped: &Stopped) -> Option<NodeError> {
    let trouble = stopped.failed.first()?;
    Some(NodeError::Docker {
        doing: format!("stopping container {}", trouble.name),
        message: trouble.reason.clone(),
    })
}

fn not_started(trouble: &Trouble) -> NodeError {
    NodeError::Docker {
        doing: format!("starting container {}", trouble.name),
        message: trouble.reason.clone(),
    }
}

/// Changes what the volumes show, once nothing uses them.
async fn apply(
    node: &Node,
    dot: &Dot,
    change: &mut impl Change,
    containers: &[Inspected],
) -> Result<(), NodeError> {
    let moving = check::unused(node, dot, change.scope()).await?;
    change.apply().await?;
    drop(moving);
    let mut uses = Vec::new();
    for one in containers {
        let of_dot = one.uses.iter().filter(|used| used.volume.dot == dot.name);
        uses.extend(of_dot.map(|used| (one.image_id.clone(), used.clone())));
    }
    match fill::fill_missing(node, &dot.name, &uses).await {
        Ok(()) => {}
        Err(error) => {
            undo_change(node, &dot.name, change).await?;
            return Err(error);
        }
    }
    refresh_places(node, &dot.name).await;
    Ok(())
}

/// Rolls a change back, once nothing uses what it made.
async fn undo_change(
    node: &Node,
    name: &DotName,
    change: &mut impl Change,
) -> Result<(), NodeError> {
    // Unpinned volumes follow the new current branch now.
    let now = node.registry.dot(name).await?;
    let mut moving = check::unused(node, &now, change.scope()).await?;
    if let Some(created) = change.creates() {
        drop(moving);
        // A container may have pinned the new branch meanwhile.
        moving = check::unused(node, &now, Scope::Branch(created)).await?;
    }
    let undone = change.undo().await;
    drop(moving);
    undone
}

/// Updates the users' mounts. An error is only logged, so that the switch does not fail for it.
async fn refresh_places(node: &Node, dot: &DotName) {
    if let Err(error) = mount::refresh(node, dot).await {
        tracing::warn!(%error, "cannot update the users' mounts, they still show the previous branch");
    }
}

/// A switch in progress, which may have to be rolled back.
struct Attempt<'a> {
    node: &'a Node,
    /// The dot before the switch.
    dot: &'a Dot,
    manner: &'a Manner,
    plan: &'a Plan,
    journal: SwitchJournal,
}

impl<'a> Attempt<'a> {
    fn work(&self) -> Execution<'a> {
        Execution {
            docker: &self.node.docker,
            timing: self.node.timing,
            plan: self.plan,
            tell: &self.manner.tell,
        }
    }

    /// Stops the containers. If the daemon dies meanwhile, the Engine still completes the stop, maybe after the
    /// daemon's next start. The journal says until when.
    async fn stop(&self) -> Result<Stopped, NodeError> {
        let mut journal = self.journal.clone();
        for container in &mut journal.containers {
            container.stopping_until = self.may_stop_until(&container.id);
        }
        self.node.registry.begin_switch(&journal).await?;
        let stopped = self.work().stop().await;
        if stopped.failed.is_empty() {
            self.node.registry.begin_switch(&self.journal).await?;
        }
        Ok(stopped)
    }

    /// When a stop requested now has ended, whatever its result.
    fn may_stop_until(&self, id: &str) -> Option<jiff::Timestamp> {
        let timing = self.node.timing;
        let member = self.plan.members.iter().find(|member| member.id == id);
        let grace = member
            .and_then(|member| member.grace)
            .unwrap_or(timing.start);
        crate::node::now().checked_add(grace + timing.call).ok()
    }

    /// Starts the containers again after nothing was changed, and returns the error.
    async fn back(
        mut self,
        change: &impl Change,
        stopped: &Stopped,
        cause: NodeError,
    ) -> NodeError {
        // A container whose stop was not answered may still stop, so the journal keeps it until then.
        let mut containers = std::mem::take(&mut self.journal.containers);
        for container in &mut containers {
            if stopped.uncertain.contains(&container.id) {
                container.stopping_until = self.may_stop_until(&container.id);
            }
        }
        self.journal.containers = containers;
        self.restart(change, cause).await
    }

    /// Rolls the change back, since a container does not start with it.
    async fn undo(self, change: &mut impl Change, cause: NodeError) -> NodeError {
        let Err(stuck) = self.take_back(change).await else {
            return self.restart(change, cause).await;
        };
        // Keep the change, so that all containers are on one branch.
        let (what, cause, stuck) = (change.describe(), Box::new(cause), Box::new(stuck));
        NodeError::SwitchBroken {
            what,
            cause: Box::new(NodeError::CannotUndo { cause, stuck }),
            problems: self.start_all().await,
        }
    }

    async fn take_back(&self, change: &mut impl Change) -> Result<(), NodeError> {
        let (node, name) = (self.node, &self.dot.name);
        let _gate = close_gate(node, name, change.shown()).await?;
        if let Some(error) = refused(&self.stop().await?) {
            return Err(error);
        }
        undo_change(node, name, change).await?;
        refresh_places(node, name).await;
        Ok(())
    }

    /// Starts the containers on the previous branch.
    async fn restart(self, change: &impl Change, cause: NodeError) -> NodeError {
        let nobody = self.plan.members.is_empty();
        let what = change.describe();
        let branch = change.shown().branch().unwrap_or(&self.dot.current).clone();
        let problems = self.start_all().await;
        if nobody && problems.is_empty() {
            return cause;
        }
        let cause = Box::new(cause);
        if problems.is_empty() {
            NodeError::SwitchUndone {
                what,
                branch,
                cause,
            }
        } else {
            NodeError::SwitchBroken {
                what,
                cause,
                problems,
            }
        }
    }

    /// Starts all containers that can be started. Returns the others, which the daemon keeps trying to start.
    async fn start_all(self) -> Vec<ContainerProblem> {
        // The error must report the final state, so wait in any case.
        let wishes = Wishes {
            wait: true,
            ..self.manner.wishes(true)
        };
        let started = self.work().start(&[], wishes).await;
        let journal = SwitchJournal {
            created: None,
            ..self.journal
        };
        match finish(self.node, self.plan, journal, started).await {
            Ok(done) => {
                let problems = done.problems.into_iter();
                problems.filter(|problem| problem.retrying).collect()
            }
            Err(error) => {
                tracing::warn!(%error, "cannot finish a switch, the daemon tries again");
                Vec::new()
            }
        }
    }
}

/// Verifies the containers, then deletes the journal or leaves in it what is still to do.
async fn finish(
    node: &Node,
    plan: &Plan,
    mut journal: SwitchJournal,
    started: Started,
) -> Result<Done, NodeError> {
    let mut unfinished: Vec<Trouble> = started
        .failed
        .iter()
        .chain(&started.waiting)
        .cloned()
        .collect();
    let mut others = started.ailing.clone();
    for wrong in look_again(node, plan).await {
        let trouble = Trouble {
            id: wrong.container.id.clone(),
            name: wrong.container.name.clone(),
            reason: wrong.reason.clone(),
        };
        // Swarm starts its tasks itself.
        if wrong.other_copy && !wrong.container.is_swarm_task() {
            unfinished.push(trouble);
        } else {
            others.push(trouble);
        }
    }
    for left in &journal.containers {
        if !plan.members.iter().any(|member| member.id == left.id) {
            unfinished.push(Trouble {
                id: left.id.clone(),
                name: left.name.clone(),
                reason: "it is being started".to_owned(),
            });
        }
    }
    journal.containers.retain(|container| {
        container.stopping_until.is_some() || unfinished.iter().any(|left| left.id == container.id)
    });
    let pinned = journal.pinned.clone();
    node.problems
        .replace(&journal.dot, pinned.as_ref(), &unfinished);
    if journal.containers.is_empty() {
        let registry = &node.registry;
        registry.end_switch(&journal.dot, pinned.as_ref()).await?;
    } else {
        // The change itself is done, only containers are left.
        journal.created = None;
        node.registry.begin_switch(&journal).await?;
        node.wake.notify_one();
    }
    let problem = |retrying: bool| {
        move |trouble: Trouble| ContainerProblem {
            container: trouble.name,
            problem: trouble.reason,
            retrying,
        }
    };
    let mut problems: Vec<ContainerProblem> = unfinished.into_iter().map(problem(true)).collect();
    problems.extend(others.into_iter().map(problem(false)));
    let mut done = Done {
        restarted: started.running,
        removed: started.removed,
        replaced: started.replaced,
        later: Vec::new(),
        problems,
    };
    for names in [&mut done.restarted, &mut done.removed, &mut done.replaced] {
        names.sort();
    }
    Ok(done)
}

/// The plan's containers that show a wrong folder. If they cannot be inspected now, the daemon checks them later.
async fn look_again(node: &Node, plan: &Plan) -> Vec<check::Wrong> {
    let members: Vec<Container> = match node.docker.list().await {
        Ok(list) => {
            let of_plan = |one: &Container| plan.members.iter().any(|member| member.id == one.id);
            list.into_iter().filter(of_plan).collect()
        }
        Err(_) => return Vec::new(),
    };
    let Ok(inspected) = node.docker.inspect(&members).await else {
        return Vec::new();
    };
    check::wrong(node, &inspected)
        .await
        .unwrap_or_else(|error| {
            tracing::warn!(%error, "cannot read what containers have mounted");
            Vec::new()
        })
}

/// The problems as one text.
pub(crate) fn listed(problems: &[ContainerProblem]) -> String {
    let texts = problems
        .iter()
        .map(|problem| format!("{}: {}", problem.container, problem.problem));
    texts.collect::<Vec<_>>().join("; ")
}

/// The unfinished switches: each dot, and the branch to which the containers are pinned, if they are.
pub(crate) async fn unfinished(
    node: &Node,
) -> Result<Vec<(DotName, Option<BranchName>)>, NodeError> {
    let open = node.registry.open_switches().await?.into_iter();
    Ok(open.map(|journal| (journal.dot, journal.pinned)).collect())
}
