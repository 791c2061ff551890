//! The grammar of Docker volume names: `[NAMESPACE/]DOT[@BRANCH][.SUBDOT]`.
//!
//! `BRANCH` is a spelling, as in `app@feature~2flogin.db`. A branch name without a `.` or a `@` may also stand there
//! unchanged.

use std::fmt;
use std::str::FromStr;

use crate::names::{BranchName, DotName, InvalidName, SubdotName};

/// The folder of a working copy that a volume shows.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Folder {
    /// `.__root__`: all subdots as directories.
    Root,
    /// One subdot. It is `__default__` if the volume's name has none.
    Subdot(SubdotName),
}

/// A parsed volume name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct VolumeName {
    /// The dot whose state the volume shows.
    pub dot: DotName,
    /// A pinned branch, which a checkout does not change. `None` means the current branch.
    pub pinned: Option<BranchName>,
    /// The part of the working copy.
    pub folder: Folder,
}

impl FromStr for VolumeName {
    type Err = InvalidName;
    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let form = || InvalidName::VolumeForm {
            name: text.chars().take(240).collect(),
        };
        let (dot, after) = match text.split_once('@') {
            Some((dot, _)) if dot.contains('.') => (text, None),
            Some((_, after)) if after.contains('@') => return Err(form()),
            Some((dot, after)) => (dot, Some(after)),
            None => (text, None),
        };
        let (dot, branch, subdot) = match after {
            None => {
                let (dot, subdot) = split_subdot(dot);
                (dot, None, subdot)
            }
            Some(after) => {
                let (branch, subdot) = split_subdot(after);
                (dot, Some(branch), subdot)
            }
        };
        if subdot.is_some_and(|subdot| subdot.contains('.')) {
            return Err(match branch {
                None => form(),
                Some(_) => InvalidName::VolumeBranch {
                    name: text.chars().take(240).collect(),
                },
            });
        }
        let folder = match subdot {
            None => Folder::Subdot(SubdotName::default_subdot()),
            Some("__root__") => Folder::Root,
            Some(subdot) => Folder::Subdot(subdot.parse()?),
        };
        Ok(Self {
            dot: dot.parse()?,
            pinned: branch.map(BranchName::from_address).transpose()?,
            folder,
        })
    }
}

fn split_subdot(text: &str) -> (&str, Option<&str>) {
    match text.split_once('.') {
        None => (text, None),
        Some((rest, subdot)) => (rest, Some(subdot)),
    }
}

impl fmt::Display for VolumeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.dot)?;
        if let Some(branch) = &self.pinned {
            write!(f, "@{}", branch.spelling())?;
        }
        match &self.folder {
            Folder::Root => f.write_str(".__root__"),
            Folder::Subdot(subdot) if *subdot == SubdotName::default_subdot() => Ok(()),
            Folder::Subdot(subdot) => write!(f, ".{subdot}"),
        }
    }
}
