//! Decides which containers a switch affects, and in which order they stop and start.
//!
//! Compose 2 and later stores a service's dependencies in a label. Compose 1 does not, but it creates containers in the
//! order of their dependencies. So without the label, the order of creation within a project counts. Links,
//! `volumes_from` and shared namespaces are dependencies in any case.

use std::collections::HashMap;
use std::time::Duration;

use crate::engine::Inspected;
use crate::registry::ToStart;

/// The label with a container's Compose project.
pub(super) const PROJECT: &str = "com.docker.compose.project";
const SERVICE: &str = "com.docker.compose.service";
const DEPENDS_ON: &str = "com.docker.compose.depends_on";

/// When a dependency is ready, in Compose's terms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Condition {
    Started,
    Healthy,
    CompletedSuccessfully,
}

/// What happens to a container after it has stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Afterwards {
    Start,
    StartAndPause,
    /// Docker Swarm starts a new task in its place.
    ReplacedBySwarm,
    /// Docker removes it, since it was started with `--rm`.
    Removed,
    /// It is in the plan only as a dependency of others.
    Leave,
}

/// One container of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) afterwards: Afterwards,
    /// How long it may take to stop. `None` means no limit.
    pub(crate) grace: Option<Duration>,
    pub(crate) has_health_check: bool,
    /// Its dependencies, as indices into [`Plan::members`], all less than its own. It starts after they are ready, and
    /// stops before them.
    pub(crate) after: Vec<(usize, Condition)>,
}

/// Containers to stop and start, dependencies first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) members: Vec<Member>,
}

/// Plans a switch. The plan has the affected containers, those that must restart with them, and those that an earlier
/// switch left stopped. `containers` are all running ones, and those of `unfinished`.
pub(crate) fn plan(
    containers: &[Inspected],
    unfinished: &[ToStart],
    is_affected: impl Fn(&Inspected) -> bool,
) -> Plan {
    let left = |one: &Inspected| unfinished.iter().any(|left| left.id == one.id);
    let mut chosen: Vec<bool> = containers
        .iter()
        .map(|one| left(one) || one.state.is_active() && is_affected(one))
        .collect();
    // A container that shares a namespace with a stopped one loses it, and so on.
    loop {
        let more: Vec<usize> = (0..containers.len())
            .filter(|&at| !chosen[at] && containers[at].state.is_active())
            .filter(|&at| {
                let others = containers.iter().zip(&chosen);
                let mut restarted = others.filter(|(_, chosen)| **chosen);
                restarted.any(|(other, _)| restarts_with(&containers[at], other))
            })
            .collect();
        if more.is_empty() {
            break;
        }
        for at in more {
            chosen[at] = true;
        }
    }
    let members = containers.iter().zip(chosen);
    let members = members.filter_map(|(one, chosen)| chosen.then_some(one));
    ordered(&members.collect::<Vec<_>>(), unfinished)
}

/// Plans the start of containers. Their dependencies are in the plan too, but left as they are.
pub(crate) fn plan_start(containers: &[Inspected], shall_run: &[ToStart]) -> Plan {
    let starts = |id: &str| shall_run.iter().any(|start| start.id == id);
    let needs = |one: &Inspected, other: &Inspected| {
        one.id != other.id
            && match depends_on(one, other) {
                // A job that has ended is a dependency by its exit code.
                Some(Condition::CompletedSuccessfully) => true,
                Some(_) => other.state.is_active(),
                None => false,
            }
    };
    let is_needed = |other: &Inspected| {
        let mut starting = containers.iter().filter(|one| starts(&one.id));
        starting.any(|one| needs(one, other))
    };
    let members = containers.iter();
    let members = members.filter(|one| starts(&one.id) || is_needed(one));
    let mut plan = ordered(&members.collect::<Vec<_>>(), shall_run);
    for member in &mut plan.members {
        if !starts(&member.id) {
            member.afterwards = Afterwards::Leave;
            member.after.clear();
        }
    }
    plan
}

