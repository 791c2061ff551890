//! From steps to the thread that takes them: gathers steps into batches, fetches the chunks of some batches
//! at a time, and hands the batches over in their order.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use dotmesh_model::ObjectHash;
use dotmesh_store::{Attributes, EntryName, Inode, Kind, Segment};
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use super::MaterialiseError;
use crate::objects::ObjectSource;

/// A batch ends when it needs this many bytes of chunks,
const BATCH_LENGTH: usize = 4 << 20;

/// or so many chunks,
const BATCH_CHUNKS: usize = 4096;

/// or has so many steps.
const BATCH_STEPS: usize = 8192;

/// How many batches are fetched at a time.
const FETCHING: usize = 4;

/// A directory that is looked into: they are numbered as their [`Step::Enter`] come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct DirectoryId(pub(super) usize);

impl DirectoryId {
    /// The top of the tree.
    pub(super) const ROOT: Self = Self(0);
}

/// What the thread does, one after the other.
#[derive(Debug)]
pub(super) enum Step {
    /// Removes a name and everything below it.
    Remove {
        directory: DirectoryId,
        name: EntryName,
    },
    /// Gives the next number to a directory.
    Enter {
        parent: DirectoryId,
        name: EntryName,
        create: bool,
    },
    /// Makes a symlink or fifo, or gives one that is there its attributes.
    Special {
        directory: DirectoryId,
        name: EntryName,
        inode: Inode,
        create: bool,
    },
    /// Begins a file; one that is there has `base_size`.
    Open {
        directory: DirectoryId,
        name: EntryName,
        size: u64,
        base_size: Option<u64>,
    },
    /// Writes a range of the file that was opened.
    Write { offset: u64, segment: Segment },
    /// Ends the file that was opened.
    Close { attributes: Attributes },
    /// Gives a file one more name.
    Link {
        directory: DirectoryId,
        name: EntryName,
        first: Box<[u8]>,
    },
    /// Gives a directory its attributes.
    SetAttributes {
        directory: DirectoryId,
        attributes: Attributes,
    },
}

/// Steps, and every chunk that they write.
pub(super) struct Batch {
    pub(super) steps: Vec<Step>,
    pub(super) chunks: HashMap<ObjectHash, Bytes>,
}

pub(super) struct Pipeline<S> {
    source: Arc<S>,
    steps: Vec<Step>,
    needed: HashMap<ObjectHash, u32>,
    length: usize,
    fetching: VecDeque<AbortOnDropHandle<Result<Batch, MaterialiseError>>>,
    sender: mpsc::Sender<Batch>,
}

impl<S: ObjectSource> Pipeline<S> {
    pub(super) fn new(source: Arc<S>, sender: mpsc::Sender<Batch>) -> Self {
        Self {
            source,
            steps: Vec::new(),
            needed: HashMap::new(),
            length: 0,
            fetching: VecDeque::new(),
            sender,
        }
    }

    /// Adds a step.
    pub(super) async fn push(&mut self, step: Step) -> Result<(), MaterialiseError> {
        if let Step::Write {
            segment: Segment::Data { hash, length },
            ..
        } = step
        {
            match self.needed.insert(hash, length) {
                None => self.length += usize::try_from(length).expect("a chunk has at most 64 KiB"),
                Some(other) if other != length => {
                    return Err(MaterialiseError::Inconsistent { hash });
                }
                Some(_) => {}
            }
        }
        self.steps.push(step);
        let full = self.length >= BATCH_LENGTH
            || self.needed.len() >= BATCH_CHUNKS
            || self.steps.len() >= BATCH_STEPS;
        if full { self.end_batch().await } else { Ok(()) }
    }

    /// Hands everything over.
    pub(super) async fn finish(&mut self) -> Result<(), MaterialiseError> {
        self.end_batch().await?;
        while !self.fetching.is_empty() {
            self.hand_over().await?;
        }
        Ok(())
    }

    async fn end_batch(&mut self) -> Result<(), MaterialiseError> {
        if self.fetching.len() >= FETCHING {
            self.hand_over().await?;
        }
        self.length = 0;
        let steps = std::mem::take(&mut self.steps);
        let needed = std::mem::take(&mut self.needed);
        let fetch = fill(Arc::clone(&self.source), steps, needed);
        self.fetching
            .push_back(AbortOnDropHandle::new(tokio::spawn(fetch)));
        Ok(())
    }

    async fn hand_over(&mut self) -> Result<(), MaterialiseError> {
        let Some(oldest) = self.fetching.pop_front() else {
            return Ok(());
        };
        let batch = match oldest.await {
            Ok(result) => result?,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        };
        self.sender
            .send(batch)
            .await
            .map_err(|_| MaterialiseError::Stopped)
    }
}

async fn fill<S: ObjectSource>(
    source: Arc<S>,
    steps: Vec<Step>,
    needed: HashMap<ObjectHash, u32>,
) -> Result<Batch, MaterialiseError> {
    let hashes: Vec<ObjectHash> = needed.keys().copied().collect();
    let objects = match hashes.is_empty() {
        true => Vec::new(),
        false => source.fetch(Kind::Chunk, &hashes).await?,
    };
    let mut chunks = HashMap::with_capacity(objects.len());
    for object in objects {
        let hash = object.hash();
        // A node may say of a chunk what is not so.
        if needed
            .get(&hash)
            .is_none_or(|length| *length as usize != object.bytes().len())
        {
            return Err(MaterialiseError::Inconsistent { hash });
        }
        chunks.insert(hash, object.into_bytes());
    }
    Ok(Batch { steps, chunks })
}
