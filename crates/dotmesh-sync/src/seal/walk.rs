//! Walks through the directories, copies unchanged entries from the base, and seals the others.

use std::collections::{HashMap, HashSet, VecDeque};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use dotmesh_model::ObjectHash;
use dotmesh_pool::{Difference, Touch};
use dotmesh_store::chunker::MAX_CHUNK;
use dotmesh_store::grow::Grower;
use dotmesh_store::tree::{MAX_DEPTH, MAX_SYMLINK_LENGTH, SYMLINK_MODE, TreeSpine};
use dotmesh_store::{
    Attributes, Entry, EntryName, EntryValue, FileContent, Inode, InodeKind, Kind, Object, Root,
    Timestamp,
};
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;

use super::base::{BaseTree, Directory};
use super::content::{File, OldFile, content};
use super::files::{Files, Promise};
use super::output::Output;
use super::{PageCache, SealError, Sealed, SealedBase, Sockets};
use crate::disk::{self, DiskError, Handle, STUB_INODE};
use crate::limits::{self, Limits, MAX_TARGET_LENGTH};
use crate::progress::Progress;

/// The number of entries of a directory that may wait for the content of their files.
const WAITING: usize = 64;

/// The number of sockets whose paths are reported.
const NAMED_SOCKETS: usize = 3;

/// Walks a directory. Call it on a thread that may block.
pub(super) fn walk(
    directory: &Path,
    limits: Limits,
    base: Option<SealedBase>,
    cache: Option<Arc<dyn PageCache>>,
    output: Output,
    progress: &Progress,
) -> Result<Sealed, SealError> {
    let base = match (base, cache) {
        (Some(base), Some(cache)) => {
            let tree = BaseTree::open(cache, base.root)?;
            if !base.is_within_limits && !tree.is_within_limits()? {
                return Err(SealError::BaseOtherwise);
            }
            Some(WalkBase {
                tree,
                changes: base.changes,
                data: disk::open_root(&base.data)?,
            })
        }
        _ => None,
    };
    let root = disk::open_root(directory)?;
    let failed = |errno| DiskError::new("read", b"", errno);
    let stat = rustix::fs::fstat(&root).map_err(failed)?;
    let tree = base.as_ref().map(|base| base.tree.clone());
    let readers_output = output.another();
    Files::beside(tree.as_ref(), &readers_output, progress, |files| {
        let mut walker = Walker {
            files,
            limits,
            output,
            progress,
            base,
            device: stat.st_dev,
            path: Vec::new(),
            links: HashMap::new(),
            sockets: Sockets::default(),
        };
        let attributes = walker.attributes(&stat, Handle::Open(root.as_fd()))?;
        let old = walker.base.as_ref().map(|base| base.tree.root().tree);
        let tree = match (old, walker.touch(stat.st_ino)) {
            (Some(old), None) => old,
            (old, _) => walker.directory(root.as_fd(), stat.st_ino, old, 1)?,
        };
        let root = Object::new(Kind::Root, Root { attributes, tree }.encode());
        let hash = root.hash();
        walker.output.put(root, None)?;
        walker.output.flush()?;
        let has_links = match &walker.base {
            Some(base) => base.changes.has_links(),
            None => !walker.links.is_empty(),
        };
        Ok(Sealed {
            root: hash,
            has_links,
            sockets: walker.sockets,
        })
    })
}

struct WalkBase {
    tree: BaseTree,
    changes: Arc<dyn Difference>,
    data: OwnedFd,
}

struct Walker<'a> {
    files: &'a Files,
    limits: Limits,
    output: Output,
    progress: &'a Progress,
    base: Option<WalkBase>,
    /// The file system or subvolume that the walk must not leave.
    device: u64,
    /// The current path, from the root.
    path: Vec<u8>,
    /// The first names of files that have several names, by inode.
    links: HashMap<u64, Box<[u8]>>,
    sockets: Sockets,
}

/// An entry whose file may still be in the queue of a reader.
struct Pending {
    name: EntryName,
    value: Made,
}

enum Made {
    Value(EntryValue),
    File {
        attributes: Attributes,
        size: u64,
        content: Promise,
    },
}

impl Pending {
    fn wait(self) -> Result<Entry, SealError> {
        let value = match self.value {
            Made::Value(value) => value,
            Made::File {
                attributes,
                size,
                content,
            } => {
                let content = content.wait()?;
                let kind = InodeKind::File { size, content };
                EntryValue::Inode(Inode { attributes, kind })
            }
        };
        Ok(Entry {
            name: self.name,
            value,
        })
    }
}

