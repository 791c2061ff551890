//! Pushes commits: seals them, and at the same time sends the hub the objects that it does not have.
//!
//! If all of a push fits into a bundle, one request does it. The objects are new against commits that the hub has, so it
//! need not be asked first.
//!
//! Any other push collects objects in batches, and asks the hub once for each batch which objects it needs. The missing objects
//! go into packs. Several batches and packs are always in progress, so neither the disk nor the network waits. Dropping
//! a push stops everything. The next push does not send again what the hub has acknowledged.

use std::collections::HashSet;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use dotmesh_api::bundle::MAX_BUNDLE_LENGTH;
use dotmesh_api::hub::{BranchUpdate, FinishUpload, SealedCommit, Upload};
use dotmesh_api::{Bundle, ClientError, ErrorCode, HubClient};
use dotmesh_model::{DotIdentity, DotName, ObjectHash};
use dotmesh_store::polite::{Yielder, politely};
use dotmesh_store::{Effort, Frame, FrameEncoder, Object, PackWriter};
use tokio::task::JoinSet;

use crate::limits::Limits;
use crate::objects::{Fresh, Like, ObjectSink};
use crate::progress::Progress;
use crate::rate::Rate;
use crate::retry::{HubRequestError, LONG, retry, retry_for};
use crate::seal::{PageCache, SealError, Sealed, SealedBase, seal_within};

/// The bytes of objects that end a batch. The hub is asked about one batch at once.
const BATCH_LENGTH: usize = 4 << 20;

/// The number of objects that ends a batch, if it is still shorter than [`BATCH_LENGTH`].
const BATCH_OBJECTS: usize = 4096;

/// The length that ends a pack, in bytes. A complete pack is sent.
const PACK_LENGTH: usize = 8 << 20;

/// The uncompressed bytes of objects that end a pack, if it is still shorter than [`PACK_LENGTH`]. This limit gives the
/// hub its first work early, and leaves little work for the end of the push.
const PACK_CONTENT: usize = 32 << 20;

/// The memory reserved for a pack. The last frame may exceed [`PACK_LENGTH`]. Reserved pages that are not written take
/// no memory.
const PACK_ROOM: usize = PACK_LENGTH + (64 << 10);

/// The number of batches that the hub is asked about at the same time.
const ASKING: usize = 4;

/// The number of packs that are sent at the same time. Together they have fewer bytes than the largest allowed pack.
const SENDING: usize = 3;

/// The number of objects that are remembered as processed, so that the hub is not asked again.
const REMEMBERED: usize = 1 << 19;

/// A push in progress.
pub struct Push {
    target: PushTarget,
    /// The upload that is begun with the first batch or at the end.
    upload: Option<Arc<Upload>>,
    /// The upload of a push in one request.
    at_once: Option<Upload>,
    deltas: bool,
    remembered: HashSet<ObjectHash>,
    batch: Vec<Fresh>,
    batch_length: usize,
    asking: JoinSet<Result<Vec<Frame>, HubRequestError>>,
    pack: PackWriter,
    /// The uncompressed bytes of the objects in the pack.
    content: usize,
    sending: JoinSet<Result<(), HubRequestError>>,
}

/// Whether a push failed because the hub does not have a delta base. The caller then pushes without deltas.
pub fn is_about_deltas(error: &HubRequestError) -> bool {
    error.step == SEND && is_about_objects(error)
}

/// Whether the hub lacks objects, or found that some are not as they should be.
fn is_about_objects(error: &HubRequestError) -> bool {
    let code = match &error.source {
        ClientError::Refused(refusal) => Some(refusal.code),
        _ => None,
    };
    matches!(code, Some(ErrorCode::Incomplete | ErrorCode::Corrupt))
}

const SEND: &str = "send a pack";

const FINISH: &str = "finish a push";

