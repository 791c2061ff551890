//! The names of a commit: `HEAD`, `HEAD^`, `HEAD~2`, a branch, an id or a unique prefix of one.

use std::collections::BTreeMap;
use std::str::FromStr;

use crate::history::History;
use crate::ids::{CommitId, CommitPrefix};
use crate::names::BranchName;

/// The shortest prefix of a commit id that can name a commit.
const MIN_PREFIX: usize = CommitPrefix::MIN_LENGTH;

/// A revision that was parsed, but not yet resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revision {
    base: String,
    up: usize,
}

/// Why a revision names no commit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RevisionError {
    /// It has no known form.
    #[error("'{text}' does not name a commit: use HEAD, HEAD^, HEAD~2, a branch or a commit id")]
    Malformed { text: String },
    /// No branch or commit has that name.
    #[error("No commits match {text}")]
    Unknown { text: String },
    /// Several commit ids start with it.
    #[error("{count} commits start with {text}: give more of the id")]
    Ambiguous { text: String, count: usize },
    /// It goes back further than the history.
    #[error("Commits don't go back that far: {text}")]
    TooFar { text: String },
}

impl FromStr for Revision {
    type Err = RevisionError;
    fn from_str(text: &str) -> Result<Self, RevisionError> {
        let malformed = || RevisionError::Malformed {
            text: text.chars().take(80).collect(),
        };
        let end = text.find(['^', '~']).unwrap_or(text.len());
        let (base, mut suffix) = text.split_at(end);
        // `HEAD` and ids follow the grammar of branch names, too.
        if base.parse::<BranchName>().is_err() {
            return Err(malformed());
        }
        let mut up: usize = 0;
        while !suffix.is_empty() {
            let (steps, rest) = if let Some(rest) = suffix.strip_prefix('^') {
                (1, rest)
            } else if let Some(rest) = suffix.strip_prefix('~') {
                let digits =
                    rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
                let steps = match &rest[..digits] {
                    "" => 1,
                    number => number.parse().map_err(|_| malformed())?,
                };
                (steps, &rest[digits..])
            } else {
                return Err(malformed());
            };
            up = up.checked_add(steps).ok_or_else(malformed)?;
            suffix = rest;
        }
        Ok(Self {
            base: base.to_owned(),
            up,
        })
    }
}

impl std::fmt::Display for Revision {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.base)?;
        match self.up {
            0 => Ok(()),
            1 => f.write_str("^"),
            up => write!(f, "~{up}"),
        }
    }
}

impl Revision {
    /// Finds the commit. A full id takes precedence over a branch, and a branch over the prefix of an id. `head` is
    /// the commit that `HEAD` means.
    pub fn resolve(
        &self,
        head: CommitId,
        branches: &BTreeMap<BranchName, CommitId>,
        history: &History,
    ) -> Result<CommitId, RevisionError> {
        let id = CommitId::from_any_case(&self.base).filter(|id| history.contains(*id));
        let base = if self.base == "HEAD" {
            head
        } else if let Some(id) = id {
            id
        } else if let Some(head) = self
            .base
            .parse()
            .ok()
            .and_then(|name: BranchName| branches.get(&name))
        {
            *head
        } else {
            self.by_id(history)?
        };
        history
            .nth_ancestor(base, self.up)
            .ok_or_else(|| RevisionError::TooFar {
                text: self.to_string(),
            })
    }

    fn by_id(&self, history: &History) -> Result<CommitId, RevisionError> {
        let unknown = || RevisionError::Unknown {
            text: self.base.clone(),
        };
        let prefix = self.base.to_ascii_lowercase();
        if prefix.len() < MIN_PREFIX || !prefix.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(unknown());
        }
        let mut matching = history
            .ids()
            .filter(|id| id.to_string().starts_with(&prefix));
        let first = matching.next().ok_or_else(unknown)?;
        match matching.count() {
            0 => Ok(first),
            more => Err(RevisionError::Ambiguous {
                text: self.base.clone(),
                count: more + 1,
            }),
        }
    }
}
