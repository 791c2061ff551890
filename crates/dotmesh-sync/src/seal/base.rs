//! Reads the tree of the base: pages by hash, entries of directories, and inodes by path.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use dotmesh_model::ObjectHash;
use dotmesh_store::tree::MAX_DEPTH;
use dotmesh_store::{Entry, EntryValue, Inode, InodeKind, Kind, Root, TreePage, object_hash};

use super::{PageCache, SealError};
use crate::limits;

/// The number of directories whose entries are remembered.
const REMEMBERED: usize = 64;

/// Reads the pages of one tree.
#[derive(Clone)]
pub(super) struct BaseTree {
    cache: Arc<dyn PageCache>,
    root: Root,
    remembered: Arc<Mutex<HashMap<ObjectHash, Arc<Directory>>>>,
}

/// A directory of the base.
pub(super) struct Directory {
    /// Sorted by name.
    pub(super) entries: Vec<Entry>,
    /// The hashes of the tree pages that list the entries.
    pub(super) pages: HashSet<ObjectHash>,
}

impl Directory {
    pub(super) fn find(&self, name: &[u8]) -> Option<&EntryValue> {
        let at = self
            .entries
            .binary_search_by(|entry| entry.name.as_bytes().cmp(name));
        at.ok().map(|at| &self.entries[at].value)
    }
}

impl BaseTree {
    pub(super) fn open(cache: Arc<dyn PageCache>, root: ObjectHash) -> Result<Self, SealError> {
        let bytes = fetch(&*cache, Kind::Root, &[root])?
            .remove(&root)
            .ok_or(SealError::BaseMissing { hash: root })?;
        let decoded = Root::decode(&bytes);
        let decoded = decoded.map_err(|source| SealError::BaseMalformed { hash: root, source })?;
        Ok(Self {
            cache,
            root: decoded,
            remembered: Arc::default(),
        })
    }

    pub(super) fn root(&self) -> &Root {
        &self.root
    }

    /// Returns those of these file pages that the cache has. The first of them must be there.
    pub(super) fn file_pages(
        &self,
        hashes: &[ObjectHash],
    ) -> Result<HashMap<ObjectHash, Bytes>, SealError> {
        fetch(&*self.cache, Kind::FilePage, hashes)
    }

    /// The entries of the directory with this top page.
    pub(super) fn directory(&self, tree: ObjectHash) -> Result<Arc<Directory>, SealError> {
        if let Some(known) = self.lock().get(&tree) {
            return Ok(Arc::clone(known));
        }
        let mut directory = Directory {
            entries: Vec::new(),
            pages: HashSet::new(),
        };
        let mut level = vec![tree];
        while !level.is_empty() {
            let pages = fetch(&*self.cache, Kind::TreePage, &level)?;
            let mut below = Vec::new();
            for hash in level {
                let bytes = pages.get(&hash).ok_or(SealError::BaseMissing { hash })?;
                directory.pages.insert(hash);
                match TreePage::decode(bytes) {
                    Ok(TreePage::Leaf(entries)) => directory.entries.extend(entries),
                    Ok(TreePage::Inner { children, .. }) => {
                        below.extend(children.iter().map(|child| child.hash));
                    }
                    Err(source) => return Err(SealError::BaseMalformed { hash, source }),
                }
            }
            level = below;
        }
        let directory = Arc::new(directory);
        let mut remembered = self.lock();
        if remembered.len() >= REMEMBERED {
            remembered.clear();
        }
        remembered.insert(tree, Arc::clone(&directory));
        Ok(directory)
    }

    /// Whether every pool can hold the tree.
    pub(super) fn is_within_limits(&self) -> Result<bool, SealError> {
        let within = limits::exceeded(&self.root.attributes, None).is_none();
        Ok(within
            && self
                .height(self.root.tree, MAX_DEPTH, &limits::can_be_held)?
                .is_some())
    }

    /// The number of nested directories in a directory, with the directory itself. Returns `None` if it is above
    /// `most`, or if the entries of a directory are not `accepted`.
    pub(super) fn height(
        &self,
        tree: ObjectHash,
        most: usize,
        accepted: &impl Fn(&[Entry]) -> bool,
    ) -> Result<Option<usize>, SealError> {
        let directory = self.directory(tree)?;
        if most == 0 || !accepted(&directory.entries) {
            return Ok(None);
        }
        let mut below = 0;
        for entry in &directory.entries {
            if let EntryValue::Inode(Inode {
                kind: InodeKind::Directory { tree },
                ..
            }) = entry.value
            {
                match self.height(tree, most - 1, accepted)? {
                    Some(height) => below = below.max(height),
                    None => return Ok(None),
                }
            }
        }
        Ok(Some(below + 1))
    }

    /// The inode at a path. A hard link leads to the file.
    pub(super) fn find(&self, path: &[u8]) -> Result<Option<Inode>, SealError> {
        match self.value_at(path)? {
            Some(EntryValue::HardLink { first }) => Ok(match self.value_at(&first)? {
                Some(EntryValue::Inode(inode)) => Some(inode),
                _ => None,
            }),
            Some(EntryValue::Inode(inode)) => Ok(Some(inode)),
            None => Ok(None),
        }
    }

    fn value_at(&self, path: &[u8]) -> Result<Option<EntryValue>, SealError> {
        let mut tree = self.root.tree;
        let mut names = path.split(|byte| *byte == b'/').peekable();
        while let Some(name) = names.next() {
            let directory = self.directory(tree)?;
            let value = directory.find(name);
            if names.peek().is_none() {
                return Ok(value.cloned());
            }
            match value {
                Some(EntryValue::Inode(Inode {
                    kind: InodeKind::Directory { tree: below },
                    ..
                })) => tree = *below,
                _ => return Ok(None),
            }
        }
        Ok(None)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<ObjectHash, Arc<Directory>>> {
        self.remembered
            .lock()
            .expect("nothing panics while it holds the lock")
    }
}

/// Reads pages from the cache. A page that does not match its hash counts as missing, so damage of the cache never gets
/// into a commit.
fn fetch(
    cache: &dyn PageCache,
    kind: Kind,
    hashes: &[ObjectHash],
) -> Result<HashMap<ObjectHash, Bytes>, SealError> {
    let found: HashMap<ObjectHash, Bytes> = cache
        .get(hashes)
        .into_iter()
        .filter(|(hash, bytes)| object_hash(kind, bytes) == *hash)
        .collect();
    match hashes.first() {
        Some(hash) if !found.contains_key(hash) => Err(SealError::BaseMissing { hash: *hash }),
        _ => Ok(found),
    }
}