impl Push {
    /// Prepares a push. With `deltas`, it sends objects as deltas if that is smaller. `at_once` is an upload with a random
    /// id, if the hub takes bundles.
    pub fn new(
        hub: &HubClient,
        dot: &DotName,
        rate: &Arc<Rate>,
        progress: &Arc<Progress>,
        deltas: bool,
        at_once: Option<Upload>,
    ) -> Self {
        let target = PushTarget {
            hub: hub.clone(),
            dot: dot.clone(),
            rate: Arc::clone(rate),
            progress: Arc::clone(progress),
            under_way: Arc::default(),
        };
        Self {
            target,
            upload: None,
            at_once,
            deltas,
            remembered: HashSet::new(),
            batch: Vec::new(),
            batch_length: 0,
            asking: JoinSet::new(),
            pack: PackWriter::with_room(PACK_ROOM),
            content: 0,
            sending: JoinSet::new(),
        }
    }

    /// Seals a commit's data and sends the objects that the hub does not have. With a base, it reads only what has
    /// changed since. The base must be on the hub, or must have been sent before.
    pub async fn send(
        &mut self,
        data: &Path,
        base: Option<SealedBase>,
        cache: &Arc<dyn PageCache>,
    ) -> Result<Sealed, SealError> {
        self.send_within(Limits::EveryPool, data, base, cache).await
    }

    /// Like [`Self::send`], with other limits.
    pub async fn send_within(
        &mut self,
        limits: Limits,
        data: &Path,
        base: Option<SealedBase>,
        cache: &Arc<dyn PageCache>,
    ) -> Result<Sealed, SealError> {
        let progress = Arc::clone(&self.target.progress);
        let cache = Some(Arc::clone(cache));
        if base.is_some() {
            match seal_within(limits, data, base, cache.clone(), self, &progress).await {
                Err(error) if error.is_about_base() => {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(error, "sealing all of a commit");
                }
                sealed => return sealed,
            }
        }
        seal_within(limits, data, None, cache, self, &progress).await
    }

    /// Waits until the hub has everything, then makes the commits visible, oldest first, and updates the branches.
    /// Returns the identity of the dot, if the hub returns one.
    pub async fn finish(
        mut self,
        commits: Vec<SealedCommit>,
        branches: Vec<BranchUpdate>,
    ) -> Result<Option<DotIdentity>, HubRequestError> {
        let finish = FinishUpload { commits, branches };
        // Without an upload, no batch was sent yet.
        if self.upload.is_none()
            && let Some(upload) = self.at_once.take()
            && let Some(bundle) = self.bundle(&finish).await
        {
            match self.target.push_at_once(&upload, bundle).await {
                // Another push has to say what the hub lacks, or whether deltas are to blame.
                Err(error) if is_about_objects(&error) => {
                    tracing::info!(error = %error.source, "pushing step by step");
                }
                finished => return finished,
            }
        }
        self.drain().await?;
        self.target.progress.start_phase("finishing");
        let upload = self.upload().await?;
        self.target.finish(&upload, &finish).await
    }

    /// The push as a bundle, if it is small enough. No object in it is the delta base of another one.
    async fn bundle(&self, finish: &FinishUpload) -> Option<Bytes> {
        let batch = self.batch.clone();
        let hashes: HashSet<ObjectHash> = batch.iter().map(|fresh| fresh.object.hash()).collect();
        let encoded = self.target.encode(batch, hashes, self.deltas).await;
        self.target.under_way().clear();
        let mut pack = PackWriter::default();
        for frame in &encoded.frames {
            pack.push(frame);
        }
        let bundle = Bundle::new(pack.finish(), finish).ok()?.encode();
        let is_small = bundle.len() <= self.target.rate.step(MAX_BUNDLE_LENGTH);
        is_small.then(|| {
            encoded.count(&self.target.progress);
            bundle
        })
    }

    /// Returns the upload, which the first call begins.
    async fn upload(&mut self) -> Result<Arc<Upload>, HubRequestError> {
        if let Some(upload) = &self.upload {
            return Ok(Arc::clone(upload));
        }
        let PushTarget {
            hub, dot, progress, ..
        } = &self.target;
        let upload = retry(progress, "begin a push", || hub.begin_upload(dot)).await?;
        Ok(Arc::clone(self.upload.insert(Arc::new(upload))))
    }

