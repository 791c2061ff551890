//! Writes a folder as an archive. Programs may change the folder meanwhile.

use std::collections::HashMap;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, SeekFrom, Stat};
use rustix::io::Errno;

use crate::attributes::{InodeAttributes, xattrs};
use crate::counters::Counters;
use crate::error::{ArchiveError, OnDisk as _, shown};
use crate::header::{BLOCK, END, EntryKind, header, padding};
use crate::sparse::{self, Part};

/// The most names that are remembered of what was left out.
const NAMED: usize = 10;

/// The size of a read, in bytes.
const PIECE: usize = 256 << 10;

/// What an archive or a folder lacks, as it cannot be kept: sockets and devices.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Omitted {
    /// How many there were.
    pub count: u64,
    /// The first names.
    pub first: Vec<String>,
}

impl Omitted {
    pub(crate) fn note(&mut self, name: &[u8]) {
        self.count += 1;
        if self.first.len() < NAMED {
            self.first.push(shown(name));
        }
    }

    /// Adds what another one has.
    pub fn add(&mut self, other: Self) {
        self.count += other.count;
        self.first.extend(other.first);
        self.first.truncate(NAMED);
    }
}

/// Writes a folder and everything below it. `top` is the folder's name in the archive. An archive may have several folders,
/// and ends with [`finish`].
pub fn pack(
    folder: BorrowedFd<'_>,
    top: &[u8],
    out: &mut impl Write,
    counters: &Counters,
) -> Result<Omitted, ArchiveError> {
    let mut pack = Pack {
        out,
        counters,
        links: HashMap::new(),
        left_out: Omitted::default(),
    };
    pack.walk(folder, top)?;
    Ok(pack.left_out)
}

/// The bytes that the files in a folder have on disk: about what a copy needs.
pub fn measure(folder: BorrowedFd<'_>, counters: &Counters) -> Result<u64, ArchiveError> {
    let mut seen = std::collections::HashSet::new();
    let mut sum = 0u64;
    let mut open = vec![folder.try_clone_to_owned().on_disk("open", b".")?];
    while let Some(folder) = open.pop() {
        for entry in rustix::fs::Dir::read_from(&folder).on_disk("read", b".")? {
            let entry = entry.on_disk("read", b".")?;
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." {
                continue;
            }
            let Ok(stat) = rustix::fs::statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW) else {
                continue;
            };
            let is_folder = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
            if is_folder {
                let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                open.extend(rustix::fs::openat(&folder, name, flags, Mode::empty()));
            }
            if is_folder || stat.st_nlink == 1 || seen.insert((stat.st_dev, stat.st_ino)) {
                sum = sum.saturating_add(
                    u64::try_from(stat.st_blocks)
                        .unwrap_or(0)
                        .saturating_mul(512),
                );
            }
            counters.check()?;
        }
    }
    Ok(sum)
}

/// Ends an archive.
pub fn finish(out: &mut impl Write) -> Result<(), ArchiveError> {
    let written = out.write_all(&END).and_then(|()| out.flush());
    written.map_err(ArchiveError::Stream)
}

struct Pack<'a, W> {
    out: &'a mut W,
    counters: &'a Counters,
    /// The first names of the files that have several, by device and inode.
    links: HashMap<(u64, u64), Vec<u8>>,
    left_out: Omitted,
}

struct Open {
    folder: OwnedFd,
    name: Vec<u8>,
    /// The names in it, the last one first.
    names: Vec<Vec<u8>>,
}

