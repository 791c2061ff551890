//! Finds what sealing leaves out of a directory, without reading its files.
//!
//! With an earlier snapshot that was searched before, it looks only at what changed since. The result is the same.

use std::collections::{BTreeMap, HashSet};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::Path;
use std::sync::Arc;

use dotmesh_model::left_out::MAX_LEFT_OUT;
use dotmesh_model::{LeftOut, LeftOutItem};
use dotmesh_pool::{Difference, Touch};
use dotmesh_store::EntryName;
use dotmesh_store::polite::politely;
use dotmesh_store::tree::MAX_DEPTH;
use rustix::fs::{FileType, OFlags, Stat};
use rustix::io::Errno;

use super::SealError;
use crate::disk::{self, DiskError, Handle, STUB_INODE};
use crate::limits::{MAX_TARGET_LENGTH, MAX_XATTR_LENGTH, colliding_names};

/// The reason that depends on other names in the directory.
const COLLIDING: &str = "its name and others of its folder have the same hash";

/// The items that are left out of a snapshot, and what the search of the next snapshot needs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FoundLeftOut {
    /// The number of items.
    pub count: u64,
    /// The first items: paths from the root, and reasons.
    pub items: Vec<(Vec<u8>, String)>,
    /// An upper bound of the number of nested directories.
    pub depth: usize,
    /// Whether a file has several names.
    pub has_links: bool,
}

impl FoundLeftOut {
    /// The items in a form for people.
    pub fn left_out(&self) -> LeftOut {
        let items = self.items.iter().map(|(path, reason)| LeftOutItem {
            path: disk::show(path),
            reason: reason.clone(),
        });
        LeftOut {
            count: self.count,
            items: items.collect(),
        }
    }

    /// Whether `items` has all items. Otherwise it can't be the base of a search.
    pub fn is_whole(&self) -> bool {
        self.count == self.items.len() as u64
    }
}

/// An earlier snapshot that was searched, and the changes since.
#[derive(Clone)]
pub struct CheckedBase {
    /// The result of its search, with all items.
    pub found: FoundLeftOut,
    /// The differences between it and the directory.
    pub changes: Arc<dyn Difference>,
}

/// Finds everything that [`super::seal_directory`] leaves out of a snapshot, except sockets.
pub async fn find_left_out(
    directory: &Path,
    base: Option<CheckedBase>,
) -> Result<FoundLeftOut, SealError> {
    let directory = directory.to_owned();
    let search = tokio::task::spawn_blocking(move || politely(|| search(&directory, base)));
    search
        .await
        .unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
}

fn search(directory: &Path, base: Option<CheckedBase>) -> Result<FoundLeftOut, SealError> {
    let root = disk::open_root(directory)?;
    let failed = |errno| DiskError::new("read", b"", errno);
    let stat = rustix::fs::fstat(&root).map_err(failed)?;
    let base = base.map(|base| Base {
        items: base
            .found
            .items
            .into_iter()
            .map(|(path, reason)| (key(&path), reason))
            .collect(),
        depth: base.found.depth,
        changes: base.changes,
    });
    let mut search = Search {
        base,
        device: stat.st_dev,
        path: Vec::new(),
        links: HashSet::new(),
        depth: 1,
        items: BTreeMap::new(),
    };
    search.xattrs(Handle::Open(root.as_fd()))?;
    let old = search.base.is_some().then(Vec::new);
    match search.touch(stat.st_ino) {
        None => search.take_over(b""),
        Some(_) => search.directory(root.as_fd(), stat.st_ino, old, 1)?,
    }
    let (depth, has_links) = match &search.base {
        Some(base) => (base.depth, base.changes.has_links()),
        None => (1, !search.links.is_empty()),
    };
    let count = search.items.len() as u64;
    let items = search.items.into_iter().take(MAX_LEFT_OUT);
    Ok(FoundLeftOut {
        count,
        items: items.map(|(key, reason)| (path_of(&key), reason)).collect(),
        depth: depth.max(search.depth),
        has_links,
    })
}

/// A key that sorts paths in the order of a walk: each name comes after a NUL, which no name contains.
fn key(path: &[u8]) -> Vec<u8> {
    let mut key = Vec::with_capacity(path.len() + 1);
    if !path.is_empty() {
        key.push(0);
        key.extend(
            path.iter()
                .map(|byte| if *byte == b'/' { 0 } else { *byte }),
        );
    }
    key
}

fn path_of(key: &[u8]) -> Vec<u8> {
    let names = key.iter().skip(1);
    names
        .map(|byte| if *byte == 0 { b'/' } else { *byte })
        .collect()
}