    async fn drain(&mut self) -> Result<(), HubRequestError> {
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
        Ok(())
    }

    async fn end_batch(&mut self) -> Result<(), HubRequestError> {
        while self.asking.len() >= ASKING {
            self.take_answer().await?;
        }
        let upload = self.upload().await?;
        self.batch_length = 0;
        let batch = std::mem::take(&mut self.batch);
        let asked = self.target.clone().ask(upload, batch, self.deltas);
        self.asking.spawn(asked);
        Ok(())
    }

    /// Waits for the answer about one batch, and puts the missing objects into packs.
    async fn take_answer(&mut self) -> Result<(), HubRequestError> {
        let Some(frames) = join_next(&mut self.asking).await? else {
            return Ok(());
        };
        let most = self.target.rate.step(PACK_LENGTH);
        for frame in frames {
            self.pack.push(&frame);
            self.content += frame.raw_length();
            if self.pack.len() >= most || self.content >= PACK_CONTENT {
                self.end_pack().await?;
            }
        }
        Ok(())
    }

    async fn end_pack(&mut self) -> Result<(), HubRequestError> {
        while self.sending.len() >= SENDING {
            join_next(&mut self.sending).await?;
        }
        let upload = self.upload().await?;
        self.content = 0;
        let next = PackWriter::with_room(PACK_ROOM);
        let pack = std::mem::replace(&mut self.pack, next).finish();
        self.sending.spawn(self.target.clone().send(upload, pack));
        Ok(())
    }
}

impl ObjectSink for Push {
    async fn put(&mut self, objects: Vec<Fresh>) -> Result<(), HubRequestError> {
        for fresh in objects {
            if self.remembered.len() == REMEMBERED {
                self.remembered.clear();
            }
            let length = fresh.object.bytes().len();
            if !self.remembered.insert(fresh.object.hash()) {
                self.target.progress.add_deduplicated(length as u64);
                continue;
            }
            self.batch_length += length;
            self.batch.push(fresh);
            if self.batch_length >= BATCH_LENGTH || self.batch.len() >= BATCH_OBJECTS {
                self.end_batch().await?;
            }
        }
        Ok(())
    }
}

/// Frames of the objects that are sent, with the numbers of bytes for the progress.
struct Encoded {
    frames: Vec<Frame>,
    compressed: u64,
    deduplicated: u64,
}

impl Encoded {
    fn count(&self, progress: &Progress) {
        progress.add_deduplicated(self.deduplicated);
        progress.add_compressed(self.compressed);
    }
}

/// Where a push goes.
#[derive(Clone)]
struct PushTarget {
    hub: HubClient,
    dot: DotName,
    rate: Arc<Rate>,
    progress: Arc<Progress>,
    /// The objects that the hub has not acknowledged yet. They must not be delta bases.
    under_way: Arc<Mutex<HashSet<ObjectHash>>>,
}

impl PushTarget {
    /// Asks which objects of a batch are missing, and encodes those.
    async fn ask(
        self,
        upload: Arc<Upload>,
        batch: Vec<Fresh>,
        deltas: bool,
    ) -> Result<Vec<Frame>, HubRequestError> {
        let hashes: Vec<_> = batch.iter().map(|fresh| fresh.object.hash()).collect();
        let missing = retry(&self.progress, "ask the hub what it has", || {
            self.hub.missing(&self.dot, &upload, &hashes)
        });
        let missing: HashSet<ObjectHash> = missing.await?.into_iter().collect();
        let asked = (hashes.len() + missing.len()) * ObjectHash::LENGTH;
        self.progress.add_wire(asked as u64);
        let encoded = self.encode(batch, missing, deltas).await;
        encoded.count(&self.progress);
        Ok(encoded.frames)
    }

