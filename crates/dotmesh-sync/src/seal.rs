//! Sealing: reads a directory and turns it into objects.
//!
//! The directory must not change meanwhile: it is a snapshot. One thread reads, cuts and hashes; the objects
//! go to an asynchronous sink in pieces of about a megabyte, a few of them waiting at most.

mod file;

use std::collections::HashMap;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::Path;
use std::sync::Arc;

use dotmesh_model::ObjectHash;
use dotmesh_store::grow::Grower;
use dotmesh_store::tree::{MAX_DEPTH, MAX_SYMLINK_LENGTH, SYMLINK_MODE, TreeSpine};
use dotmesh_store::{Attributes, Entry, EntryName, Inode, InodeKind, Kind, Node, Object, Root};
use rustix::fs::{FileType, OFlags, Stat};
use tokio::sync::mpsc;

use crate::disk::{self, DiskError, Handle};
use crate::objects::ObjectSink;
use crate::progress::Progress;
use crate::retry::HubError;

/// Objects go to the sink when there are so many bytes of them.
const PIECE_LENGTH: usize = 1 << 20;

/// How many pieces may wait for the sink.
const PIECES: usize = 4;

/// Why a directory could not be sealed.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// A file could not be read.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// A device node: it gives access to a machine and does not travel.
    #[error("{path} is a device node: Dotmesh keeps none")]
    Device { path: String },
    /// Directories too deep inside each other.
    #[error("{path} is in more than {MAX_DEPTH} directories")]
    TooDeep { path: String },
    /// Extended attributes or a link longer than the format has room for.
    #[error("{path} has more extended attributes, or a longer link, than Dotmesh can keep")]
    TooLarge { path: String },
    /// The directory is not the snapshot that it must be.
    #[error("{path} changed while it was read")]
    Changed { path: String },
    /// The sink failed.
    #[error(transparent)]
    Sink(#[from] HubError),
    /// Nobody waits for the objects any more.
    #[error("sealing was stopped")]
    Stopped,
}

/// Turns a directory into objects, gives them to the sink and returns the hash of the root.
///
/// Directories on other file systems, or in other subvolumes, count as empty. Sockets are passed over.
pub async fn seal_directory(
    directory: &Path,
    sink: &mut impl ObjectSink,
    progress: &Arc<Progress>,
) -> Result<ObjectHash, SealError> {
    let (sender, mut pieces) = mpsc::channel(PIECES);
    let (directory, progress) = (directory.to_owned(), Arc::clone(progress));
    let walk = tokio::task::spawn_blocking(move || walk(&directory, sender, &progress));
    // Returning early drops the receiver, and with it ends the walk.
    while let Some(objects) = pieces.recv().await {
        sink.put(objects).await?;
    }
    match walk.await {
        Ok(result) => result,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => Err(SealError::Stopped),
    }
}

/// The sum of the sizes of a directory's files, without reading them.
pub async fn measure(directory: &Path) -> Result<u64, DiskError> {
    let directory = directory.to_owned();
    let measure = tokio::task::spawn_blocking(move || {
        let root = disk::open_root(&directory)?;
        let sum = rustix::fs::fstat(&root)
            .and_then(|stat| sum_sizes(root.as_fd(), stat.st_dev, 0, &mut Default::default()));
        sum.map_err(|errno| DiskError::new("measure", b"", errno))
    });
    measure
        .await
        .unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
}

fn sum_sizes(
    directory: BorrowedFd<'_>,
    device: u64,
    depth: usize,
    links: &mut std::collections::HashSet<u64>,
) -> rustix::io::Result<u64> {
    let mut sum: u64 = 0;
    for name in disk::names(directory)? {
        let stat = disk::stat(directory, name.as_bytes())?;
        match disk::file_type(&stat) {
            FileType::Directory if stat.st_dev == device && depth < MAX_DEPTH => {
                let below = disk::open_directory(directory, name.as_bytes())?;
                sum = sum.saturating_add(sum_sizes(below.as_fd(), device, depth + 1, links)?);
            }
            FileType::RegularFile if stat.st_nlink == 1 || links.insert(stat.st_ino) => {
                sum = sum.saturating_add(disk::size(&stat));
            }
            _ => {}
        }
    }
    Ok(sum)
}

fn walk(
    directory: &Path,
    sender: mpsc::Sender<Vec<Object>>,
    progress: &Progress,
) -> Result<ObjectHash, SealError> {
    let root = disk::open_root(directory)?;
    let failed = |errno| DiskError::new("read", b"", errno);
    let stat = rustix::fs::fstat(&root).map_err(failed)?;
    let mut walker = Walker {
        output: Output {
            sender,
            piece: Vec::new(),
            length: 0,
        },
        progress,
        device: stat.st_dev,
        path: Vec::new(),
        links: HashMap::new(),
        buffer: file::Buffer::default(),
    };
    let attributes = disk::attributes(&stat, Handle::Open(root.as_fd())).map_err(failed)?;
    walker.check(&attributes)?;
    let tree = walker.directory(root.as_fd(), 1)?;
    let root = Object::new(Kind::Root, Root { attributes, tree }.encode());
    let hash = root.hash();
    walker.output.put(root)?;
    walker.output.flush()?;
    Ok(hash)
}

/// Gathers objects and hands them over.
struct Output {
    sender: mpsc::Sender<Vec<Object>>,
    piece: Vec<Object>,
    length: usize,
}

