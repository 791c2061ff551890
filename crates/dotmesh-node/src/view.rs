//! The branch that a request is about: the one that is checked out, or another one, such as a fork's.

use std::ops::{Deref, DerefMut};

use dotmesh_model::{BranchName, CommitId, DotName};

use crate::engine::Container;
use crate::error::NodeError;
use crate::locks::Held;
use crate::node::Node;
use crate::registry::Dot;

/// A dot and the branch that a request is about.
#[derive(Debug, Clone)]
pub(crate) struct At {
    pub(crate) dot: DotName,
    /// `None` means the branch that is checked out.
    pub(crate) branch: Option<BranchName>,
}

impl From<&DotName> for At {
    fn from(dot: &DotName) -> Self {
        let (dot, branch) = (dot.clone(), None);
        Self { dot, branch }
    }
}

/// The volumes through which containers see a branch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shown<'a> {
    /// Those that follow the branch that is checked out.
    Unpinned,
    /// Those that are pinned to this branch, which is not checked out.
    Pinned(&'a BranchName),
}

impl<'a> Shown<'a> {
    /// Whether the container has such a volume of the dot.
    pub(crate) fn by(self, dot: &DotName, container: &Container) -> bool {
        let mut volumes = container.uses.iter().map(|used| &used.volume);
        volumes.any(|volume| volume.dot == *dot && volume.pinned.as_ref() == self.branch())
    }

    /// The pinned branch.
    pub(crate) fn branch(self) -> Option<&'a BranchName> {
        match self {
            Self::Unpinned => None,
            Self::Pinned(branch) => Some(branch),
        }
    }
}

/// A dot, and the branch that a request is about.
#[derive(Debug, Clone)]
pub(crate) struct View {
    pub(crate) dot: Dot,
    pub(crate) here: BranchName,
}

impl View {
    /// The dot, seen from the branch that is checked out or from another one.
    pub(crate) fn new(dot: Dot, branch: Option<BranchName>) -> Result<Self, NodeError> {
        let here = branch.unwrap_or_else(|| dot.current.clone());
        dot.branch(&here)?;
        Ok(Self { dot, here })
    }

    /// The head of the branch.
    pub(crate) fn head(&self) -> Result<CommitId, NodeError> {
        Ok(self.dot.branch(&self.here)?.head)
    }

    /// Whether the branch is checked out.
    pub(crate) fn is_current(&self) -> bool {
        self.here == self.dot.current
    }

    /// How containers see the branch.
    pub(crate) fn shown(&self) -> Shown<'_> {
        match self.is_current() {
            true => Shown::Unpinned,
            false => Shown::Pinned(&self.here),
        }
    }
}

impl Deref for View {
    type Target = Dot;
    fn deref(&self) -> &Dot {
        &self.dot
    }
}

impl DerefMut for View {
    fn deref_mut(&mut self) -> &mut Dot {
        &mut self.dot
    }
}

impl Node {
    /// The dot as a request sees it. Takes no lock.
    pub(crate) async fn view(&self, at: &At) -> Result<View, NodeError> {
        View::new(self.registry.dot(&at.dot).await?, at.branch.clone())
    }

    /// Like `view`, once no switch of the branch that is checked out is under way, if the request is about that one.
    pub(crate) async fn settled_view(&self, at: &At) -> Result<View, NodeError> {
        match at.branch {
            None => View::new(self.settled(&at.dot).await?, None),
            Some(_) => self.view(at).await,
        }
    }

    /// Waits until nothing else changes the branch, and returns the dot as the request sees it then.
    pub(crate) async fn hold(&self, at: &At, doing: &str) -> Result<(Held, View), NodeError> {
        loop {
            let here = self.view(at).await?.here;
            let held = self.locks.on_branch(&at.dot, &here, doing).await;
            let view = self.view(at).await?;
            // Another branch may have been checked out meanwhile.
            if view.here == here {
                return Ok((held, view));
            }
        }
    }

    /// Changes the head of a branch in the registry's entry of the dot.
    pub(crate) async fn move_head(
        &self,
        dot: &Dot,
        branch: &BranchName,
        head: CommitId,
    ) -> Result<(), NodeError> {
        self.registry.set_head(&dot.id, branch, head).await
    }
}
