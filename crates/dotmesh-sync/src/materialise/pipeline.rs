//! Passes steps to the threads that carry them out. It collects steps in batches, finds or fetches the chunks of
//! several batches at the same time, and sends the complete batches.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use dotmesh_model::ObjectHash;
use dotmesh_store::{Attributes, EntryName, Inode, Kind, Segment};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::task::AbortOnDropHandle;

use super::MaterialiseError;
use super::apply::{self, Site};
use super::content::Edit;
use super::directory::{Directory, Place};
use super::file::{File, Part};
use super::local;
use super::shared::Found;
use crate::objects::ObjectSource;

/// The bytes of chunks that end a batch.
const BATCH_LENGTH: usize = 4 << 20;

/// The number of chunks that ends a batch.
const BATCH_CHUNKS: usize = 4096;

/// The number of steps that ends a batch.
const BATCH_STEPS: usize = 4096;

/// The number of batches whose chunks are fetched at the same time.
const FETCHING: usize = 4;

/// A step of a thread. Threads may carry out the steps of one pass in any order.
#[derive(Debug)]
pub(super) enum Step {
    /// Removes a name and everything below it.
    Remove {
        directory: Arc<Directory>,
        name: EntryName,
    },
    /// Makes a directory.
    Make { directory: Arc<Directory> },
    /// Makes a symlink or fifo, or sets the attributes of an existing one.
    Special {
        directory: Arc<Directory>,
        name: EntryName,
        place: Place,
        inode: Inode,
    },
    /// Writes some ranges of a file.
    Write(Part),
    /// Adds a name for a file.
    Link {
        directory: Arc<Directory>,
        name: EntryName,
        first: Box<[u8]>,
    },
    /// Sets the attributes of a directory.
    SetAttributes {
        directory: Arc<Directory>,
        attributes: Attributes,
    },
}

/// Steps, and all chunks that they write.
pub(super) struct Batch {
    pub(super) steps: Vec<Step>,
    pub(super) chunks: HashMap<ObjectHash, Bytes>,
}

pub(super) struct Pipeline<S> {
    source: Arc<S>,
    site: Arc<Site>,
    steps: Vec<Step>,
    lengths: HashMap<ObjectHash, u32>,
    length: usize,
    /// The chunks that later batches may need too, and then take from this one.
    claimed: HashSet<ObjectHash>,
    fetching: VecDeque<AbortOnDropHandle<Result<Batch, MaterialiseError>>>,
    sender: Option<mpsc::Sender<Batch>>,
    threads: Vec<JoinHandle<Result<(), MaterialiseError>>>,
}

impl<S: ObjectSource> Pipeline<S> {
    /// Starts the threads.
    pub(super) fn new(source: &Arc<S>, site: &Arc<Site>, threads: usize) -> Self {
        let (sender, receiver) = mpsc::channel(1);
        let receiver = Arc::new(Mutex::new(receiver));
        let threads = (0..threads).map(|_| {
            let (site, receiver) = (Arc::clone(site), Arc::clone(&receiver));
            tokio::task::spawn_blocking(move || apply::run(&site, &receiver))
        });
        Self {
            source: Arc::clone(source),
            site: Arc::clone(site),
            steps: Vec::new(),
            lengths: HashMap::new(),
            length: 0,
            claimed: HashSet::new(),
            fetching: VecDeque::new(),
            sender: Some(sender),
            threads: threads.collect(),
        }
    }

    /// Adds a step that writes no bytes.
    pub(super) async fn push(&mut self, step: Step) -> Result<(), MaterialiseError> {
        self.steps.push(step);
        self.end_full_batch().await
    }

    /// Adds some edits of a file, as one or more steps.
    pub(super) async fn write(
        &mut self,
        file: &Arc<File>,
        edits: Vec<Edit>,
        is_last: bool,
    ) -> Result<(), MaterialiseError> {
        let mut here = Vec::new();
        for edit in edits {
            if let Segment::Data { hash, length } = edit.segment {
                match self.lengths.insert(hash, length) {
                    None => {
                        self.length += usize::try_from(length).expect("a chunk has at most 64 KiB");
                        if self.site.shared.claim(hash) {
                            self.claimed.insert(hash);
                        }
                    }
                    Some(other) if other != length => {
                        return Err(MaterialiseError::Inconsistent { hash });
                    }
                    Some(_) => {}
                }
            }
            here.push(edit);
            if self.is_full() {
                let part = Part::new(file, std::mem::take(&mut here), false);
                self.push(Step::Write(part)).await?;
            }
        }
        if is_last || !here.is_empty() {
            self.push(Step::Write(Part::new(file, here, is_last)))
                .await?;
        }
        Ok(())
    }

