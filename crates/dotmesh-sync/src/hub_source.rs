//! Fetches the objects of a dot from a hub.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use dotmesh_api::hub::MAX_HASHES;
use dotmesh_api::{ClientError, ErrorCode, HubClient};
use dotmesh_model::{DotName, ObjectHash};
use dotmesh_store::chunker::AVERAGE_CHUNK;
use dotmesh_store::polite::Yielder;
use dotmesh_store::{Frame, FrameDecoder, Kind, Object, PackReader};

use crate::objects::{FetchError, ObjectSource, check_kind};
use crate::progress::Progress;
use crate::rate::Rate;
use crate::retry::{HubRequestError, retry};

/// Objects that the hub sent before they were asked for. They are verified when they are needed.
#[derive(Debug, Clone, Default)]
pub struct EarlyObjects {
    frames: HashMap<ObjectHash, Frame>,
    length: usize,
}

impl EarlyObjects {
    /// Adds the objects of a pack.
    pub fn add(&mut self, pack: Bytes) -> Result<(), FetchError> {
        self.length += pack.len();
        for frame in PackReader::new(pack)? {
            let frame = frame?;
            self.frames.insert(frame.hash(), frame);
        }
        Ok(())
    }

    /// Verifies some of the objects. Blocks.
    fn open(&self, kind: Kind, hashes: &[ObjectHash]) -> Result<Vec<Object>, FetchError> {
        let mut decoder = FrameDecoder::default();
        let mut yielder = Yielder::default();
        let mut objects = Vec::with_capacity(hashes.len());
        for frame in hashes.iter().filter_map(|hash| self.frames.get(hash)) {
            let object = decoder.object(frame)?;
            check_kind(kind, &object)?;
            objects.push(object);
            yielder.yield_if_due();
        }
        Ok(objects)
    }

    /// The bytes of all packs together.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether no pack was added.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }
}

/// The objects of one dot on one hub. They are verified on arrival.
#[derive(Debug, Clone)]
pub struct HubSource {
    early: Arc<EarlyObjects>,
    hub: HubClient,
    dot: DotName,
    rate: Arc<Rate>,
    progress: Arc<Progress>,
}

impl HubSource {
    /// Makes a source. It fetches nothing yet.
    pub fn new(hub: HubClient, dot: DotName, rate: Arc<Rate>, progress: Arc<Progress>) -> Self {
        Self {
            early: Arc::default(),
            hub,
            dot,
            rate,
            progress,
        }
    }

    /// Does not ask for these objects.
    #[must_use]
    pub fn with_early(self, early: EarlyObjects) -> Self {
        let early = Arc::new(early);
        Self { early, ..self }
    }

    /// The number of objects to request at once.
    fn most(&self) -> usize {
        (self.rate.step(MAX_HASHES * AVERAGE_CHUNK) / AVERAGE_CHUNK).max(1)
    }

    /// Sends one request. The hub returns the objects in the order of the request. To keep its answer small, it may
    /// stop early, but not before the first object.
    async fn ask(&self, hashes: &[ObjectHash]) -> Result<Bytes, HubRequestError> {
        let pack = retry(&self.progress, "fetch objects", || {
            self.hub.objects(&self.dot, hashes)
        })
        .await?;
        self.progress
            .add_wire((pack.len() + hashes.len() * ObjectHash::LENGTH) as u64);
        self.rate.spend(pack.len()).await;
        Ok(pack)
    }

    /// Asks for objects until all are here.
    async fn ask_for_all(
        &self,
        kind: Kind,
        hashes: &[ObjectHash],
    ) -> Result<Vec<Object>, FetchError> {
        let mut objects = Vec::with_capacity(hashes.len());
        let mut most = self.most();
        while let rest @ [first, ..] = &hashes[objects.len()..] {
            let asked = &rest[..rest.len().min(most)];
            let pack = match self.ask(asked).await {
                Err(HubRequestError {
                    source: ClientError::Refused(error),
                    ..
                }) if error.code == ErrorCode::TooLarge && asked.len() > 1 => {
                    most = asked.len() / 2;
                    continue;
                }
                result => result?,
            };
            let asked = asked.to_vec();
            // Decompressing and hashing megabytes would block the other tasks.
            let sent = tokio::task::spawn_blocking(move || open(pack, kind, &asked));
            let sent = sent
                .await
                .unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))?;
            if sent.is_empty() {
                return Err(FetchError::Missing { hash: *first });
            }
            objects.extend(sent);
        }
        Ok(objects)
    }
}

impl ObjectSource for HubSource {
    async fn fetch(&self, kind: Kind, hashes: &[ObjectHash]) -> Result<Vec<Object>, FetchError> {
        let is_early = |hash: &ObjectHash| self.early.frames.contains_key(hash);
        if !hashes.iter().any(is_early) {
            return self.ask_for_all(kind, hashes).await;
        }
        let (early, rest): (Vec<_>, Vec<_>) = hashes.iter().copied().partition(is_early);
        let source = Arc::clone(&self.early);
        let opening = tokio::task::spawn_blocking(move || source.open(kind, &early));
        let early = opening
            .await
            .unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))?;
        let asked = self.ask_for_all(kind, &rest).await?;
        let (mut early, mut asked) = (early.into_iter(), asked.into_iter());
        let next = |hash: &ObjectHash| match is_early(hash) {
            true => early.next(),
            false => asked.next(),
        };
        // Each of the two lists is in the order of `hashes`.
        Ok(hashes.iter().filter_map(next).collect())
    }
}

/// Verifies that a pack contains the first of the requested objects, in order, and nothing else.
fn open(pack: Bytes, kind: Kind, asked: &[ObjectHash]) -> Result<Vec<Object>, FetchError> {
    let mut objects = Vec::with_capacity(asked.len());
    let mut decoder = FrameDecoder::default();
    let mut yielder = Yielder::default();
    for frame in PackReader::new(pack)? {
        let frame = frame?;
        if asked.get(objects.len()) != Some(&frame.hash()) {
            return Err(FetchError::NotAskedFor);
        }
        let object = decoder.object(&frame)?;
        check_kind(kind, &object)?;
        objects.push(object);
        yielder.yield_if_due();
    }
    Ok(objects)
}
