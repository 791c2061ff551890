//! The directories that threads write into. A thread reaches a directory through the descriptors of those above it,
//! name by name.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};

use dotmesh_store::{Attributes, EntryName};
use rustix::fs::{FileType, Mode};
use rustix::io::Errno;

use crate::disk::{self, DiskError};

/// The number of descriptors that a thread keeps open.
const MAX_OPEN: usize = 32;

/// The state of a name before it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// The name is free.
    Free,
    /// Something is there that must be removed first.
    Taken,
    /// The existing entry is changed in place.
    Ours,
}

/// A directory of the tree. The first thread that needs it makes it.
#[derive(Debug)]
pub(super) struct Directory {
    /// The directory above and the name in it, or `None` for the top.
    parent: Option<(Arc<Directory>, EntryName)>,
    place: Place,
    /// Whether new entries in it may inherit an ACL or a group from it.
    inherits: bool,
    made: Mutex<bool>,
}

impl Directory {
    /// The top of the tree.
    pub(super) fn top(inherits: bool) -> Arc<Self> {
        Arc::new(Self {
            parent: None,
            place: Place::Ours,
            inherits,
            made: Mutex::new(true),
        })
    }

    /// A directory in this one. `made` tells whether it exists already. `has` are the attributes that it may have at
    /// present.
    pub(super) fn below<'a>(
        self: &Arc<Self>,
        name: EntryName,
        place: Place,
        made: bool,
        mut has: impl Iterator<Item = &'a Attributes>,
    ) -> Arc<Self> {
        let inherits = (place != Place::Ours && self.inherits) || has.any(hands_down);
        Arc::new(Self {
            parent: Some((Arc::clone(self), name)),
            place,
            inherits,
            made: Mutex::new(made),
        })
    }

    pub(super) fn inherits(&self) -> bool {
        self.inherits
    }

    pub(super) fn place(&self) -> Place {
        self.place
    }

    /// The path of a name in this directory, for errors.
    pub(super) fn path(&self, name: &[u8]) -> Vec<u8> {
        let mut names = vec![name];
        let mut at = self;
        while let Some((above, name)) = &at.parent {
            names.push(name.as_bytes());
            at = above;
        }
        names.retain(|name| !name.is_empty());
        names.reverse();
        names.join(&b'/')
    }

    fn open(
        &self,
        above: BorrowedFd<'_>,
        name: &EntryName,
        resumed: bool,
    ) -> rustix::io::Result<OwnedFd> {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if !*made {
            make_directory(above, name, self.place, resumed)?;
            *made = true;
        }
        let opened = disk::open_directory(above, name.as_bytes())?;
        if self.place != Place::Ours || rustix::fs::fstat(&opened)?.st_ino != disk::STUB_INODE {
            return Ok(opened);
        }
        // A stub: nothing can be created in it. The last pass sets the attributes of the new directory, as of all
        // changed ones.
        disk::remove(above, name)?;
        make(above, name)?;
        disk::open_directory(above, name.as_bytes())
    }
}

/// Whether new entries inherit from a directory with these attributes.
pub(super) fn hands_down(attributes: &Attributes) -> bool {
    let default_acl = |name: &[u8]| name == disk::DEFAULT_ACL;
    attributes.mode & disk::SET_GROUP != 0
        || attributes
            .xattrs
            .iter()
            .any(|xattr| default_acl(&xattr.name))
}

fn make_directory(
    at: BorrowedFd<'_>,
    name: &EntryName,
    place: Place,
    resumed: bool,
) -> rustix::io::Result<()> {
    if resumed {
        match disk::stat(at, name.as_bytes()) {
            Ok(stat) if disk::file_type(&stat) == FileType::Directory => return Ok(()),
            Ok(_) => disk::remove(at, name)?,
            Err(Errno::NOENT) => {}
            Err(errno) => return Err(errno),
        }
    } else if place == Place::Taken {
        disk::remove(at, name)?;
    }
    make(at, name)
}

fn make(at: BorrowedFd<'_>, name: &EntryName) -> rustix::io::Result<()> {
    let name = name.as_bytes();
    disk::insist(at, name, || rustix::fs::mkdirat(at, name, Mode::RWXU))
}

/// The position of a thread among the directories.
pub(super) struct Cursor {
    root: Arc<OwnedFd>,
    resumed: bool,
    /// The last used directory and some of those above it. Most often, the next step needs one of them.
    open: Vec<(Arc<Directory>, OwnedFd)>,
}

impl Cursor {
    pub(super) fn new(root: Arc<OwnedFd>, resumed: bool) -> Self {
        Self {
            root,
            resumed,
            open: Vec::new(),
        }
    }

    /// The descriptor of a directory. If the directory or one above it does not exist yet, this makes it.
    pub(super) fn enter(&mut self, to: &Arc<Directory>) -> Result<BorrowedFd<'_>, DiskError> {
        let mut way = Vec::new();
        let mut at = to;
        let mut keep = 0;
        while let Some((above, name)) = &at.parent {
            if let Some(index) = self
                .open
                .iter()
                .rposition(|(open, _)| Arc::ptr_eq(open, at))
            {
                keep = index + 1;
                break;
            }
            way.push((at, name));
            at = above;
        }
        self.open.truncate(keep);
        for (directory, name) in way.into_iter().rev() {
            let above = self.last();
            let opened = directory
                .open(above, name, self.resumed)
                .map_err(|errno| DiskError::new("open", &directory.path(b""), errno))?;
            if self.open.len() == MAX_OPEN {
                self.open.remove(0);
            }
            self.open.push((Arc::clone(directory), opened));
        }
        Ok(self.last())
    }

    fn last(&self) -> BorrowedFd<'_> {
        let last = self.open.last();
        last.map_or(self.root.as_fd(), |(_, open)| open.as_fd())
    }
}
