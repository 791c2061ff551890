//! Reads one file: where its holes are, and the chunks of what lies between them.

use std::os::fd::BorrowedFd;

use dotmesh_store::chunker::{self, MAX_CHUNK};
use dotmesh_store::file_node::FileSpine;
use dotmesh_store::grow::Grower;
use dotmesh_store::{FileContent, Kind, Object, Segment};
use rustix::fs::SeekFrom;
use rustix::io::Errno;

use super::{SealError, Walker};

const BUFFER_LENGTH: usize = 1 << 20;

/// What was read of a file and not cut yet.
#[derive(Default)]
pub(super) struct Buffer {
    bytes: Vec<u8>,
}

impl Walker<'_> {
    /// Seals the bytes of a file.
    pub(super) fn content(
        &mut self,
        file: BorrowedFd<'_>,
        size: u64,
    ) -> Result<FileContent, SealError> {
        let mut segments = Segments::default();
        let mut at = 0;
        while at < size {
            let data = match rustix::fs::seek(file, SeekFrom::Data(at)) {
                // No data from here to the end.
                Err(Errno::NXIO) => size,
                result => result.map_err(self.failed("read"))?.min(size),
            };
            if data > at {
                self.progress.add_done(data - at);
                segments.push(Segment::Hole { length: data - at });
            }
            if data == size {
                break;
            }
            let hole = rustix::fs::seek(file, SeekFrom::Hole(data)).map_err(self.failed("read"))?;
            let end = hole.min(size);
            if end <= data {
                return Err(SealError::Changed { path: self.here() });
            }
            self.data(file, data, end, &mut segments)?;
            at = end;
        }
        self.finish(segments)
    }

    /// Cuts one range of data into chunks.
    fn data(
        &mut self,
        file: BorrowedFd<'_>,
        start: u64,
        end: u64,
        segments: &mut Segments,
    ) -> Result<(), SealError> {
        let mut bytes = std::mem::take(&mut self.buffer.bytes);
        bytes.resize(BUFFER_LENGTH, 0);
        // The buffer holds `filled` bytes, of which those before `cut` are done with.
        let (mut position, mut filled, mut cut) = (start, 0, 0);
        loop {
            let last = position == end;
            while cut < filled && (last || filled - cut >= MAX_CHUNK) {
                let length = chunker::cut(&bytes[cut..filled]);
                let chunk = Object::new(Kind::Chunk, bytes[cut..cut + length].to_vec());
                let length_stated = u32::try_from(length).expect("a chunk has at most 64 KiB");
                segments.push(Segment::Data {
                    hash: chunk.hash(),
                    length: length_stated,
                });
                self.output.put(chunk)?;
                self.progress.add_done(length as u64);
                cut += length;
            }
            if last {
                break;
            }
            bytes.copy_within(cut..filled, 0);
            filled -= cut;
            cut = 0;
            let room = usize::try_from(end - position)
                .unwrap_or(usize::MAX)
                .min(BUFFER_LENGTH - filled);
            let into = &mut bytes[filled..filled + room];
            let read = rustix::io::pread(file, into, position).map_err(self.failed("read"))?;
            if read == 0 {
                return Err(SealError::Changed { path: self.here() });
            }
            filled += read;
            position += read as u64;
            segments
                .nodes
                .take_complete()
                .into_iter()
                .try_for_each(|node| self.output.put(node))?;
        }
        self.buffer.bytes = bytes;
        Ok(())
    }

    fn finish(&mut self, segments: Segments) -> Result<FileContent, SealError> {
        match (segments.count, segments.first) {
            (0, _) | (_, None) => Ok(FileContent::Empty),
            (1, Some(Segment::Data { hash, .. })) => Ok(FileContent::Chunk(hash)),
            (1, Some(Segment::Hole { .. })) => Ok(FileContent::Hole),
            _ => {
                let (top, nodes) = segments.nodes.finish();
                nodes
                    .into_iter()
                    .try_for_each(|node| self.output.put(node))?;
                Ok(FileContent::Node(top))
            }
        }
    }
}

/// The segments of a file so far.
#[derive(Default)]
struct Segments {
    count: u64,
    first: Option<Segment>,
    nodes: Grower<FileSpine>,
}

impl Segments {
    fn push(&mut self, segment: Segment) {
        self.count += 1;
        self.first.get_or_insert(segment);
        self.nodes.push(segment);
    }
}
