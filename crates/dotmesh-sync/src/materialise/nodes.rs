//! The nodes of directories and of files' lists: fetched once, several requests at a time, and kept in a file
//! without a name, since those of a large tree would fill the memory.

use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use dotmesh_model::ObjectHash;
use dotmesh_store::{FileNode, InvalidNode, Kind, Object, TreeNode};
use futures::{StreamExt as _, TryStreamExt as _};
use rustix::fs::{Mode, OFlags};

use super::MaterialiseError;
use crate::disk::{self, DiskError};
use crate::objects::{FetchError, ObjectSource};

/// How many nodes are fetched with one request,
const NODES: usize = 256;

/// and how many requests are under way at a time.
const REQUESTS: usize = 4;

/// So many bytes of nodes are kept. It is some eighty for each file, and two for each thousand of its bytes.
const MAX_LENGTH: u64 = 16 << 30;

/// Where a node is in the file.
struct Place {
    kind: Kind,
    offset: u64,
    length: usize,
}

pub(super) struct Nodes {
    file: OwnedFd,
    length: u64,
    places: HashMap<ObjectHash, Place>,
}

impl Nodes {
    /// The file is made in a directory and is never seen there.
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

    /// The file, which was made like any other.
    pub(super) fn file(&self) -> &OwnedFd {
        &self.file
    }

    /// Whether a node was fetched.
    pub(super) fn has(&self, hash: ObjectHash) -> bool {
        self.places.contains_key(&hash)
    }

    /// Fetches those that are not here.
    pub(super) async fn fetch<S: ObjectSource>(
        &mut self,
        source: &Arc<S>,
        kind: Kind,
        mut hashes: Vec<ObjectHash>,
    ) -> Result<(), MaterialiseError> {
        hashes.retain(|hash| !self.has(*hash));
        hashes.sort_unstable();
        hashes.dedup();
        let requests = hashes.chunks(NODES).map(<[_]>::to_vec);
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

    /// A node of a directory that was fetched.
    pub(super) fn tree(&self, hash: ObjectHash) -> Result<TreeNode, MaterialiseError> {
        self.read(Kind::TreeNode, hash, TreeNode::decode)
    }

    /// A node of a file's list that was fetched.
    pub(super) fn list(&self, hash: ObjectHash) -> Result<FileNode, MaterialiseError> {
        self.read(Kind::FileNode, hash, FileNode::decode)
    }

    fn read<T>(
        &self,
        kind: Kind,
        hash: ObjectHash,
        decode: impl FnOnce(&[u8]) -> Result<T, InvalidNode>,
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
