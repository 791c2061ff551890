//! What checkout and reset share: stop the containers that follow the current branch, change what they see, start them
//! again, and look whether they see it.
//!
//! `plan.rs` decides who stops and starts in which order, `execute.rs` and `ascent.rs` do it, `check.rs` compares what containers
//! really have mounted. The journal in the registry is written before the first container is stopped, and crossed out when all run
//! again: what a crash or an error left is finished by `resume.rs`.

use std::time::Duration;

use dotmesh_api::node::{ContainerProblem, SwitchProgress, Switched, Wait};
use dotmesh_model::{BranchName, CommitId, DotName};
use tokio::time::Instant;

use super::{fill, mount};
use crate::engine::{Container, Inspected};
use crate::error::NodeError;
use crate::node::Node;
use crate::registry::{Dot, SwitchJournal, ToStart};

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

/// A change of what a dot's unpinned volumes show.
pub(crate) trait Change {
    /// What it is called in errors: `switching to branch b`.
    fn describe(&self) -> String;
    /// A branch that it makes, to be deleted again should it not come to be.
    fn creates(&self) -> Option<&BranchName>;
    /// Whether a container has to stop for it.
    fn affects(&self, dot: &DotName, container: &Container) -> bool {
        container.uses_unpinned(dot)
    }
    /// Which uses are in its way once the containers have stopped.
    fn scope(&self) -> Scope<'_>;
    /// Makes the change, all of it or nothing.
    async fn apply(&mut self) -> Result<(), NodeError>;
    /// Takes the change back.
    async fn undo(&mut self) -> Result<(), NodeError>;
}

/// How a user wants a switch.
pub(crate) struct Manner {
    /// Wait for health checks.
    pub(crate) wait: bool,
    /// How long to wait for containers to run as they should.
    pub(crate) timeout: Duration,
    pub(crate) tell: Teller,
}

impl Manner {
    /// As a request says it.
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

/// What a switch did to the containers, by their names.
#[derive(Debug, Default)]
pub(crate) struct Done {
    pub(crate) restarted: Vec<String>,
    pub(crate) removed: Vec<String>,
    pub(crate) replaced: Vec<String>,
    /// Those that are started once what they wait for is there.
    pub(crate) later: Vec<String>,
    pub(crate) problems: Vec<ContainerProblem>,
}

/// What is told of a switch that was made.
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
    }
}

/// Makes a change while no container looks. The caller holds the dot's operation lock.
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
    let gate = check::close_gate(node, name).await?;
    // What an earlier switch has stopped shall run again after this one.
    let unfinished = node.registry.open_switch(name).await?;
    let unfinished = unfinished
        .map(|journal| journal.containers)
        .unwrap_or_default();
    let listed = affected(node, &unfinished).await?;
    let containers = node.docker.inspect(&listed).await?;
    let plan = plan::plan(&containers, &unfinished, |one| change.affects(name, one));
    let mut journal = SwitchJournal {
        dot: name.clone(),
        containers: to_start(&plan),
        created: change.creates().cloned(),
    };
    // One that is just being started does not answer, and is not forgotten for that.
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
        // Who did not want to wait is told who is still to come.
        let is_waiting = |problem: &ContainerProblem| waiting.contains(&problem.container);
        done.problems.retain(|problem| !is_waiting(problem));
        done.later = waiting;
    }
    Ok(done)
}

/// The containers that a plan is made of: all that run, and those that an earlier switch has left stopped.
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

/// Changes what the volumes show, once nobody looks.
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

/// Takes a change back, once nobody uses what goes away with it.
async fn undo_change(
    node: &Node,
    name: &DotName,
    change: &mut impl Change,
) -> Result<(), NodeError> {
    // What follows the current branch follows the new one now.
    let now = node.registry.dot(name).await?;
    let mut moving = check::unused(node, &now, change.scope()).await?;
    if let Some(created) = change.creates() {
        drop(moving);
        // Somebody may have pinned it meanwhile.
        moving = check::unused(node, &now, Scope::Branch(created)).await?;
    }
    let undone = change.undo().await;
    drop(moving);
    undone
}

