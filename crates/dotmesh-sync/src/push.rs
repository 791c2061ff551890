//! Pushing: seals commits and sends the hub what it does not have, while it is still reading.
//!
//! Objects are gathered into batches, the hub is asked once for each batch which of them it needs, and
//! those go into packs. Some batches and packs are under way at any time, so that neither the disk nor the
//! network waits. Dropping the future stops everything.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use dotmesh_api::hub::{BranchUpdate, FinishUpload, SealedCommit, Upload};
use dotmesh_api::{ClientError, HubClient};
use dotmesh_model::commit::InvalidRecord;
use dotmesh_model::{CommitRecord, DotName, ObjectHash};
use dotmesh_store::{Frame, FrameEncoder, Object, PackWriter, seal};
use tokio::task::JoinSet;

use crate::disk::DiskError;
use crate::objects::ObjectSink;
use crate::progress::Progress;
use crate::retry::{HubError, retry};
use crate::seal::{SealError, measure, seal_directory};

/// The hub is asked about this many bytes of objects at once,
const BATCH_LENGTH: usize = 8 << 20;

/// or about so many objects.
const BATCH_OBJECTS: usize = 4096;

/// A pack is sent when it has this many bytes.
const PACK_LENGTH: usize = 8 << 20;

/// How many batches the hub is asked about at a time.
const ASKING: usize = 2;

/// How many packs are sent at a time.
const SENDING: usize = 3;

/// How many objects are remembered as dealt with, so that the hub is not asked again.
const REMEMBERED: usize = 1 << 19;

/// A commit that the hub does not have.
#[derive(Debug, Clone)]
pub struct CommitToPush {
    /// The record's bytes as they were first written.
    pub record: Vec<u8>,
    /// Its snapshot, which does not change.
    pub data: PathBuf,
}

/// Why a push failed. Nothing became visible on the hub.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    /// A snapshot could not be sealed, or its objects not be sent.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// A snapshot could not be read.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The hub did not do its part.
    #[error(transparent)]
    Hub(#[from] HubError),
    /// A commit's record cannot be read.
    #[error("a commit to push has a record that cannot be read")]
    BadRecord(#[from] InvalidRecord),
}

/// Pushes commits, oldest first, and moves branches. `parent_seal` is the seal of the first commit's parent.
///
/// Returns the commits with their seals, for the caller to keep.
pub async fn push(
    hub: &HubClient,
    dot: &DotName,
    commits: &[CommitToPush],
    parent_seal: ObjectHash,
    branches: Vec<BranchUpdate>,
    progress: &Arc<Progress>,
) -> Result<Vec<SealedCommit>, PushError> {
    progress.start_phase("measuring");
    if let Some(newest) = commits.last() {
        // A commit is much like the one before it: good enough for a bar.
        progress.add_total(
            measure(&newest.data)
                .await?
                .saturating_mul(commits.len() as u64),
        );
    }
    let upload = retry("begin a push", |_| hub.begin_upload(dot)).await?;
    let target = Target {
        hub: hub.clone(),
        dot: dot.clone(),
        upload: Arc::new(upload),
        progress: Arc::clone(progress),
    };
    progress.start_phase("sending");
    let mut pusher = Pusher::new(target);
    let mut sealed = Vec::with_capacity(commits.len());
    let mut parent_seal = parent_seal;
    for commit in commits {
        let record = text(&commit.record)?;
        let root = seal_directory(&commit.data, &mut pusher, progress).await?;
        parent_seal = seal(parent_seal, record.as_bytes(), root);
        sealed.push(SealedCommit {
            seal: parent_seal,
            root,
            record,
        });
    }
    let target = pusher.finish().await?;
    progress.start_phase("finishing");
    target
        .finish(FinishUpload {
            commits: sealed.clone(),
            branches,
        })
        .await?;
    Ok(sealed)
}

fn text(record: &[u8]) -> Result<String, InvalidRecord> {
    CommitRecord::decode(record)?;
    Ok(String::from_utf8(record.to_vec()).expect("what was decoded as JSON is UTF-8"))
}

/// The upload that a push is.
#[derive(Clone)]
struct Target {
    hub: HubClient,
    dot: DotName,
    upload: Arc<Upload>,
    progress: Arc<Progress>,
}

impl Target {
    /// Asks which objects of a batch are missing, and compresses those.
    async fn ask(self, batch: Vec<Object>) -> Result<Vec<Frame>, HubError> {
        let hashes: Vec<_> = batch.iter().map(Object::hash).collect();
        let missing = retry("ask the hub what it has", |_| {
            self.hub.missing(&self.dot, &self.upload, &hashes)
        });
        let missing: HashSet<ObjectHash> = missing.await?.into_iter().collect();
        let asked = (hashes.len() + missing.len()) * ObjectHash::LENGTH;
        self.progress.add_wire(asked as u64);
        let frames = tokio::task::spawn_blocking(move || {
            let mut encoder = FrameEncoder::default();
            batch
                .iter()
                .filter(|object| missing.contains(&object.hash()))
                .map(|object| encoder.encode(object))
                .collect()
        });
        Ok(frames
            .await
            .unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic())))
    }

    async fn send(self, pack: Bytes) -> Result<(), HubError> {
        retry("send a pack", |_| {
            self.hub.send_pack(&self.dot, &self.upload, pack.clone())
        })
        .await?;
        self.progress.add_wire(pack.len() as u64);
        Ok(())
    }

    async fn finish(&self, finish: FinishUpload) -> Result<(), HubError> {
        retry("finish a push", |before| self.try_finish(&finish, before)).await
    }

    /// Finishing twice is refused, so when no answer came, the branches tell whether it was done.
    async fn try_finish(&self, finish: &FinishUpload, before: usize) -> Result<(), ClientError> {
        if before > 0 && self.is_done(finish).await? {
            return Ok(());
        }
        self.hub
            .finish_upload(&self.dot, &self.upload, finish)
            .await
    }

    async fn is_done(&self, finish: &FinishUpload) -> Result<bool, ClientError> {
        let Some(dot) = self.hub.dot(&self.dot).await? else {
            return Ok(false);
        };
        let at_new = |update: &BranchUpdate| {
            dot.branches
                .iter()
                .any(|at| at.name == update.name && at.head == update.new)
        };
        Ok(finish.branches.iter().all(at_new))
    }
}

