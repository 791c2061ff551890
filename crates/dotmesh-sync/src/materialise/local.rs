//! Finds bytes that need not be fetched. Some are in the base where it differs, because content often moves from one
//! place to another. Others were written by an earlier attempt.
//!
//! Their hash is verified before they are used, like that of bytes from a hub.

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

/// The most files of the base that are remembered.
const MAX_FILES: usize = 1 << 17;

/// The most chunks of these files that are remembered. A chunk has about 16 KiB.
const MAX_CHUNKS: usize = 1 << 20;

/// The files and chunks that the base has where it differs.
#[derive(Default)]
pub(super) struct Local {
    base: Option<OwnedFd>,
    files: Vec<BaseFile>,
    /// The files by the hash of their content.
    by_content: HashMap<ObjectHash, u32>,
    /// The chunks by their hash prefix: the number of the file, and the position in it.
    chunks: HashMap<u64, (u32, u64)>,
}

struct BaseFile {
    path: Box<[u8]>,
    size: u64,
}

impl Local {
    /// Makes an empty index of the base's folder.
    pub(super) fn new(base: Option<OwnedFd>) -> Self {
        Self {
            base,
            ..Self::default()
        }
    }

    /// Whether there is a base, and room for more of its files.
    pub(super) fn has_room(&self) -> bool {
        self.base.is_some() && self.files.len() < MAX_FILES
    }

    /// Whether no file is remembered.
    pub(super) fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// Adds a file and returns its number, if there is room and the file has content. [`Self::add_chunks`] needs the
    /// number.
    pub(super) fn add_file(&mut self, path: &[u8], size: u64, content: FileContent) -> Option<u32> {
        let (FileContent::Chunk(hash) | FileContent::Page(hash)) = content else {
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

    /// Adds the chunks of a file.
    pub(super) fn add_chunks(&mut self, file: u32, segments: &[Edit]) {
        for Edit { offset, segment } in segments {
            if let Segment::Data { hash, .. } = segment
                && self.chunks.len() < MAX_CHUNKS
            {
                self.chunks.insert(beginning(*hash), (file, *offset));
            }
        }
    }

    /// Copies a file of the base that should have this content into an empty file. Returns whether it did. The caller
    /// must still verify the bytes.
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

    /// Returns a chunk, if the base has it in the remembered place.
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

/// Removes the edits of a batch whose bytes are already in their place. Reads the chunks that the base has.
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

/// Removes the edits that would change nothing, and returns them with their bytes.
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