/// Sorts containers, dependencies first. In a cycle, which has no valid order, one dependency is dropped.
fn ordered(containers: &[&Inspected], unfinished: &[ToStart]) -> Plan {
    let depends = |one: usize| -> HashMap<usize, Condition> {
        (0..containers.len())
            .filter(|other| *other != one)
            .filter_map(|other| Some((other, depends_on(containers[one], containers[other])?)))
            .collect()
    };
    let mut waiting: Vec<(usize, HashMap<usize, Condition>)> = (0..containers.len())
        .map(|one| (one, depends(one)))
        .collect();
    let mut places: HashMap<usize, usize> = HashMap::new();
    let mut plan = Plan::default();
    while !waiting.is_empty() {
        let is_ready =
            |needs: &HashMap<usize, Condition>| needs.keys().all(|need| places.contains_key(need));
        let ready = waiting.iter().position(|(_, needs)| is_ready(needs));
        let (one, needs) = waiting.remove(ready.unwrap_or(0));
        let mut after: Vec<(usize, Condition)> = needs
            .into_iter()
            .filter_map(|(need, condition)| Some((*places.get(&need)?, condition)))
            .collect();
        after.sort_unstable();
        places.insert(one, plan.members.len());
        plan.members
            .push(member(containers[one], after, unfinished));
    }
    plan
}

fn member(one: &Inspected, after: Vec<(usize, Condition)>, unfinished: &[ToStart]) -> Member {
    let paused_before = unfinished
        .iter()
        .any(|left| left.id == one.id && left.pause);
    let afterwards = if one.is_swarm_task() {
        Afterwards::ReplacedBySwarm
    } else if one.removed_when_stopped {
        Afterwards::Removed
    } else if paused_before || one.state == crate::engine::State::Paused {
        Afterwards::StartAndPause
    } else {
        Afterwards::Start
    };
    Member {
        id: one.id.clone(),
        name: one.name.clone(),
        afterwards,
        grace: one.grace,
        has_health_check: one.health.is_some(),
        after,
    }
}

/// Whether a container must restart when another one does.
fn restarts_with(one: &Inspected, other: &Inspected) -> bool {
    one.id != other.id
        && (shares_namespace(one, other)
            || compose_dependency(one, other).is_some_and(|dependency| dependency.restart))
}

fn shares_namespace(one: &Inspected, other: &Inspected) -> bool {
    let mut targets = one
        .namespaces
        .iter()
        .filter_map(|mode| mode.strip_prefix("container:"));
    targets.any(|target| is_called(other, target))
}

fn is_called(container: &Inspected, target: &str) -> bool {
    let target = target.trim_start_matches('/');
    target == container.name || (target.len() >= 12 && container.id.starts_with(target))
}

fn depends_on(one: &Inspected, other: &Inspected) -> Option<Condition> {
    if let Some(dependency) = compose_dependency(one, other) {
        return Some(dependency.condition);
    }
    let named = |text: &String| is_called(other, text.split(':').next().unwrap_or_default());
    let by_name = one.links.iter().any(named)
        || one.volumes_from.iter().any(named)
        || shares_namespace(one, other);
    (by_name || is_younger_in_project(one, other)).then_some(Condition::Started)
}

struct Dependency {
    condition: Condition,
    restart: bool,
}

fn in_one_project(one: &Inspected, other: &Inspected) -> bool {
    one.label(PROJECT).is_some() && one.label(PROJECT) == other.label(PROJECT)
}

/// The dependency in Compose's label, for example `db:service_healthy:true,cache:service_started:false`.
fn compose_dependency(one: &Inspected, other: &Inspected) -> Option<Dependency> {
    if !in_one_project(one, other) {
        return None;
    }
    let service = other.label(SERVICE)?;
    one.label(DEPENDS_ON)?.split(',').find_map(|text| {
        let mut words = text.split(':');
        (words.next()? == service).then(|| Dependency {
            condition: match words.next() {
                Some("service_healthy") => Condition::Healthy,
                Some("service_completed_successfully") => Condition::CompletedSuccessfully,
                _ => Condition::Started,
            },
            restart: words.next() == Some("true"),
        })
    })
}

fn is_younger_in_project(one: &Inspected, other: &Inspected) -> bool {
    in_one_project(one, other) && one.label(DEPENDS_ON).is_none() && other.created < one.created
}

#[cfg(test)]
mod tests;