impl Walker<'_> {
    fn failed(&self, verb: &'static str) -> impl FnOnce(Errno) -> SealError + '_ {
        move |errno| DiskError::new(verb, &self.path, errno).into()
    }

    fn here(&self) -> String {
        disk::show(&self.path)
    }

    /// How an inode is touched. Without a base, everything has changed.
    fn touch(&self, inode: u64) -> Option<Touch> {
        match &self.base {
            Some(base) if inode != STUB_INODE => base.changes.touch(inode),
            _ => Some(Touch::Changed),
        }
    }

    /// Seals the entries of a directory and returns the hash of its top page. `depth` counts it and the directories
    /// around it.
    fn directory(
        &mut self,
        at: BorrowedFd<'_>,
        inode: u64,
        old: Option<ObjectHash>,
        depth: usize,
    ) -> Result<ObjectHash, SealError> {
        let old = match (&self.base, old) {
            (Some(base), Some(tree)) => Some(base.tree.directory(tree)?),
            _ => None,
        };
        let mut pages = Pages {
            grower: Grower::default(),
            waiting: VecDeque::new(),
            old: old.clone(),
        };
        match (&old, self.touch(inode)) {
            (Some(old), Some(Touch::Below)) => {
                let touched = self.touched_in(inode);
                for entry in &old.entries {
                    if touched.contains(entry.name.as_bytes()) {
                        self.step(at, &entry.name, Some(&entry.value), depth, &mut pages)?;
                    } else {
                        pages.add(Pending::of(entry.clone()), &mut self.output)?;
                    }
                }
            }
            _ => {
                let listed = disk::entries(at).map_err(self.failed("list"))?;
                let colliding = match self.limits {
                    Limits::EveryPool => {
                        limits::colliding_names(listed.iter().map(|(name, _)| name))
                    }
                    Limits::Format => HashSet::new(),
                };
                for (name, inode) in listed {
                    if colliding.contains(&name) {
                        continue;
                    }
                    let before = old.as_ref().and_then(|old| old.find(name.as_bytes()));
                    match before {
                        Some(value) if self.touch(inode).is_none() => {
                            let value = value.clone();
                            pages.add(Pending::of(Entry { name, value }), &mut self.output)?;
                        }
                        _ => self.step(at, &name, before, depth, &mut pages)?,
                    }
                }
            }
        }
        pages.finish(&mut self.output)
    }

    fn touched_in(&self, directory: u64) -> HashSet<Box<[u8]>> {
        let base = self.base.iter();
        base.flat_map(|base| base.changes.touched_in(directory))
            .map(|(name, _)| name)
            .collect()
    }

    /// Seals an entry, and adds it to the directory's pages.
    fn step(
        &mut self,
        at: BorrowedFd<'_>,
        name: &EntryName,
        before: Option<&EntryValue>,
        depth: usize,
        pages: &mut Pages,
    ) -> Result<(), SealError> {
        let length = self.path.len();
        if length > 0 {
            self.path.push(b'/');
        }
        self.path.extend_from_slice(name.as_bytes());
        if let Some(value) = self.entry(at, name, before, depth)? {
            let name = name.clone();
            pages.add(Pending { name, value }, &mut self.output)?;
        }
        self.path.truncate(length);
        Ok(())
    }

    /// Seals an entry. Returns `None` if the entry is left out.
    fn entry(
        &mut self,
        at: BorrowedFd<'_>,
        name: &EntryName,
        before: Option<&EntryValue>,
        depth: usize,
    ) -> Result<Option<Made>, SealError> {
        let stat = disk::stat(at, name.as_bytes()).map_err(self.failed("read"))?;
        let inode = match disk::file_type(&stat) {
            FileType::Socket => {
                self.sockets.count += 1;
                if self.sockets.first.len() < NAMED_SOCKETS {
                    self.sockets.first.push(self.here());
                }
                return Ok(None);
            }
            FileType::RegularFile => {
                if let Some(first) = self.links.get(&stat.st_ino) {
                    return Ok(Some(Made::Value(EntryValue::HardLink {
                        first: first.clone(),
                    })));
                }
                if stat.st_nlink > 1 {
                    self.links.insert(stat.st_ino, self.path.as_slice().into());
                }
                return self.regular_file(at, name, before, &stat).map(Some);
            }
            FileType::Directory if depth < MAX_DEPTH => {
                self.subdirectory(at, name, before, depth)?
            }
            FileType::Symlink
                if disk::size(&stat) <= MAX_TARGET_LENGTH as u64
                    || self.limits == Limits::Format =>
            {
                self.symlink(at, name, &stat)?
            }
            FileType::Fifo => {
                let fifo = disk::open_file(at, name.as_bytes(), OFlags::RDONLY)
                    .map_err(self.failed("open"))?;
                let attributes = self.attributes(&stat, Handle::Open(fifo.as_fd()))?;
                Inode {
                    attributes,
                    kind: InodeKind::Fifo,
                }
            }
            _ if self.limits == Limits::EveryPool => return Ok(None),
            FileType::Directory => return Err(SealError::TooDeep { path: self.here() }),
            _ => return Err(SealError::Device { path: self.here() }),
        };
        Ok(Some(Made::Value(EntryValue::Inode(inode))))
    }

    /// The inode in the base, and its path there. `before` is what the present path stood for in the base.
    fn old_inode(
        &self,
        inode: u64,
        before: Option<&EntryValue>,
    ) -> Result<Option<(Inode, Vec<u8>)>, SealError> {
        let Some(base) = self.base.as_ref().filter(|_| inode != STUB_INODE) else {
            return Ok(None);
        };
        let Some(path) = base.changes.before(inode)? else {
            return Ok(None);
        };
        let old = match before {
            Some(EntryValue::Inode(before)) if path == self.path => Some(before.clone()),
            _ => base.tree.find(&path)?,
        };
        Ok(old.map(|old| (old, path)))
    }

    fn regular_file(
        &mut self,
        at: BorrowedFd<'_>,
        name: &EntryName,
        before: Option<&EntryValue>,
        stat: &Stat,
    ) -> Result<Made, SealError> {
        let file = disk::open_file(at, name.as_bytes(), OFlags::RDONLY | OFlags::NOATIME)
            .map_err(self.failed("open"))?;
        let opened = rustix::fs::fstat(&file).map_err(self.failed("read"))?;
        if (opened.st_dev, opened.st_ino) != (stat.st_dev, stat.st_ino) {
            return Err(SealError::Changed { path: self.here() });
        }
        let attributes = self.attributes(&opened, Handle::Open(file.as_fd()))?;
        let size = disk::size(&opened);
        let old = self.old_file(opened.st_ino, before)?;
        let ready = match &old {
            Some(old) if old.ranges.is_empty() && old.size == size => Some(old.content),
            _ => None,
        };
        let file = File {
            file,
            size,
            path: self.path.clone(),
            old,
        };
        let content = match ready {
            Some(content) => content,
            // A small file is not worth the handover to another thread.
            None if size <= MAX_CHUNK as u64 => {
                let tree = self.base.as_ref().map(|base| &base.tree);
                content(&file, tree, &mut self.output, self.progress)?
            }
            None => {
                let content = self.files.read(file)?;
                return Ok(Made::File {
                    attributes,
                    size,
                    content,
                });
            }
        };
        let kind = InodeKind::File { size, content };
        Ok(Made::Value(EntryValue::Inode(Inode { attributes, kind })))
    }

    fn old_file(
        &self,
        inode: u64,
        before: Option<&EntryValue>,
    ) -> Result<Option<OldFile>, SealError> {
        let Some((old, path)) = self.old_inode(inode, before)? else {
            return Ok(None);
        };
        let (Some(base), InodeKind::File { size, content }) = (&self.base, old.kind) else {
            return Ok(None);
        };
        let ranges = base.changes.ranges(inode)?;
        let file = match (ranges.is_empty(), content) {
            (false, FileContent::Chunk(_) | FileContent::Page(_)) => {
                open_beneath(base.data.as_fd(), &path).map(|file| Arc::new(file.into()))
            }
            _ => None,
        };
        Ok(Some(OldFile {
            size,
            content,
            ranges,
            file,
        }))
    }

    fn subdirectory(
        &mut self,
        at: BorrowedFd<'_>,
        name: &EntryName,
        before: Option<&EntryValue>,
        depth: usize,
    ) -> Result<Inode, SealError> {
        let below = disk::open_directory(at, name.as_bytes()).map_err(self.failed("open"))?;
        let stat = rustix::fs::fstat(&below).map_err(self.failed("read"))?;
        if stat.st_dev != self.device {
            // The mounted files are not part of the dot.
            let attributes = self.attributes(&stat, Handle::Open(below.as_fd()))?;
            let (tree, pages) = Grower::<TreeSpine>::default().finish();
            for page in pages {
                self.output.put(page, None)?;
            }
            let kind = InodeKind::Directory { tree };
            return Ok(Inode { attributes, kind });
        }
        let old = match self.old_inode(stat.st_ino, before)? {
            Some((old, path)) => match old.kind {
                InodeKind::Directory { tree } if self.keeps_depth(tree, &path, depth + 1)? => {
                    Some((old.attributes, tree))
                }
                _ => None,
            },
            None => None,
        };
        let (attributes, old) = match (old, self.touch(stat.st_ino)) {
            (Some((attributes, tree)), Some(Touch::Below)) => (attributes, Some(tree)),
            (old, _) => {
                let attributes = self.attributes(&stat, Handle::Open(below.as_fd()))?;
                (attributes, old.map(|(_, tree)| tree))
            }
        };
        let tree = self.directory(below.as_fd(), stat.st_ino, old, depth + 1)?;
        let kind = InodeKind::Directory { tree };
        Ok(Inode { attributes, kind })
    }

    /// Whether a directory that may have moved has the same entries as before, at all depths. That is so if no entry
    /// was left out for being too deep, and none would be now.
    fn keeps_depth(
        &self,
        tree: ObjectHash,
        before: &[u8],
        depth: usize,
    ) -> Result<bool, SealError> {
        let depth_before = disk::depth(before);
        let Some(base) = self.base.as_ref().filter(|_| depth != depth_before) else {
            return Ok(true);
        };
        // Everything that was left out there was inside a directory at the limit.
        let most = (MAX_DEPTH - depth_before).min(MAX_DEPTH + 1 - depth);
        Ok(base.tree.height(tree, most, &|_| true)?.is_some())
    }

    fn symlink(
        &mut self,
        at: BorrowedFd<'_>,
        name: &EntryName,
        stat: &Stat,
    ) -> Result<Inode, SealError> {
        let target =
            rustix::fs::readlinkat(at, name.as_bytes(), Vec::new()).map_err(self.failed("read"))?;
        let handle = Handle::Symlink {
            at,
            name: name.as_bytes(),
        };
        let attributes = Attributes {
            mode: SYMLINK_MODE,
            ..self.attributes(stat, handle)?
        };
        let target: Box<[u8]> = target.as_bytes().into();
        if target.len() > MAX_SYMLINK_LENGTH {
            return Err(SealError::TooLarge { path: self.here() });
        }
        Ok(Inode {
            attributes,
            kind: InodeKind::Symlink { target },
        })
    }

    fn attributes(&self, stat: &Stat, of: Handle<'_>) -> Result<Attributes, SealError> {
        let mut attributes = match self.limits {
            Limits::EveryPool => disk::attributes_to_carry(stat, of),
            Limits::Format => disk::attributes(stat, of),
        }
        .map_err(self.failed("read the attributes of"))?;
        if stat.st_ino == STUB_INODE {
            // btrfs invents another time at each look.
            attributes.mtime = Timestamp::default();
        }
        attributes
            .check()
            .map_err(|_| SealError::TooLarge { path: self.here() })?;
        Ok(attributes)
    }
}

