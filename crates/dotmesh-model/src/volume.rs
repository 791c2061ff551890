//! The grammar of Docker volume names: `[NAMESPACE/]DOT[@BRANCH][.SUBDOT]`.

use std::fmt;
use std::str::FromStr;

use crate::names::{BranchName, DotName, InvalidName, SubdotName};

/// Which folder of a working copy a volume shows.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Folder {
    /// `.__root__`: all subdots as directories.
    Root,
    /// One subdot; `__default__` where none is named.
    Subdot(SubdotName),
}

/// A parsed volume name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct VolumeName {
    /// The dot whose state the volume shows.
    pub dot: DotName,
    /// A pinned branch never moves with a checkout; `None` follows the current branch.
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
        let (rest, subdot) = match text.split_once('.') {
            None => (text, None),
            Some((_, subdot)) if subdot.contains('.') => return Err(form()),
            Some((rest, subdot)) => (rest, Some(subdot)),
        };
        let (dot, branch) = match rest.split_once('@') {
            None => (rest, None),
            Some((_, branch)) if branch.contains('@') => return Err(form()),
            Some((dot, branch)) => (dot, Some(branch)),
        };
        let folder = match subdot {
            None => Folder::Subdot(SubdotName::default_subdot()),
            Some("__root__") => Folder::Root,
            Some(subdot) => Folder::Subdot(subdot.parse()?),
        };
        Ok(Self {
            dot: dot.parse()?,
            pinned: branch.map(str::parse).transpose()?,
            folder,
        })
    }
}

impl fmt::Display for VolumeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.dot)?;
        if let Some(branch) = &self.pinned {
            write!(f, "@{branch}")?;
        }
        match &self.folder {
            Folder::Root => f.write_str(".__root__"),
            Folder::Subdot(subdot) if *subdot == SubdotName::default_subdot() => Ok(()),
            Folder::Subdot(subdot) => write!(f, ".{subdot}"),
        }
    }
}
