//! The directories that are written into, and how threads reach them: by the descriptors of those above,
//! name by name.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};

use dotmesh_store::{Attributes, EntryName};
use rustix::fs::{FileType, Mode};
use rustix::io::Errno;

use crate::disk::{self, DiskError};

/// So many descriptors a thread keeps open.
const MAX_OPEN: usize = 32;

/// What is at a name before it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// Nothing.
    Free,
    /// Something that cannot be made into what shall be there.
    Taken,
    /// What is changed in place.
    Ours,
}

/// A directory of the tree; the first thread that needs it makes it.
#[derive(Debug)]
pub(super) struct Directory {
    /// None for the top.
    parent: Option<(Arc<Directory>, EntryName)>,
    place: Place,
    /// Whether what is made in it may get an ACL or a group from it.
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

    /// A directory in it, whether it was `made` or has to be. It has at present the attributes of one of these.
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

    /// Its path in the tree with a name at its end, for errors.
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
        // Nothing can be made in it. Its attributes are set at the end, as those of all that change.
        disk::remove(above, name)?;
        make(above, name)?;
        disk::open_directory(above, name.as_bytes())
    }
}

/// Whether what is made in a directory of these attributes gets some of them.
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

/// A thread's way through the directories.
pub(super) struct Cursor {
    root: Arc<OwnedFd>,
    resumed: bool,
    /// The last directory that was used and some of those above it, which most often are used next.
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

    /// A directory's descriptor. It is made, with those above it, if it is not there.
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