impl Pending {
    fn of(entry: Entry) -> Self {
        Self {
            name: entry.name,
            value: Made::Value(entry.value),
        }
    }
}

/// Builds the tree pages of a directory.
struct Pages {
    grower: Grower<TreeSpine>,
    waiting: VecDeque<Pending>,
    old: Option<Arc<Directory>>,
}

impl Pages {
    fn add(&mut self, entry: Pending, output: &mut Output) -> Result<(), SealError> {
        self.waiting.push_back(entry);
        if self.waiting.len() > WAITING {
            self.settle(output)?;
        }
        Ok(())
    }

    /// Waits for the oldest entry.
    fn settle(&mut self, output: &mut Output) -> Result<(), SealError> {
        if let Some(oldest) = self.waiting.pop_front() {
            self.grower.push(oldest.wait()?);
            let pages = self.grower.take_complete();
            self.put(pages, output)?;
        }
        Ok(())
    }

    fn finish(mut self, output: &mut Output) -> Result<ObjectHash, SealError> {
        while !self.waiting.is_empty() {
            self.settle(output)?;
        }
        let (top, rest) = std::mem::take(&mut self.grower).finish();
        self.put(rest, output)?;
        Ok(top)
    }

    fn put(&self, pages: Vec<Object>, output: &mut Output) -> Result<(), SealError> {
        let old = self.old.as_ref();
        let is_new = |page: &Object| !old.is_some_and(|old| old.pages.contains(&page.hash()));
        pages
            .into_iter()
            .filter(is_new)
            .try_for_each(|page| output.put(page, None))
    }
}

/// Opens a file of the base for comparison. The base is read-only, but containers chose its names.
fn open_beneath(data: BorrowedFd<'_>, path: &[u8]) -> Option<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    rustix::fs::openat2(data, path, flags | OFlags::NOATIME, Mode::empty(), resolve).ok()
}
