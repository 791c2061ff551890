//! `dm restore`: restores files and folders of a commit. Only the containers of their subdots are restarted.

use std::collections::BTreeSet;

use dotmesh_api::node::{RestorePaths, Switched};
use dotmesh_model::{BranchName, CommitId, DotName, SubdotName};
use dotmesh_pool::{NewStep, PathInDot};

use super::reset::refuse_changed;
use super::revision::Revisions;
use super::switch::check::{Scope, shows};
use super::switch::execute::Teller;
use super::switch::{self, Change, Manner, switched};
use super::{require_here, undo};
use crate::engine::{self, Container};
use crate::error::NodeError;
use crate::node::Node;
use crate::registry::Dot;

/// Restores all paths or none. The branch's head stays.
pub(crate) async fn restore(
    node: &Node,
    name: &DotName,
    request: RestorePaths,
    tell: Teller,
) -> Result<Switched, NodeError> {
    let paths = parse(&request.paths)?;
    let _lock = node.locks.operation(name, "restored").await;
    let dot = node.registry.dot(name).await?;
    refuse_changed(&dot, request.expected.as_ref())?;
    let commit = Revisions::of(node, &dot)
        .await?
        .find_text(&request.revision)?;
    require_here(node, &dot, commit).await?;
    for path in &paths {
        let data = node.pool.commit_data(name, commit);
        if node.pool.find_in(data, path).await.is_none() {
            return Err(NodeError::NoPath {
                path: path.to_string(),
                state: format!("commit {}", commit.short()),
            });
        }
    }
    let subdots = paths.iter().map(|path| path.subdot().clone()).collect();
    refuse_pinned(node, &dot, &subdots).await?;
    let (branch, head) = (dot.current.clone(), dot.current()?.head);
    let mut change = PutBack {
        node,
        dot: &dot,
        subdots,
        commit,
        paths,
        operation: None,
    };
    let manner = Manner::new(&request.wait, tell);
    let done = switch::switch(node, &dot, &mut change, &manner).await;
    undo::settle(node, name).await;
    Ok(switched(branch, head, done?))
}

/// Parses the paths, and drops those that are inside others.
fn parse(paths: &[String]) -> Result<Vec<PathInDot>, NodeError> {
    let parsed = paths.iter().map(|path| {
        PathInDot::parse(path).ok_or_else(|| NodeError::BadPath { path: path.clone() })
    });
    let parsed = parsed.collect::<Result<BTreeSet<PathInDot>, _>>()?;
    let mut kept: Vec<PathInDot> = Vec::new();
    for path in parsed {
        if !kept.last().is_some_and(|last| last.has(&path)) {
            kept.push(path);
        }
    }
    Ok(kept)
}

/// Fails if a running container pins the branch and has one of the subdots: a restore does not restart it.
pub(crate) async fn refuse_pinned(
    node: &Node,
    dot: &Dot,
    subdots: &BTreeSet<SubdotName>,
) -> Result<(), NodeError> {
    let running = node.docker.active().await?;
    let pinned = running.iter().filter(|one| {
        let mut volumes = one.uses.iter().map(|used| &used.volume);
        volumes.any(|volume| {
            volume.dot == dot.name
                && volume.pinned.as_ref() == Some(&dot.current)
                && shows(&volume.folder, subdots)
        })
    });
    let containers = engine::names(pinned);
    if containers.is_empty() {
        return Ok(());
    }
    let what = format!("branch {} of {} as a pinned volume", dot.current, dot.name);
    Err(NodeError::InUse { what, containers })
}

/// Whether an unpinned volume of a container shows one of the subdots.
pub(crate) fn shows_any(
    container: &Container,
    dot: &DotName,
    subdots: &BTreeSet<SubdotName>,
) -> bool {
    container.uses.iter().any(|used| {
        let volume = &used.volume;
        volume.dot == *dot && volume.pinned.is_none() && shows(&volume.folder, subdots)
    })
}

struct PutBack<'a> {
    node: &'a Node,
    dot: &'a Dot,
    subdots: BTreeSet<SubdotName>,
    commit: CommitId,
    paths: Vec<PathInDot>,
    /// The operation's number in the dot's log, once it is logged.
    operation: Option<u64>,
}

impl Change for PutBack<'_> {
    fn describe(&self) -> String {
        format!("restoring files of branch {}", self.dot.current)
    }

    fn creates(&self) -> Option<&BranchName> {
        None
    }

    fn affects(&self, dot: &DotName, container: &Container) -> bool {
        shows_any(container, dot, &self.subdots)
    }

    fn scope(&self) -> Scope<'_> {
        Scope::Subdots(&self.dot.current, &self.subdots)
    }

    async fn apply(&mut self) -> Result<(), NodeError> {
        let (pool, Dot { name, current, .. }) = (&self.node.pool, self.dot);
        let paths: Vec<String> = self.paths.iter().map(PathInDot::to_string).collect();
        let (paths, from) = (paths.join(", "), self.commit.short());
        let what = format!("restore of {paths} on branch {current} from {from}");
        let steps = vec![NewStep::Restore {
            branch: current.clone(),
            commit: self.commit,
            paths: self.paths.clone(),
        }];
        let number = pool.begin_operation(name, what, steps).await?;
        self.operation = Some(number);
        Ok(pool.carry_out(name, number).await?)
    }

    async fn undo(&mut self) -> Result<(), NodeError> {
        if let Some(number) = self.operation.take() {
            let pool = &self.node.pool;
            pool.roll_back(&self.dot.name, number).await?;
        }
        Ok(())
    }
}