impl Output {
    fn put(&mut self, object: Object) -> Result<(), SealError> {
        self.length += object.bytes().len();
        self.piece.push(object);
        if self.length >= PIECE_LENGTH {
            self.flush()
        } else {
            Ok(())
        }
    }

    fn flush(&mut self) -> Result<(), SealError> {
        self.length = 0;
        let piece = std::mem::take(&mut self.piece);
        self.sender
            .blocking_send(piece)
            .map_err(|_| SealError::Stopped)
    }
}

struct Walker<'a> {
    output: Output,
    progress: &'a Progress,
    /// The file system, or subvolume, that the walk stays on.
    device: u64,
    /// Where the walk is, from the root.
    path: Vec<u8>,
    /// The first names of files that have several.
    links: HashMap<(u64, u64), Box<[u8]>>,
    buffer: file::Buffer,
}

impl Walker<'_> {
    fn failed(&self, verb: &'static str) -> impl FnOnce(rustix::io::Errno) -> SealError + '_ {
        move |errno| DiskError::new(verb, &self.path, errno).into()
    }

    fn here(&self) -> String {
        disk::show(&self.path)
    }

    /// Seals the entries of a directory and returns its top node. `depth` counts it and those around it.
    fn directory(&mut self, at: BorrowedFd<'_>, depth: usize) -> Result<ObjectHash, SealError> {
        if depth > MAX_DEPTH {
            return Err(SealError::TooDeep { path: self.here() });
        }
        let mut nodes = Grower::<TreeSpine>::default();
        let names = disk::names(at).map_err(self.failed("list"))?;
        let length = self.path.len();
        for name in names {
            if length > 0 {
                self.path.push(b'/');
            }
            self.path.extend_from_slice(name.as_bytes());
            if let Some(node) = self.entry(at, &name, depth)? {
                nodes.push(Entry { name, node });
                for node in nodes.take_complete() {
                    self.output.put(node)?;
                }
            }
            self.path.truncate(length);
        }
        let (top, rest) = nodes.finish();
        for node in rest {
            self.output.put(node)?;
        }
        Ok(top)
    }

    /// Seals what a name stands for; `None` when it is passed over.
    fn entry(
        &mut self,
        at: BorrowedFd<'_>,
        name: &EntryName,
        depth: usize,
    ) -> Result<Option<Node>, SealError> {
        let stat = disk::stat(at, name.as_bytes()).map_err(self.failed("read"))?;
        let inode = match disk::file_type(&stat) {
            FileType::Socket => return Ok(None),
            FileType::RegularFile => {
                if let Some(first) = self.links.get(&(stat.st_dev, stat.st_ino)) {
                    return Ok(Some(Node::HardLink {
                        first: first.clone(),
                    }));
                }
                if stat.st_nlink > 1 {
                    self.links
                        .insert((stat.st_dev, stat.st_ino), self.path.as_slice().into());
                }
                self.regular_file(at, name, &stat)?
            }
            FileType::Directory => self.subdirectory(at, name, depth)?,
            FileType::Symlink => self.symlink(at, name, &stat)?,
            FileType::Fifo => {
                let fifo = disk::open_file(at, name.as_bytes(), OFlags::RDONLY)
                    .map_err(self.failed("open"))?;
                let attributes = self.attributes(&stat, Handle::Open(fifo.as_fd()))?;
                Inode {
                    attributes,
                    kind: InodeKind::Fifo,
                }
            }
            _ => return Err(SealError::Device { path: self.here() }),
        };
        Ok(Some(Node::Inode(inode)))
    }

    fn regular_file(
        &mut self,
        at: BorrowedFd<'_>,
        name: &EntryName,
        stat: &Stat,
    ) -> Result<Inode, SealError> {
        let file = disk::open_file(at, name.as_bytes(), OFlags::RDONLY | OFlags::NOATIME)
            .map_err(self.failed("open"))?;
        let opened = rustix::fs::fstat(&file).map_err(self.failed("read"))?;
        if (opened.st_dev, opened.st_ino) != (stat.st_dev, stat.st_ino) {
            return Err(SealError::Changed { path: self.here() });
        }
        let attributes = self.attributes(&opened, Handle::Open(file.as_fd()))?;
        let size = disk::size(&opened);
        let content = self.content(file.as_fd(), size)?;
        Ok(Inode {
            attributes,
            kind: InodeKind::File { size, content },
        })
    }

    fn subdirectory(
        &mut self,
        at: BorrowedFd<'_>,
        name: &EntryName,
        depth: usize,
    ) -> Result<Inode, SealError> {
        let below = disk::open_directory(at, name.as_bytes()).map_err(self.failed("open"))?;
        let stat = rustix::fs::fstat(&below).map_err(self.failed("read"))?;
        let attributes = self.attributes(&stat, Handle::Open(below.as_fd()))?;
        let tree = if stat.st_dev == self.device {
            self.directory(below.as_fd(), depth + 1)?
        } else {
            // What is mounted there belongs to someone else.
            let (tree, nodes) = Grower::<TreeSpine>::default().finish();
            nodes
                .into_iter()
                .try_for_each(|node| self.output.put(node))?;
            tree
        };
        Ok(Inode {
            attributes,
            kind: InodeKind::Directory { tree },
        })
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
        let attributes =
            disk::attributes(stat, of).map_err(self.failed("read the attributes of"))?;
        self.check(&attributes)?;
        Ok(attributes)
    }

    fn check(&self, attributes: &Attributes) -> Result<(), SealError> {
        attributes
            .check()
            .map_err(|_| SealError::TooLarge { path: self.here() })
    }
}
