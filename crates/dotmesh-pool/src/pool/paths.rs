//! Paths of single files and folders of a dot, and their place in a state that nothing changes.

use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use dotmesh_model::{BranchName, DotName, SubdotName};
use serde::{Deserialize, Serialize};

use super::inner::{Inner, temporary};
use super::{Pool, blocking};
use crate::driver::Mode;
use crate::error::PoolError;
use crate::layout::DATA;

/// A path in a dot: `SUBDOT/PATH`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PathInDot {
    subdot: SubdotName,
    below: PathBuf,
}

impl PathInDot {
    /// Parses a path. `None` if it has no valid subdot, or contains `..` or another special component.
    pub fn parse(text: &str) -> Option<Self> {
        let (subdot, below) = text.split_once('/').unwrap_or((text, ""));
        let names = Path::new(below).components();
        let is_plain = names
            .clone()
            .all(|name| matches!(name, Component::Normal(_)));
        is_plain.then_some(())?;
        Some(Self {
            subdot: subdot.parse().ok()?,
            below: names.collect(),
        })
    }

    /// The subdot that contains it.
    pub fn subdot(&self) -> &SubdotName {
        &self.subdot
    }

    /// Whether `other` is this path, or below it.
    pub fn has(&self, other: &Self) -> bool {
        other.path().starts_with(self.path())
    }

    pub(super) fn path(&self) -> PathBuf {
        let subdot = PathBuf::from(self.subdot.as_str());
        match self.below.as_os_str().is_empty() {
            true => subdot,
            false => subdot.join(&self.below),
        }
    }
}

impl TryFrom<String> for PathInDot {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text).ok_or_else(|| format!("'{text}' is no path in a dot"))
    }
}

impl From<PathInDot> for String {
    fn from(path: PathInDot) -> Self {
        path.to_string()
    }
}

impl std::fmt::Display for PathInDot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.path().display())
    }
}

/// A snapshot of a working copy. Dropping it deletes it.
pub struct Peek {
    inner: Arc<Inner>,
    folder: PathBuf,
}

impl Peek {
    /// The folder of its data.
    pub fn data(&self) -> PathBuf {
        self.folder.join(DATA)
    }
}

impl Drop for Peek {
    fn drop(&mut self) {
        self.inner.throw_away(&self.folder);
    }
}

impl Pool {
    /// Takes a temporary snapshot of a branch's working copy.
    pub async fn peek(&self, dot: &DotName, branch: &BranchName) -> Result<Peek, PoolError> {
        let (dot, branch, inner) = (dot.clone(), branch.clone(), Arc::clone(&self.inner));
        blocking(move || {
            let folder = temporary(&inner.layout.staging());
            let working = inner.layout.branch(&dot, &branch);
            inner.driver.snapshot(&working, &folder, Mode::Frozen)?;
            Ok(Peek { inner, folder })
        })
        .await
    }

    /// Finds a path in read-only data. `None` if it does not exist, or leads through a symlink.
    pub async fn find_in(&self, data: PathBuf, path: &PathInDot) -> Option<PathBuf> {
        let path = path.clone();
        let found = self.run(move |_| Ok(find(&data, &path))).await;
        found.ok().flatten()
    }
}

/// Finds a path in data that nothing changes.
pub(super) fn find(data: &Path, path: &PathInDot) -> Option<PathBuf> {
    let mut at = data.to_owned();
    let whole = path.path();
    let mut names = whole.components().peekable();
    while let Some(name) = names.next() {
        at.push(name);
        let found = std::fs::symlink_metadata(&at).ok()?;
        let is_on_the_way = names.peek().is_some() || path.below.as_os_str().is_empty();
        if is_on_the_way && !found.is_dir() {
            return None;
        }
    }
    Some(at)
}