    /// Passes on the remaining steps, unless planning failed, and waits until all are carried out.
    pub(super) async fn finish(
        mut self,
        planned: Result<(), MaterialiseError>,
    ) -> Result<(), MaterialiseError> {
        let handed_over = match planned {
            Ok(()) => self.hand_over_all().await,
            planned => planned,
        };
        self.sender = None;
        // If a thread failed, the others and the sender fail with `Stopped`. This keeps the error that caused it.
        let mut all = handed_over;
        for thread in self.threads.drain(..) {
            let result = thread
                .await
                .unwrap_or_else(|error| match error.try_into_panic() {
                    Ok(panic) => std::panic::resume_unwind(panic),
                    Err(_) => Err(MaterialiseError::Stopped),
                });
            all = match (all, result) {
                (Ok(()), result) => result,
                (Err(MaterialiseError::Stopped), Err(error)) => Err(error),
                (all, _) => all,
            };
        }
        all
    }

    async fn hand_over_all(&mut self) -> Result<(), MaterialiseError> {
        self.end_batch().await?;
        while !self.fetching.is_empty() {
            self.hand_over().await?;
        }
        Ok(())
    }

    fn is_full(&self) -> bool {
        self.length >= BATCH_LENGTH || self.lengths.len() >= BATCH_CHUNKS
    }

    async fn end_full_batch(&mut self) -> Result<(), MaterialiseError> {
        if self.is_full() || self.steps.len() >= BATCH_STEPS {
            self.end_batch().await?;
        }
        Ok(())
    }

    async fn end_batch(&mut self) -> Result<(), MaterialiseError> {
        if self.fetching.len() >= FETCHING {
            self.hand_over().await?;
        }
        self.length = 0;
        let steps = std::mem::take(&mut self.steps);
        self.lengths.clear();
        let claimed = std::mem::take(&mut self.claimed);
        let fill = fill(
            Arc::clone(&self.source),
            Arc::clone(&self.site),
            steps,
            claimed,
        );
        self.fetching
            .push_back(AbortOnDropHandle::new(tokio::spawn(fill)));
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
        let sender = self.sender.as_ref().ok_or(MaterialiseError::Stopped)?;
        sender
            .send(batch)
            .await
            .map_err(|_| MaterialiseError::Stopped)
    }
}

/// Finds the chunks that some steps need: on this machine, in earlier batches, or at the source.
async fn fill<S: ObjectSource>(
    source: Arc<S>,
    site: Arc<Site>,
    steps: Vec<Step>,
    claimed: HashSet<ObjectHash>,
) -> Result<Batch, MaterialiseError> {
    let mut batch = Batch {
        steps,
        chunks: HashMap::new(),
    };
    if site.resumed || !site.local.is_empty() {
        let site = Arc::clone(&site);
        batch = blocking(move || local::look(&site, batch)).await?;
    }
    let (own, others): (Vec<_>, Vec<_>) = batch
        .missing()
        .into_iter()
        .partition(|(hash, _)| claimed.contains(hash) || !site.shared.repeats(*hash));
    batch.fetch(&source, &own).await?;
    site.shared.give(&claimed, &batch.chunks);

    let (mut written, mut nowhere) = (Vec::new(), Vec::new());
    for (hash, length) in others {
        match site.shared.find(hash).await {
            Found::Here(bytes) => batch.add(hash, length, bytes)?,
            Found::Written(place) => written.push((hash, length, place)),
            Found::Nowhere => nowhere.push((hash, length)),
        }
    }
    if !written.is_empty() {
        let wanted: Vec<_> = written
            .iter()
            .map(|(hash, length, _)| (*hash, *length))
            .collect();
        let site = Arc::clone(&site);
        batch
            .chunks
            .extend(blocking(move || site.shared.read(&written)).await);
        let lost = wanted.into_iter();
        nowhere.extend(lost.filter(|(hash, _)| !batch.chunks.contains_key(hash)));
    }
    batch.fetch(&source, &nowhere).await?;
    Ok(batch)
}

impl Batch {
    /// The missing chunks, each once, in the order of the files. The hub most likely stores them in this order.
    fn missing(&self) -> Vec<(ObjectHash, u32)> {
        let mut missing = Vec::new();
        let mut met = HashSet::new();
        for step in &self.steps {
            let Step::Write(part) = step else {
                continue;
            };
            for edit in &part.edits {
                if let Segment::Data { hash, length } = edit.segment
                    && !self.chunks.contains_key(&hash)
                    && met.insert(hash)
                {
                    missing.push((hash, length));
                }
            }
        }
        missing
    }

    async fn fetch<S: ObjectSource>(
        &mut self,
        source: &Arc<S>,
        chunks: &[(ObjectHash, u32)],
    ) -> Result<(), MaterialiseError> {
        if chunks.is_empty() {
            return Ok(());
        }
        let hashes: Vec<ObjectHash> = chunks.iter().map(|(hash, _)| *hash).collect();
        self.chunks.reserve(hashes.len());
        let objects = source.fetch(Kind::Chunk, &hashes).await?;
        for (object, (hash, length)) in objects.into_iter().zip(chunks) {
            self.add(*hash, *length, object.into_bytes())?;
        }
        Ok(())
    }

    /// Adds a chunk. A page may have stated another length.
    fn add(&mut self, hash: ObjectHash, length: u32, bytes: Bytes) -> Result<(), MaterialiseError> {
        if length as usize != bytes.len() {
            return Err(MaterialiseError::Inconsistent { hash });
        }
        self.chunks.insert(hash, bytes);
        Ok(())
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
}
