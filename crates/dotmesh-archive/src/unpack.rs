//! Reads an archive from anybody into a folder. No entry gets out of the folder, whatever names and links the archive has.

use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::attributes::InodeAttributes;
use crate::counters::Counters;
use crate::error::{ArchiveError, OnDisk as _};
use crate::pack::Omitted;
use crate::reader::{Entry, Kind, MAX_NAME, Reader};
use crate::sparse::Part;

/// The size of a write, in bytes.
const PIECE: usize = 256 << 10;

/// The most memory for folders whose attributes are set at the end, in bytes.
const MAX_FOLDERS: usize = 256 << 20;

/// Whose rights the files get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rights {
    /// The archive's owners, with all attributes. This needs root.
    All,
    /// The caller's, without set-id bits.
    Own,
}

/// Reads an archive into a folder. Returns the entries that it left out: devices.
pub fn unpack(
    archive: impl Read,
    folder: BorrowedFd<'_>,
    rights: Rights,
    counters: &Counters,
) -> Result<Omitted, ArchiveError> {
    let mut unpack = Unpack {
        reader: Reader::new(archive),
        root: folder.try_clone_to_owned().on_disk("open", b".")?,
        owners: rights == Rights::All,
        counters,
        buffer: vec![0; PIECE],
        folders: Vec::new(),
        memory: 0,
        parent: None,
        left_out: Omitted::default(),
    };
    while let Some(entry) = unpack.reader.next()? {
        unpack.entry(entry)?;
        counters.add_entry()?;
    }
    unpack.finish_folders()?;
    Ok(unpack.left_out)
}

struct Unpack<'a, R> {
    reader: Reader<R>,
    root: OwnedFd,
    owners: bool,
    counters: &'a Counters,
    buffer: Vec<u8>,
    /// The folders so far. Their attributes are set when nothing more is written to them.
    folders: Vec<(Vec<u8>, InodeAttributes)>,
    memory: usize,
    /// The folder of the last entry.
    parent: Option<(Vec<u8>, OwnedFd)>,
    left_out: Omitted,
}