    /// Encodes the missing objects of a batch. They are under way from here on.
    async fn encode(
        &self,
        batch: Vec<Fresh>,
        missing: HashSet<ObjectHash>,
        deltas: bool,
    ) -> Encoded {
        self.under_way().extend(&missing);
        let target = self.clone();
        let encoding = tokio::task::spawn_blocking(move || {
            politely(|| target.encode_missing(batch, &missing, deltas))
        });
        encoding
            .await
            .unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
    }

    fn encode_missing(
        &self,
        batch: Vec<Fresh>,
        missing: &HashSet<ObjectHash>,
        deltas: bool,
    ) -> Encoded {
        let (mut sent, mut deduplicated) = (0, 0);
        let mut wanted: Vec<(Object, Option<Like>)> = Vec::with_capacity(missing.len());
        for Fresh { object, like } in batch {
            let length = object.bytes().len() as u64;
            if missing.contains(&object.hash()) {
                sent += length;
                let like = like.filter(|like| deltas && !self.under_way().contains(&like.hash()));
                wanted.push((object, like));
            } else {
                deduplicated += length;
            }
        }
        let effort = match self.rate.is_limited() {
            true => Effort::Small,
            false => Effort::Fast,
        };
        let (mut new, mut changed) = (FrameEncoder::new(effort), FrameEncoder::new(Effort::Small));
        let mut yielder = Yielder::default();
        let frames: Vec<Frame> = wanted
            .iter()
            .map(|(object, like)| {
                yielder.yield_if_due();
                match like {
                    Some(Like::Page(page)) => changed.encode_against(object, page),
                    Some(like @ Like::Chunk { hash, skew, .. }) => match like.read(object) {
                        Some(bytes) => changed.encode_over(object, *hash, &bytes, *skew),
                        None => changed.encode(object),
                    },
                    None => new.encode(object),
                }
            })
            .collect();
        let stored: u64 = frames.iter().map(|frame| frame.stored().len() as u64).sum();
        Encoded {
            frames,
            compressed: sent.saturating_sub(stored),
            deduplicated,
        }
    }

    async fn send(self, upload: Arc<Upload>, pack: Bytes) -> Result<(), HubRequestError> {
        self.rate.spend(pack.len()).await;
        retry(&self.progress, SEND, || {
            self.hub.send_pack(&self.dot, &upload, pack.clone())
        })
        .await?;
        self.progress.add_wire(pack.len() as u64);
        let mut under_way = self.under_way();
        for frame in dotmesh_store::PackReader::new(pack)
            .into_iter()
            .flatten()
            .flatten()
        {
            under_way.remove(&frame.hash());
        }
        Ok(())
    }

    fn under_way(&self) -> std::sync::MutexGuard<'_, HashSet<ObjectHash>> {
        self.under_way
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Finishes the upload. If the same request is repeated, the hub gives the first answer again.
    async fn finish(
        &self,
        upload: &Upload,
        finish: &FinishUpload,
    ) -> Result<Option<DotIdentity>, HubRequestError> {
        retry_for(&self.progress, FINISH, LONG, || {
            self.hub.finish_upload(&self.dot, upload, finish)
        })
        .await
    }

    /// Makes the whole push. If the same request is repeated, the hub gives the first answer again.
    async fn push_at_once(
        &self,
        upload: &Upload,
        bundle: Bytes,
    ) -> Result<Option<DotIdentity>, HubRequestError> {
        self.rate.spend(bundle.len()).await;
        let pushed = retry_for(&self.progress, FINISH, LONG, || {
            self.hub.push_bundle(&self.dot, upload, bundle.clone())
        });
        let identity = pushed.await?;
        self.progress.add_wire(bundle.len() as u64);
        Ok(identity)
    }
}

/// Waits for the next result of a set. Its tasks are aborted only when the set is dropped, so no task was cancelled
/// here.
async fn join_next<T: 'static>(
    set: &mut JoinSet<Result<T, HubRequestError>>,
) -> Result<Option<T>, HubRequestError> {
    match set.join_next().await {
        None => Ok(None),
        Some(Ok(result)) => result.map(Some),
        Some(Err(error)) => std::panic::resume_unwind(error.into_panic()),
    }
}
