//! Bytes that need not be fetched: those that the base has where it differs, since what goes in one place often
//! comes in another, and those that an earlier attempt wrote.
//!
//! They are used after they were hashed, like those from a hub.

use std::collections::HashMap;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use bytes::Bytes;
use dotmesh_model::ObjectHash;
use dotmesh_store::{FileContent, Kind, Segment, object_hash};
use rustix::fs::{FileType, OFlags};

use super::MaterialiseError;
use super::apply::{Site, data_in};
use super::content::Edit;
use super::file::Part;
use super::pipeline::{Batch, Step};
use crate::disk::{self, DiskError};

/// So many files of the base are known,
const MAX_FILES: usize = 1 << 17;

/// and so many of their chunks, of some 16 KiB each.
const MAX_CHUNKS: usize = 1 << 20;

/// What the base has where it differs.
#[derive(Default)]
pub(super) struct Local {
    base: Option<OwnedFd>,
    files: Vec<BaseFile>,
    /// Files by the hash of their content.
    by_content: HashMap<ObjectHash, u32>,
    /// Chunks by the beginning of their hash: in which file, and where.
    chunks: HashMap<u64, (u32, u64)>,
}

struct BaseFile {
    path: Box<[u8]>,
    size: u64,
}

impl Local {
    /// Nothing is known yet of the folder.
    pub(super) fn new(base: Option<OwnedFd>) -> Self {
        Self {
            base,
            ..Self::default()
        }
    }

    /// Whether there is a base to take from, and room to know more of it.
    pub(super) fn has_room(&self) -> bool {
        self.base.is_some() && self.files.len() < MAX_FILES
    }

    /// Whether nothing is known.
    pub(super) fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// Adds a file; its chunks are told by its number.
    pub(super) fn add_file(&mut self, path: &[u8], size: u64, content: FileContent) -> Option<u32> {
        let (FileContent::Chunk(hash) | FileContent::Node(hash)) = content else {
            return None;
        };
        if !self.has_room() {
            return None;
        }
        let index = u32::try_from(self.files.len()).ok()?;
        self.files.push(BaseFile {
            path: path.into(),
            size,
        });
        self.by_content.insert(hash, index);
        Some(index)
    }

    /// Adds what is in a file.
    pub(super) fn add_chunks(&mut self, file: u32, segments: &[Edit]) {
        for Edit { offset, segment } in segments {
            if let Segment::Data { hash, .. } = segment
                && self.chunks.len() < MAX_CHUNKS
            {
                self.chunks.insert(beginning(*hash), (file, *offset));
            }
        }
    }

    /// Makes an empty file a copy of one of the base that should have this content. Says whether it did: its
    /// bytes have to be looked at still.
    pub(super) fn copy_file(&self, content: ObjectHash, size: u64, into: BorrowedFd<'_>) -> bool {
        let Some(index) = self.by_content.get(&content) else {
            return false;
        };
        self.files[*index as usize].size == size
            && self
                .open(*index)
                .and_then(|file| disk::copy(file.as_fd(), into, size))
                .is_ok()
    }

    /// Whether [`Self::copy_file`] is worth a try.
    pub(super) fn has_content(&self, content: ObjectHash) -> bool {
        self.by_content.contains_key(&content)
    }

    fn open(&self, index: u32) -> rustix::io::Result<OwnedFd> {
        let base = self.base.as_ref().ok_or(rustix::io::Errno::NOENT)?;
        open_below(base.as_fd(), &self.files[index as usize].path)
    }

    /// A chunk, if the base has it where it should.
    fn chunk(
        &self,
        hash: ObjectHash,
        length: u32,
        open: &mut Option<(u32, OwnedFd)>,
    ) -> Option<Bytes> {
        let (index, offset) = *self.chunks.get(&beginning(hash))?;
        if open.as_ref().is_none_or(|(open, _)| *open != index) {
            *open = Some((index, self.open(index).ok()?));
        }
        let (_, file) = open.as_ref()?;
        let mut bytes = vec![0; length as usize];
        disk::read_exact(file.as_fd(), &mut bytes, offset).ok()?;
        (object_hash(Kind::Chunk, &bytes) == hash).then(|| bytes.into())
    }
}

/// Opens a regular file of a tree. No part of its path may be a symlink.
pub(super) fn open_below(root: BorrowedFd<'_>, path: &[u8]) -> rustix::io::Result<OwnedFd> {
    let (above, name) = disk::walk(root, path)?;
    let above = above.as_ref().map_or(root, |above| above.as_fd());
    let file = disk::open_file(above, name, OFlags::RDONLY)?;
    if disk::file_type(&rustix::fs::fstat(&file)?) == FileType::RegularFile {
        Ok(file)
    } else {
        Err(rustix::io::Errno::INVAL)
    }
}

fn beginning(hash: ObjectHash) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = *hash.as_bytes();
    u64::from_le_bytes([a, b, c, d, e, f, g, h])
}

/// Takes out of a batch what is at its place already, and reads the chunks that are here.
pub(super) fn look(site: &Site, mut batch: Batch) -> Result<Batch, MaterialiseError> {
    let mut cursor = site.cursor();
    let mut open = None;
    for step in &mut batch.steps {
        let Step::Write(part) = step else {
            continue;
        };
        site.check_stop()?;
        if site.resumed || part.file.same_as.is_some() {
            let file = &part.file;
            let at = cursor.enter(&file.directory)?;
            let opened = file.open(at, &site.local, site.resumed).map_err(|errno| {
                let path = file.directory.path(file.name.as_bytes());
                DiskError::new("write", &path, errno)
            })?;
            if !opened.1.is_blank {
                let present = take_present(part, opened.0.as_fd());
                for (edit, bytes) in &present {
                    if let Segment::Data { hash, .. } = edit.segment
                        && site.shared.repeats(hash)
                    {
                        batch.chunks.insert(hash, bytes.clone());
                    }
                }
                let present: Vec<Edit> = present.into_iter().map(|(edit, _)| edit).collect();
                site.shared.wrote(&part.file, &present);
                site.progress.add_done(data_in(&present));
            }
        }
        for edit in &part.edits {
            if let Segment::Data { hash, length } = edit.segment
                && !batch.chunks.contains_key(&hash)
                && let Some(bytes) = site.local.chunk(hash, length, &mut open)
            {
                batch.chunks.insert(hash, bytes);
            }
        }
    }
    Ok(batch)
}

/// Takes out the edits that would change nothing, with what is there.
fn take_present(part: &mut Part, file: BorrowedFd<'_>) -> Vec<(Edit, Bytes)> {
    let mut present = Vec::new();
    part.edits.retain(|edit| {
        let Segment::Data { hash, length } = edit.segment else {
            return true;
        };
        let mut bytes = vec![0; length as usize];
        let read = disk::read_exact(file, &mut bytes, edit.offset);
        let differs = read.is_err() || object_hash(Kind::Chunk, &bytes) != hash;
        if !differs {
            present.push((*edit, bytes.into()));
        }
        differs
    });
    present
}