impl<W: Write> Pack<'_, W> {
    fn walk(&mut self, folder: BorrowedFd<'_>, top: &[u8]) -> Result<(), ArchiveError> {
        let folder = folder.try_clone_to_owned().on_disk("open", top)?;
        let mut open = vec![self.folder(folder, top.to_vec())?];
        while let Some(here) = open.last_mut() {
            let Some(name) = here.names.pop() else {
                open.pop();
                continue;
            };
            let path = [&here.name[..], b"/", &name].concat();
            let folder = here.folder.as_fd();
            let stat = match rustix::fs::statat(folder, &*name, AtFlags::SYMLINK_NOFOLLOW) {
                // It was deleted meanwhile.
                Err(Errno::NOENT) => continue,
                stat => stat.on_disk("look at", &path)?,
            };
            match self.entry(folder, &name, &path, &stat) {
                Ok(Some(folder)) => {
                    let below = self.folder(folder, path)?;
                    open.push(below);
                }
                Ok(None) => {}
                // It was deleted, or replaced by something else, meanwhile.
                Err(ArchiveError::Disk { source, .. }) if is_gone(&source) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Writes a folder's entry, and reads the names in it.
    fn folder(&mut self, folder: OwnedFd, name: Vec<u8>) -> Result<Open, ArchiveError> {
        let stat = rustix::fs::fstat(&folder).on_disk("look at", &name)?;
        let attributes = with_xattrs(&stat, folder.as_fd(), &name)?;
        self.header(&name, EntryKind::Folder, &attributes)?;
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::read_from(&folder).on_disk("read", &name)? {
            let entry = entry.on_disk("read", &name)?;
            let found = entry.file_name().to_bytes();
            if found != b"." && found != b".." {
                names.push(found.to_vec());
            }
        }
        // The same folder always gives the same archive.
        names.sort_unstable_by(|one, other| other.cmp(one));
        Ok(Open {
            folder,
            name,
            names,
        })
    }

    /// Writes an entry, unless it is a folder, which is opened.
    fn entry(
        &mut self,
        at: BorrowedFd<'_>,
        name: &[u8],
        path: &[u8],
        stat: &Stat,
    ) -> Result<Option<OwnedFd>, ArchiveError> {
        let kind = FileType::from_raw_mode(stat.st_mode);
        let is_several = stat.st_nlink > 1 && kind != FileType::Directory;
        let inode = (stat.st_dev, stat.st_ino);
        if is_several && let Some(first) = self.links.get(&inode) {
            let first = first.clone();
            self.header(
                path,
                EntryKind::HardLink(&first),
                &InodeAttributes::of(stat),
            )?;
            return Ok(None);
        }
        let flags = OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let open = |more| rustix::fs::openat(at, name, flags | more, Mode::empty());
        match kind {
            FileType::Directory => {
                let folder = open(OFlags::DIRECTORY).on_disk("open", path)?;
                return Ok(Some(folder));
            }
            FileType::RegularFile => {
                let file = open(OFlags::RDONLY).on_disk("open", path)?;
                self.file(&file, path)?;
            }
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(at, name, Vec::new()).on_disk("read", path)?;
                let link = EntryKind::Symlink(target.as_bytes());
                self.header(path, link, &InodeAttributes::of(stat))?;
            }
            FileType::Fifo => {
                let fifo = open(OFlags::RDONLY).on_disk("open", path)?;
                let stat = rustix::fs::fstat(&fifo).on_disk("look at", path)?;
                let attributes = with_xattrs(&stat, fifo.as_fd(), path)?;
                self.header(path, EntryKind::Fifo, &attributes)?;
            }
            _ => {
                self.left_out.note(path);
                return Ok(None);
            }
        }
        if is_several {
            self.links.insert(inode, path.to_vec());
        }
        Ok(None)
    }

    fn file(&mut self, file: &OwnedFd, path: &[u8]) -> Result<(), ArchiveError> {
        let stat = rustix::fs::fstat(file).on_disk("look at", path)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(io::Error::from(Errno::NOENT)).on_disk("open", path);
        }
        let attributes = with_xattrs(&stat, file.as_fd(), path)?;
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        let has_holes = u64::try_from(stat.st_blocks)
            .unwrap_or(0)
            .saturating_mul(512)
            < size;
        let parts = match has_holes {
            true => parts(file, size).on_disk("look at", path)?,
            false => vec![Part {
                at: 0,
                length: size,
            }],
        };
        let whole = Part {
            at: 0,
            length: size,
        };
        let stored = match parts[..] {
            [part] if part == whole => {
                self.header(path, EntryKind::File(size), &attributes)?;
                size
            }
            _ => {
                let list = sparse::list(&parts);
                let data: u64 = parts.iter().map(|part| part.length).sum();
                let stored = list.len() as u64 + data;
                self.header(path, EntryKind::Sparse { size, stored }, &attributes)?;
                self.put(&list)?;
                data
            }
        };
        let mut buffer = vec![
            0;
            PIECE
                .min(usize::try_from(stored).unwrap_or(PIECE))
                .max(BLOCK)
        ];
        for part in &parts {
            self.part(file, *part, path, &mut buffer)?;
        }
        self.put(padding(stored))
    }

    fn part(
        &mut self,
        file: &OwnedFd,
        part: Part,
        path: &[u8],
        buffer: &mut [u8],
    ) -> Result<(), ArchiveError> {
        let (mut at, mut left) = (part.at, part.length);
        while left > 0 {
            let wanted = usize::try_from(left)
                .unwrap_or(usize::MAX)
                .min(buffer.len());
            let count = match rustix::io::pread(file, &mut buffer[..wanted], at) {
                Err(Errno::INTR) => continue,
                count => count.on_disk("read", path)?,
            };
            let count = match count {
                // The file became shorter. The header has promised its bytes.
                0 => {
                    buffer[..wanted].fill(0);
                    wanted
                }
                count => count,
            };
            self.put(&buffer[..count])?;
            self.counters.add_bytes(count)?;
            at += count as u64;
            left -= count as u64;
        }
        Ok(())
    }

    fn header(
        &mut self,
        name: &[u8],
        kind: EntryKind<'_>,
        attributes: &InodeAttributes,
    ) -> Result<(), ArchiveError> {
        self.put(&header(name.to_vec(), kind, attributes))?;
        self.counters.add_entry()
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), ArchiveError> {
        self.out.write_all(bytes).map_err(ArchiveError::Stream)
    }
}

fn is_gone(error: &io::Error) -> bool {
    let gone = [Errno::NOENT, Errno::LOOP, Errno::NOTDIR, Errno::NXIO];
    gone.iter()
        .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

fn with_xattrs(
    stat: &Stat,
    open: BorrowedFd<'_>,
    path: &[u8],
) -> Result<InodeAttributes, ArchiveError> {
    Ok(InodeAttributes {
        xattrs: xattrs(open).on_disk("read the attributes of", path)?,
        ..InodeAttributes::of(stat)
    })
}

/// The parts of a file that have data. If it ends with a hole, the last part is empty and at its end, as GNU tar has it.
fn parts(file: &OwnedFd, size: u64) -> io::Result<Vec<Part>> {
    let (mut parts, mut at) = (Vec::new(), 0);
    while at < size {
        let begin = match rustix::fs::seek(file, SeekFrom::Data(at)) {
            // Only a hole follows.
            Err(Errno::NXIO) => break,
            begin => begin?.min(size),
        };
        let end = rustix::fs::seek(file, SeekFrom::Hole(begin))?.min(size);
        if end > begin {
            parts.push(Part {
                at: begin,
                length: end - begin,
            });
        }
        at = end.max(begin + 1);
    }
    if parts.last().is_none_or(|last| last.at + last.length < size) {
        parts.push(Part {
            at: size,
            length: 0,
        });
    }
    Ok(parts)
}
