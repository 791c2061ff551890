//! Fetches tree pages and file pages, each once, with several requests at a time. Keeps them in a file without a name,
//! because the pages of a large tree would fill the memory.

use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use dotmesh_model::ObjectHash;
use dotmesh_store::{FilePage, InvalidObject, Kind, Object, TreePage};
use futures::{StreamExt as _, TryStreamExt as _};
use rustix::fs::{Mode, OFlags};

use super::MaterialiseError;
use crate::disk::{self, DiskError};
use crate::objects::{FetchError, ObjectSource};

/// The number of pages that are fetched with one request.
const PAGES: usize = 256;

/// The number of requests at the same time.
const REQUESTS: usize = 4;

/// The most bytes of pages that are kept. Each file needs about 80 bytes, and 2 more for each 1000 bytes of its
/// content.
const MAX_LENGTH: u64 = 16 << 30;

/// The position of a page in the file.
struct Place {
    kind: Kind,
    offset: u64,
    length: usize,
}

pub(super) struct Pages {
    file: OwnedFd,
    length: u64,
    places: HashMap<ObjectHash, Place>,
}

impl Pages {
    /// Makes the file in a directory. No name in the directory leads to it.
    pub(super) fn new_in(directory: impl AsFd) -> Result<Self, DiskError> {
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        let file = rustix::fs::openat(directory, ".", flags, Mode::from_raw_mode(0o777))
            .map_err(|errno| DiskError::new("create a temporary file in", b"", errno))?;
        Ok(Self {
            file,
            length: 0,
            places: HashMap::new(),
        })
    }

    /// The file. It was created like any other file of the directory.
    pub(super) fn file(&self) -> &OwnedFd {
        &self.file
    }

    /// Whether a page was fetched.
    pub(super) fn has(&self, hash: ObjectHash) -> bool {
        self.places.contains_key(&hash)
    }

    /// Fetches the pages that are not here yet.
    pub(super) async fn fetch<S: ObjectSource>(
        &mut self,
        source: &Arc<S>,
        kind: Kind,
        mut hashes: Vec<ObjectHash>,
    ) -> Result<(), MaterialiseError> {
        hashes.retain(|hash| !self.has(*hash));
        hashes.sort_unstable();
        hashes.dedup();
        let requests = hashes.chunks(PAGES).map(<[_]>::to_vec);
        let mut answers = futures::stream::iter(requests)
            .map(|request| {
                let source = Arc::clone(source);
                async move { source.fetch(kind, &request).await }
            })
            .buffer_unordered(REQUESTS);
        while let Some(objects) = answers.try_next().await? {
            for object in objects {
                self.keep(&object)?;
            }
        }
        Ok(())
    }

    fn keep(&mut self, object: &Object) -> Result<(), MaterialiseError> {
        let bytes = object.bytes();
        let place = Place {
            kind: object.kind(),
            offset: self.length,
            length: bytes.len(),
        };
        self.length += bytes.len() as u64;
        if self.length > MAX_LENGTH {
            return Err(MaterialiseError::TooManyEntries);
        }
        disk::write_all(self.file.as_fd(), bytes, place.offset)
            .map_err(|errno| DiskError::new("write a temporary file in", b"", errno))?;
        self.places.insert(object.hash(), place);
        Ok(())
    }

    /// Reads a fetched tree page.
    pub(super) fn tree(&self, hash: ObjectHash) -> Result<TreePage, MaterialiseError> {
        self.read(Kind::TreePage, hash, TreePage::decode)
    }

    /// Reads a fetched file page.
    pub(super) fn list(&self, hash: ObjectHash) -> Result<FilePage, MaterialiseError> {
        self.read(Kind::FilePage, hash, FilePage::decode)
    }

    fn read<T>(
        &self,
        kind: Kind,
        hash: ObjectHash,
        decode: impl FnOnce(&[u8]) -> Result<T, InvalidObject>,
    ) -> Result<T, MaterialiseError> {
        let place = self.places.get(&hash).ok_or(FetchError::Missing { hash })?;
        if place.kind != kind {
            return Err(FetchError::WrongKind { hash }.into());
        }
        let mut bytes = vec![0; place.length];
        disk::read_exact(self.file.as_fd(), &mut bytes, place.offset)
            .map_err(|errno| DiskError::new("read a temporary file in", b"", errno))?;
        decode(&bytes).map_err(|source| MaterialiseError::Malformed { hash, source })
    }
}