struct Base {
    items: BTreeMap<Vec<u8>, String>,
    depth: usize,
    changes: Arc<dyn Difference>,
}

struct Search {
    base: Option<Base>,
    /// The file system or subvolume that the search must not leave.
    device: u64,
    /// The current path, from the root.
    path: Vec<u8>,
    /// The files with several names that the search met.
    links: HashSet<u64>,
    depth: usize,
    items: BTreeMap<Vec<u8>, String>,
}

impl Search {
    fn failed(&self, verb: &'static str) -> impl FnOnce(Errno) -> SealError + '_ {
        move |errno| DiskError::new(verb, &self.path, errno).into()
    }

    fn touch(&self, inode: u64) -> Option<Touch> {
        match &self.base {
            Some(base) if inode != STUB_INODE => base.changes.touch(inode),
            _ => Some(Touch::Changed),
        }
    }

    fn leave_out(&mut self, reason: impl Into<String>) {
        self.items.insert(key(&self.path), reason.into());
    }

    /// Copies the items at and below a path of the base to the current path.
    fn take_over(&mut self, before: &[u8]) {
        self.take_over_own(before);
        let above = [&key(before)[..], &[0]].concat();
        let Some(base) = &self.base else { return };
        let here = key(&self.path);
        let below = base.items.range(above.clone()..);
        for (path, reason) in below.take_while(|(path, _)| path.starts_with(&above)) {
            let path = [&here[..], &path[above.len() - 1..]].concat();
            self.items.insert(path, reason.clone());
        }
    }

    /// Copies the item of the path alone.
    fn take_over_own(&mut self, before: &[u8]) {
        let base = self.base.as_ref();
        if let Some(reason) = base.and_then(|base| base.items.get(&key(before))) {
            let reason = reason.clone();
            self.leave_out(reason);
        }
    }

    /// Calls `work` with a name added to the current path, and with the name's path in the base.
    fn at<T>(
        &mut self,
        name: &[u8],
        old: Option<&[u8]>,
        work: impl FnOnce(&mut Self, &[u8]) -> T,
    ) -> T {
        let join = |path: &[u8]| match path {
            [] => name.to_vec(),
            path => [path, b"/", name].concat(),
        };
        let above = std::mem::take(&mut self.path);
        self.path = join(&above);
        let done = work(self, &old.map(join).unwrap_or_default());
        self.path = above;
        done
    }

    /// Searches a directory. `depth` counts it and the directories around it. `old` is its path in the base. It is
    /// `None` if the directory is new, or moved to a depth at which other entries may be too deep.
    fn directory(
        &mut self,
        at: BorrowedFd<'_>,
        inode: u64,
        old: Option<Vec<u8>>,
        depth: usize,
    ) -> Result<(), SealError> {
        self.depth = self.depth.max(depth);
        match (old, self.touch(inode)) {
            (Some(old), Some(Touch::Below)) => self.same_names(at, inode, &old, depth),
            (old, _) => {
                let listed = disk::entries(at).map_err(self.failed("list"))?;
                let colliding = colliding_names(listed.iter().map(|(name, _)| name));
                for (name, inode) in listed {
                    self.at(name.as_bytes(), old.as_deref(), |search, before| {
                        if colliding.contains(&name) {
                            search.leave_out(COLLIDING);
                        } else if old.is_some() && search.touch(inode).is_none() {
                            search.take_over(before);
                        } else {
                            search.entry(at, &name, depth)?;
                        }
                        Ok::<_, SealError>(())
                    })?;
                }
                Ok(())
            }
        }
    }

    /// Searches a directory whose names are the same as in the base. Outside of the touched entries, the same items are
    /// left out as in the base.
    fn same_names(
        &mut self,
        at: BorrowedFd<'_>,
        inode: u64,
        old: &[u8],
        depth: usize,
    ) -> Result<(), SealError> {
        let Some(base) = &self.base else {
            return Ok(());
        };
        let touched = base.changes.touched_in(inode);
        let above = [&key(old)[..], &[0]].concat();
        let below = base.items.range(above.clone()..);
        let mut names: Vec<(Vec<u8>, bool)> = below
            .take_while(|(path, _)| path.starts_with(&above))
            .map(|(path, reason)| {
                let path = &path[above.len()..];
                let end = path.iter().position(|byte| *byte == 0);
                let name = &path[..end.unwrap_or(path.len())];
                (name.to_vec(), end.is_none() && reason == COLLIDING)
            })
            .collect();
        names.dedup_by(|later, first| later.0 == first.0);
        let is_touched = |name: &[u8]| {
            touched
                .binary_search_by(|(touched, _)| (**touched).cmp(name))
                .is_ok()
        };
        let (mut kept, mut colliding) = (Vec::new(), HashSet::new());
        for (name, is_colliding) in names {
            if is_colliding {
                colliding.insert(name.clone());
            }
            if is_colliding || !is_touched(&name) {
                kept.push(name);
            }
        }
        for name in kept {
            self.at(&name, Some(old), Search::take_over);
        }
        for (name, _) in &touched {
            if let Ok(name) = EntryName::new(name)
                && !colliding.contains(name.as_bytes())
            {
                self.at(name.as_bytes(), Some(old), |search, _| {
                    search.entry(at, &name, depth)
                })?;
            }
        }
        Ok(())
    }

    fn entry(
        &mut self,
        at: BorrowedFd<'_>,
        name: &EntryName,
        depth: usize,
    ) -> Result<(), SealError> {
        let stat = disk::stat(at, name.as_bytes()).map_err(self.failed("read"))?;
        match disk::file_type(&stat) {
            FileType::Socket => Ok(()),
            FileType::Directory if depth < MAX_DEPTH => self.subdirectory(at, name, depth),
            FileType::Directory => {
                self.leave_out(format!("more than {MAX_DEPTH} folders deep"));
                Ok(())
            }
            FileType::Symlink if disk::size(&stat) > MAX_TARGET_LENGTH as u64 => {
                self.leave_out(format!("a link to more than {MAX_TARGET_LENGTH} bytes"));
                Ok(())
            }
            FileType::Symlink => self.xattrs(Handle::Symlink {
                at,
                name: name.as_bytes(),
            }),
            FileType::RegularFile if stat.st_nlink > 1 && !self.links.insert(stat.st_ino) => Ok(()),
            FileType::RegularFile | FileType::Fifo => {
                let flags = OFlags::RDONLY | OFlags::NOATIME;
                let file =
                    disk::open_file(at, name.as_bytes(), flags).map_err(self.failed("open"))?;
                self.xattrs(Handle::Open(file.as_fd()))
            }
            _ => {
                self.leave_out("a device node");
                Ok(())
            }
        }
    }

    fn subdirectory(
        &mut self,
        at: BorrowedFd<'_>,
        name: &EntryName,
        depth: usize,
    ) -> Result<(), SealError> {
        let below = disk::open_directory(at, name.as_bytes()).map_err(self.failed("open"))?;
        let stat = rustix::fs::fstat(&below).map_err(self.failed("read"))?;
        if stat.st_dev != self.device || stat.st_ino == STUB_INODE {
            self.depth = self.depth.max(depth + 1);
            self.leave_out("a subvolume or a mount: a commit has none of its files");
            return Ok(());
        }
        let old = self.before(&stat, depth + 1)?;
        match (&old, self.touch(stat.st_ino)) {
            (Some(old), Some(Touch::Below)) => self.take_over_own(old),
            _ => self.xattrs(Handle::Open(below.as_fd()))?,
        }
        self.directory(below.as_fd(), stat.st_ino, old, depth + 1)
    }

    /// The path of a directory in the base. It is `None` if the directory is new, or moved to a depth at which other
    /// entries may be too deep.
    fn before(&mut self, stat: &Stat, depth: usize) -> Result<Option<Vec<u8>>, SealError> {
        let Some(base) = &self.base else {
            return Ok(None);
        };
        let Some(path) = base.changes.before(stat.st_ino)? else {
            return Ok(None);
        };
        let before = disk::depth(&path);
        let deepest = (base.depth + depth).saturating_sub(before);
        if before != depth {
            if base.depth >= MAX_DEPTH || deepest > MAX_DEPTH {
                return Ok(None);
            }
            self.depth = self.depth.max(deepest);
        }
        Ok(Some(path))
    }

    /// Records the extended attributes that are left out.
    fn xattrs(&mut self, of: Handle<'_>) -> Result<(), SealError> {
        let (_, left_out) =
            disk::xattrs_to_carry(of).map_err(self.failed("read the attributes of"))?;
        match &left_out[..] {
            [] => {}
            [name] if &**name == disk::ALL_XATTRS => {
                self.leave_out("its extended attributes: more than Linux lists");
            }
            [first, rest @ ..] => {
                let others = match rest.len() {
                    0 => String::new(),
                    others => format!(" and {others} more"),
                };
                let first = disk::show(first);
                self.leave_out(format!(
                    "its extended attribute {first}{others}: more than {MAX_XATTR_LENGTH} bytes, or too many of one hash or in all"
                ));
            }
        }
        Ok(())
    }
}
