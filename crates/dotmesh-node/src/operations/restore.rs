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
use super::undo::Made;
use super::{require_here, undo};
use crate::engine::{self, Container};
use crate::error::NodeError;
use crate::node::Node;
use crate::view::{At, Shown, View};

/// Restores all paths or none. The branch's head stays.
pub(crate) async fn restore(
    node: &Node,
    at: impl Into<At>,
    request: RestorePaths,
    tell: Teller,
) -> Result<Switched, NodeError> {
    let paths = parse(&request.paths)?;
    let (_held, view) = node.hold(&at.into(), "restored").await?;
    let name = &view.name;
    refuse_changed(&view, request.expected.as_ref())?;
    let commit = Revisions::of(node, &view)
        .await?
        .find_text(&request.revision)?;
    require_here(node, &view, commit).await?;
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
    refuse_pinned(node, &view, &subdots).await?;
    let (branch, head) = (view.here.clone(), view.head()?);
    let mut change = PutBack {
        node,
        view: &view,
        subdots,
        commit,
        paths,
        made: None,
    };
    let manner = Manner::new(&request.wait, tell);
    let done = switch::switch(node, &view, &mut change, &manner).await?;
    Ok(switched(branch, head, done))
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

/// Fails if the branch is checked out, and a running container pins it and has one of the subdots: a restore does not
/// restart it.
pub(crate) async fn refuse_pinned(
    node: &Node,
    dot: &View,
    subdots: &BTreeSet<SubdotName>,
) -> Result<(), NodeError> {
    if !dot.is_current() {
        return Ok(());
    }
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

/// Whether a volume of a container that shows the branch shows one of the subdots.
pub(crate) fn shows_any(
    container: &Container,
    dot: &DotName,
    shown: Shown<'_>,
    subdots: &BTreeSet<SubdotName>,
) -> bool {
    container.uses.iter().any(|used| {
        let volume = &used.volume;
        volume.dot == *dot
            && volume.pinned.as_ref() == shown.branch()
            && shows(&volume.folder, subdots)
    })
}

struct PutBack<'a> {
    node: &'a Node,
    view: &'a View,
    subdots: BTreeSet<SubdotName>,
    commit: CommitId,
    paths: Vec<PathInDot>,
    /// The operation in the dot's log.
    made: Option<Made>,
}

impl Change for PutBack<'_> {
    fn shown(&self) -> Shown<'_> {
        self.view.shown()
    }

    fn describe(&self) -> String {
        format!("restoring files of branch {}", self.view.here)
    }

    fn creates(&self) -> Option<&BranchName> {
        None
    }

    fn affects(&self, dot: &DotName, container: &Container) -> bool {
        shows_any(container, dot, self.shown(), &self.subdots)
    }

    fn scope(&self) -> Scope<'_> {
        Scope::Subdots(&self.view.here, &self.subdots)
    }

    async fn apply(&mut self) -> Result<(), NodeError> {
        let branch = self.view.here.clone();
        let paths: Vec<String> = self.paths.iter().map(PathInDot::to_string).collect();
        let (paths, from) = (paths.join(", "), self.commit.short());
        let what = format!("restore of {paths} on branch {branch} from {from}");
        let steps = vec![NewStep::Restore {
            branch,
            commit: self.commit,
            paths: self.paths.clone(),
        }];
        self.made = Some(undo::make(self.node, self.view, what, steps, None).await?);
        Ok(())
    }

    async fn undo(&mut self) -> Result<(), NodeError> {
        match self.made.take() {
            Some(made) => undo::retract(self.node, self.view, made).await,
            None => Ok(()),
        }
    }
}