/// The places of users are no reason to fail: each says by itself what it shows.
async fn refresh_places(node: &Node, dot: &DotName) {
    if let Err(error) = mount::refresh(node, dot).await {
        tracing::warn!(%error, "what users have mounted is of the branch before");
    }
}

/// A switch under way, which may have to go back.
struct Attempt<'a> {
    node: &'a Node,
    /// As it was before.
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

    /// Stops the containers. If the daemon dies meanwhile, the Engine goes on: one that runs at the daemon's next start may stop
    /// after that. The journal says until when.
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

    /// When a stop that was asked for now is over, whatever becomes of it.
    fn may_stop_until(&self, id: &str) -> Option<jiff::Timestamp> {
        let timing = self.node.timing;
        let member = self.plan.members.iter().find(|member| member.id == id);
        let grace = member
            .and_then(|member| member.grace)
            .unwrap_or(timing.start);
        jiff::Timestamp::now().checked_add(grace + timing.call).ok()
    }

    /// Nothing was changed: starts the containers where they were, and says what went wrong.
    async fn back(
        mut self,
        change: &impl Change,
        stopped: &Stopped,
        cause: NodeError,
    ) -> NodeError {
        // One whose stop was not answered may still stop: it is looked after until then.
        let mut containers = std::mem::take(&mut self.journal.containers);
        for container in &mut containers {
            if stopped.uncertain.contains(&container.id) {
                container.stopping_until = self.may_stop_until(&container.id);
            }
        }
        self.journal.containers = containers;
        self.restart(change, cause).await
    }

    /// The change was made and a container does not start: takes it back.
    async fn undo(self, change: &mut impl Change, cause: NodeError) -> NodeError {
        let Err(stuck) = self.take_back(change).await else {
            return self.restart(change, cause).await;
        };
        // The change stays, so that all containers are on one branch.
        let (what, cause, stuck) = (change.describe(), Box::new(cause), Box::new(stuck));
        NodeError::SwitchBroken {
            what,
            cause: Box::new(NodeError::CannotUndo { cause, stuck }),
            problems: self.start_all().await,
        }
    }

    async fn take_back(&self, change: &mut impl Change) -> Result<(), NodeError> {
        let (node, name) = (self.node, &self.dot.name);
        let _gate = check::close_gate(node, name).await?;
        if let Some(error) = refused(&self.stop().await?) {
            return Err(error);
        }
        undo_change(node, name, change).await?;
        refresh_places(node, name).await;
        Ok(())
    }

    /// Starts the containers on the branch that they were on.
    async fn restart(self, change: &impl Change, cause: NodeError) -> NodeError {
        let nobody = self.plan.members.is_empty();
        let (what, branch) = (change.describe(), self.dot.current.clone());
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

    /// Starts all that can be started. Returns what could not; the daemon goes on with that.
    async fn start_all(self) -> Vec<ContainerProblem> {
        // What is told of the failure has to be what stays, so this is waited for in any case.
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
                tracing::warn!(%error, "the journal of a switch stays open; the daemon goes on with it");
                Vec::new()
            }
        }
    }
}

/// Looks whether all is as it should be, and closes the journal or leaves in it what is left to do.
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
        // Swarm's are Swarm's to start.
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
    node.problems.replace(&journal.dot, &unfinished);
    if journal.containers.is_empty() {
        node.registry.end_switch(&journal.dot).await?;
    } else {
        // Who made the change is done with it: only the containers are left.
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

/// What of a plan runs on another folder than it should. One that cannot be looked at now is looked at later.
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
            tracing::warn!(%error, "what containers have mounted cannot be read");
            Vec::new()
        })
}

/// Containers that did not come up, as one text.
pub(crate) fn listed(problems: &[ContainerProblem]) -> String {
    let texts = problems
        .iter()
        .map(|problem| format!("{}: {}", problem.container, problem.problem));
    texts.collect::<Vec<_>>().join("; ")
}

/// The dots whose switches are not finished.
pub(crate) async fn unfinished(node: &Node) -> Result<Vec<DotName>, NodeError> {
    let open = node.registry.open_switches().await?;
    Ok(open.into_iter().map(|journal| journal.dot).collect())
}