impl<R: Read> Unpack<'_, R> {
    fn entry(&mut self, entry: Entry) -> Result<(), ArchiveError> {
        let path = clean(&entry.name)?;
        let attributes = entry.attributes;
        if entry.kind == Kind::Device {
            self.left_out.note(&path);
            return Ok(());
        }
        let Some((parent, name)) = split(&path) else {
            return match entry.kind {
                Kind::Folder => self.remember(path, attributes),
                _ => Err(ArchiveError::refused(&entry.name, "it has no name")),
            };
        };
        self.open_parent(parent)?;
        let at = self.at();
        match entry.kind {
            Kind::Folder => {
                match rustix::fs::mkdirat(at, name, Mode::RWXU) {
                    Err(Errno::EXIST) if is_folder(at, name) => {}
                    Err(Errno::EXIST) => {
                        remove_file(at, name, &path)?;
                        rustix::fs::mkdirat(at, name, Mode::RWXU).on_disk("create", &path)?;
                    }
                    made => made.on_disk("create", &path)?,
                }
                self.remember(path, attributes)?;
            }
            Kind::File { size, parts } => self.file(name, &path, size, &parts, &attributes)?,
            Kind::Symlink(target) => {
                if target.is_empty() || target.len() > MAX_NAME || target.contains(&0) {
                    return Err(ArchiveError::refused(&path, "its target is no path"));
                }
                remove_file(at, name, &path)?;
                rustix::fs::symlinkat(&*target, at, name).on_disk("create", &path)?;
                let done = attributes.apply_to_link(at, name, self.owners);
                done.on_disk("set the attributes of", &path)?;
            }
            Kind::HardLink(target) => {
                let target = clean(&target)?;
                let no_file =
                    || ArchiveError::refused(&path, "it is a link to no file of the archive");
                let (folder, first) = split(&target).ok_or_else(no_file)?;
                let folder = open_below(self.root.as_fd(), folder).map_err(|_| no_file())?;
                if target == path {
                    return Ok(());
                }
                if is_folder(folder.as_fd(), first) {
                    return Err(no_file());
                }
                remove_file(at, name, &path)?;
                match rustix::fs::linkat(&folder, first, at, name, AtFlags::empty()) {
                    Err(Errno::NOENT) => return Err(no_file()),
                    done => done.on_disk("link", &path)?,
                }
            }
            Kind::Fifo => {
                remove_file(at, name, &path)?;
                rustix::fs::mknodat(at, name, FileType::Fifo, Mode::RUSR, 0)
                    .on_disk("create", &path)?;
                let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
                let fifo =
                    rustix::fs::openat(at, name, flags, Mode::empty()).on_disk("open", &path)?;
                let done = attributes.apply(fifo.as_fd(), self.owners);
                done.on_disk("set the attributes of", &path)?;
            }
            Kind::Device => {}
        }
        Ok(())
    }

    fn at(&self) -> BorrowedFd<'_> {
        let parent = self.parent.as_ref().map(|(_, folder)| folder);
        parent.unwrap_or(&self.root).as_fd()
    }

    /// Opens the folder that the next entry is in, and creates it if no entry did.
    fn open_parent(&mut self, path: &[u8]) -> Result<(), ArchiveError> {
        if self.parent.as_ref().is_some_and(|(open, _)| open == path) {
            return Ok(());
        }
        let folder = match open_below(self.root.as_fd(), path) {
            Err(Errno::NOENT) => {
                self.create_parents(path)?;
                open_below(self.root.as_fd(), path)
            }
            opened => opened,
        };
        let folder = match folder {
            Err(Errno::LOOP | Errno::NOTDIR | Errno::XDEV) => {
                return Err(ArchiveError::refused(
                    path,
                    "it leads through something that is no folder",
                ));
            }
            opened => opened.on_disk("open", path)?,
        };
        self.parent = Some((path.to_vec(), folder));
        Ok(())
    }

    fn create_parents(&self, path: &[u8]) -> Result<(), ArchiveError> {
        let ends = path
            .iter()
            .enumerate()
            .filter(|(_, byte)| **byte == b'/')
            .map(|(at, _)| at);
        for end in ends.chain([path.len()]) {
            let Some((above, name)) = split(&path[..end]) else {
                continue;
            };
            let above = match open_below(self.root.as_fd(), above) {
                Err(Errno::LOOP | Errno::NOTDIR) => {
                    return Err(ArchiveError::refused(
                        path,
                        "it leads through something that is no folder",
                    ));
                }
                opened => opened.on_disk("open", path)?,
            };
            match rustix::fs::mkdirat(&above, name, Mode::from_raw_mode(0o755)) {
                Err(Errno::EXIST) => {}
                made => made.on_disk("create", path)?,
            }
        }
        Ok(())
    }

    fn file(
        &mut self,
        name: &[u8],
        path: &[u8],
        size: u64,
        parts: &[Part],
        attributes: &InodeAttributes,
    ) -> Result<(), ArchiveError> {
        let at = self.at();
        remove_file(at, name, path)?;
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR;
        let file = rustix::fs::openat(at, name, flags, mode).on_disk("create", path)?;
        for part in parts {
            let (mut at, mut left) = (part.at, part.length);
            while left > 0 {
                let count = usize::try_from(left).unwrap_or(usize::MAX).min(PIECE);
                self.reader.read(&mut self.buffer[..count])?;
                let mut written = 0;
                while written < count {
                    match rustix::io::pwrite(
                        &file,
                        &self.buffer[written..count],
                        at + written as u64,
                    ) {
                        Err(Errno::INTR) => {}
                        done => written += done.on_disk("write", path)?,
                    }
                }
                self.counters.add_bytes(count)?;
                at += count as u64;
                left -= count as u64;
            }
        }
        rustix::fs::ftruncate(&file, size).on_disk("write", path)?;
        let done = attributes.apply(file.as_fd(), self.owners);
        done.on_disk("set the attributes of", path)
    }

    fn remember(&mut self, path: Vec<u8>, attributes: InodeAttributes) -> Result<(), ArchiveError> {
        let xattrs = attributes.xattrs.iter();
        self.memory += path.len() + 128;
        self.memory += xattrs
            .map(|one| one.name.len() + one.value.len() + 64)
            .sum::<usize>();
        if self.memory > MAX_FOLDERS {
            return Err(ArchiveError::malformed("it has too many folders"));
        }
        self.folders.push((path, attributes));
        Ok(())
    }

    /// Sets the attributes of folders, the last one first, so that each is still open to its caller.
    fn finish_folders(&mut self) -> Result<(), ArchiveError> {
        for (path, attributes) in std::mem::take(&mut self.folders).into_iter().rev() {
            let folder = match open_below(self.root.as_fd(), &path) {
                // A later entry replaced it, or has closed it to the caller already.
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => continue,
                Err(Errno::ACCESS) if !self.owners => continue,
                opened => opened.on_disk("open", &path)?,
            };
            let done = attributes.apply(folder.as_fd(), self.owners);
            done.on_disk("set the attributes of", &path)?;
        }
        Ok(())
    }
}

/// The names of a path, joined again. Refuses a path that leads out of the folder.
fn clean(path: &[u8]) -> Result<Vec<u8>, ArchiveError> {
    if path.contains(&0) {
        return Err(ArchiveError::refused(path, "its name has a zero byte"));
    }
    let mut names = Vec::new();
    for name in path.split(|byte| *byte == b'/') {
        match name {
            b"" | b"." => {}
            b".." => return Err(ArchiveError::refused(path, "it leads out of the folder")),
            name => names.push(name),
        }
    }
    let joined = names.join(&b'/');
    if joined.len() > MAX_NAME {
        return Err(ArchiveError::refused(path, "its name is too long"));
    }
    Ok(joined)
}

/// The parent and the last name. `None` for the folder itself.
fn split(path: &[u8]) -> Option<(&[u8], &[u8])> {
    if path.is_empty() {
        return None;
    }
    Some(match path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (b"", path),
    })
}

/// Opens a folder below another one, and follows no link.
fn open_below(root: BorrowedFd<'_>, path: &[u8]) -> Result<OwnedFd, Errno> {
    let path = if path.is_empty() { b"." } else { path };
    let flags = OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let beneath = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    rustix::fs::openat2(root, path, flags, Mode::empty(), beneath)
}

fn is_folder(at: BorrowedFd<'_>, name: &[u8]) -> bool {
    let stat = rustix::fs::statat(at, name, AtFlags::SYMLINK_NOFOLLOW);
    stat.is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
}

/// Removes what an earlier entry of the same name made. A folder stays, and then the new entry fails.
fn remove_file(at: BorrowedFd<'_>, name: &[u8], path: &[u8]) -> Result<(), ArchiveError> {
    match rustix::fs::unlinkat(at, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT | Errno::ISDIR) => Ok(()),
        Err(error) => Err(io::Error::from(error)).on_disk("replace", path),
    }
}