/// Takes objects as they are made and gets them to the hub.
struct Pusher {
    target: Target,
    remembered: HashSet<ObjectHash>,
    batch: Vec<Object>,
    batch_length: usize,
    asking: JoinSet<Result<Vec<Frame>, HubError>>,
    pack: PackWriter,
    sending: JoinSet<Result<(), HubError>>,
}

impl ObjectSink for Pusher {
    async fn put(&mut self, objects: Vec<Object>) -> Result<(), HubError> {
        for object in objects {
            if self.remembered.len() == REMEMBERED {
                self.remembered.clear();
            }
            if !self.remembered.insert(object.hash()) {
                continue;
            }
            self.batch_length += object.bytes().len();
            self.batch.push(object);
            if self.batch_length >= BATCH_LENGTH || self.batch.len() >= BATCH_OBJECTS {
                self.end_batch().await?;
            }
        }
        Ok(())
    }
}

impl Pusher {
    fn new(target: Target) -> Self {
        Self {
            target,
            remembered: HashSet::new(),
            batch: Vec::new(),
            batch_length: 0,
            asking: JoinSet::new(),
            pack: PackWriter::default(),
            sending: JoinSet::new(),
        }
    }

    async fn end_batch(&mut self) -> Result<(), HubError> {
        while self.asking.len() >= ASKING {
            self.take_answer().await?;
        }
        self.batch_length = 0;
        let batch = std::mem::take(&mut self.batch);
        self.asking.spawn(self.target.clone().ask(batch));
        Ok(())
    }

    /// Waits for the answer about one batch and puts what is missing into packs.
    async fn take_answer(&mut self) -> Result<(), HubError> {
        let Some(frames) = join_next(&mut self.asking).await? else {
            return Ok(());
        };
        for frame in frames {
            self.pack.push(&frame);
            if self.pack.len() >= PACK_LENGTH {
                self.end_pack().await?;
            }
        }
        Ok(())
    }

    async fn end_pack(&mut self) -> Result<(), HubError> {
        while self.sending.len() >= SENDING {
            join_next(&mut self.sending).await?;
        }
        let pack = std::mem::take(&mut self.pack).finish();
        self.sending.spawn(self.target.clone().send(pack));
        Ok(())
    }

    /// Returns when the hub has everything.
    async fn finish(mut self) -> Result<Target, HubError> {
        if !self.batch.is_empty() {
            self.end_batch().await?;
        }
        while !self.asking.is_empty() {
            self.take_answer().await?;
        }
        if !self.pack.is_empty() {
            self.end_pack().await?;
        }
        while join_next(&mut self.sending).await?.is_some() {}
        Ok(self.target)
    }
}

/// The next result of a set; its tasks end with the set, and none is aborted before.
async fn join_next<T: 'static>(
    set: &mut JoinSet<Result<T, HubError>>,
) -> Result<Option<T>, HubError> {
    match set.join_next().await {
        None => Ok(None),
        Some(Ok(result)) => result.map(Some),
        Some(Err(error)) => std::panic::resume_unwind(error.into_panic()),
    }
}
