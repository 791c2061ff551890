//! Streams a folder or a whole commit as a tar archive, which all current tar programs can unpack.
//!
//! The format is POSIX 2001 (pax). Long names, fractions of seconds, large sizes and extended attributes do not fit
//! into the fixed fields. They are in a record before the entry.

use std::collections::HashMap;

use bytes::{Bytes, BytesMut};
use dotmesh_archive::{END, EntryKind, header, padding};
use dotmesh_model::ObjectHash;
use dotmesh_store::{Attributes, Entry, EntryName, EntryValue, FileContent, Inode, InodeKind};
use futures::{Stream, TryStreamExt as _, stream};
use tokio::sync::mpsc;

use crate::content::FileBytes;
use crate::entries::Leaves;
use crate::{ReadError, TreeError, TreePath, TreeReader, TreeSource};

/// Output is collected into parts of at least this size, in bytes.
const PART_LENGTH: usize = 64 << 10;

/// The approximate size of the small files that are read together, in bytes.
const TOGETHER_LENGTH: u64 = 1 << 20;

/// The most files whose first name is outside the archive and whose place in it is remembered. Beyond it, the archive
/// contains a file's bytes once for each of its names.
const MAX_REMEMBERED: usize = 100_000;

/// Why an archive ends early.
enum Stop<E> {
    /// The client has gone.
    Gone,
    Failed(ReadError<E>),
}

impl<E> From<ReadError<E>> for Stop<E> {
    fn from(error: ReadError<E>) -> Self {
        Self::Failed(error)
    }
}

impl<E> From<TreeError> for Stop<E> {
    fn from(error: TreeError) -> Self {
        Self::Failed(error.into())
    }
}

impl<S: TreeSource> TreeReader<S> {
    /// Streams the entry at a path as an archive, in which it has the name `top`. If the first name of a hard-linked
    /// file is outside the archive, the file's first name inside it has the bytes.
    pub fn archive(
        &self,
        root: ObjectHash,
        path: TreePath,
        top: EntryName,
    ) -> impl Stream<Item = Result<Bytes, ReadError<S::Error>>> + Send + use<S> {
        let (sender, mut taken) = mpsc::channel(1);
        let reader = self.clone();
        tokio::spawn(async move {
            let mut archive = Archive {
                reader,
                root,
                top: TreePath::from(top),
                path,
                out: BytesMut::new(),
                sender,
                elsewhere: HashMap::new(),
                small: HashMap::new(),
            };
            if let Err(Stop::Failed(error)) = archive.write().await {
                // If the client has gone, the error is not needed.
                let _ = archive.sender.send(Err(error)).await;
            }
        });
        stream::poll_fn(move |context| taken.poll_recv(context))
    }
}

/// A folder that is being written.
struct Open<S> {
    path: TreePath,
    leaves: Leaves<S>,
    entries: std::vec::IntoIter<Entry>,
}

struct Archive<S: TreeSource> {
    reader: TreeReader<S>,
    root: ObjectHash,
    /// The path in the commit. `top` is its name in the archive.
    path: TreePath,
    top: TreePath,
    out: BytesMut,
    sender: mpsc::Sender<Result<Bytes, ReadError<S::Error>>>,
    /// Files whose first name is outside the archive, each with its first path inside it.
    elsewhere: HashMap<TreePath, TreePath>,
    /// Chunks of the next small files.
    small: HashMap<ObjectHash, Bytes>,
}

impl<S: TreeSource> Archive<S> {
    async fn write(&mut self) -> Result<(), Stop<S::Error>> {
        let found = self.reader.entry_at(self.root, &self.path).await?;
        let path = self.path.clone();
        let mut open = Vec::new();
        open.extend(self.inode(&path, &found.inode).await?);
        while let Some(folder) = open.last_mut() {
            let Some(entry) = folder.entries.next() else {
                match folder.leaves.next().await? {
                    Some(entries) => {
                        folder.entries = entries.into_iter();
                        self.small.clear();
                    }
                    None => {
                        open.pop();
                    }
                }
                continue;
            };
            let path = folder.path.join(&entry.name);
            self.read_ahead(&entry, folder.entries.as_slice()).await?;
            let below = match entry.value {
                EntryValue::Inode(inode) => self.inode(&path, &inode).await?,
                EntryValue::HardLink { first } => {
                    self.link(&path, TreePath::from_bytes(&first)?).await?;
                    None
                }
            };
            open.extend(below);
        }
        self.out.extend_from_slice(&END);
        self.send().await
    }

    /// Writes an entry, with the bytes of a file. Returns the folder to continue in, if the entry is a folder.
    async fn inode(
        &mut self,
        path: &TreePath,
        inode: &Inode,
    ) -> Result<Option<Open<S>>, Stop<S::Error>> {
        let attributes = &inode.attributes;
        match &inode.kind {
            InodeKind::File { size, content } => {
                let file = FileBytes {
                    size: *size,
                    content: *content,
                };
                self.file(path, attributes, file).await?;
            }
            InodeKind::Directory { tree } => {
                self.header(path, EntryKind::Folder, attributes).await?;
                return Ok(Some(Open {
                    path: path.clone(),
                    leaves: Leaves::new(&self.reader, *tree, 0),
                    entries: Vec::new().into_iter(),
                }));
            }
            InodeKind::Symlink { target } => {
                self.header(path, EntryKind::Symlink(target), attributes)
                    .await?;
            }
            InodeKind::Fifo => self.header(path, EntryKind::Fifo, attributes).await?,
        }
        Ok(None)
    }

    async fn file(
        &mut self,
        path: &TreePath,
        attributes: &Attributes,
        file: FileBytes,
    ) -> Result<(), Stop<S::Error>> {
        self.header(path, EntryKind::File(file.size), attributes)
            .await?;
        let small = match file.content {
            FileContent::Chunk(hash) => self.small.get(&hash).cloned(),
            _ => None,
        };
        match small {
            Some(bytes) if bytes.len() as u64 == file.size => self.push(&bytes).await?,
            _ => {
                let mut parts = std::pin::pin!(self.reader.content(file, 0..file.size));
                while let Some(part) = parts.try_next().await? {
                    self.push(&part).await?;
                }
            }
        }
        self.push(padding(file.size)).await
    }

    async fn link(&mut self, path: &TreePath, first: TreePath) -> Result<(), Stop<S::Error>> {
        let known = match first.below(&self.path) {
            // In a consistent tree, the walk has written this name already.
            Some(_) if first < *path => Some(first.clone()),
            Some(_) => return Err(TreeError::Inconsistent { hash: self.root }.into()),
            None => self.elsewhere.get(&first).cloned(),
        };
        if let Some(known) = known {
            let target = self.name(&known);
            let kind = EntryKind::HardLink(&target);
            return self.header(path, kind, &Attributes::default()).await;
        }
        let found = self.reader.entry_at(self.root, &first).await?;
        if FileBytes::of(&found.inode).is_none() || found.first.is_some() {
            return Err(TreeError::Inconsistent { hash: self.root }.into());
        }
        if self.elsewhere.len() < MAX_REMEMBERED {
            self.elsewhere.insert(first, path.clone());
        }
        self.inode(path, &found.inode).await?;
        Ok(())
    }

    /// If the entry is a small file whose chunk is not in memory, reads its chunk and those of the entries after it.
    async fn read_ahead(
        &mut self,
        entry: &Entry,
        after: &[Entry],
    ) -> Result<(), ReadError<S::Error>> {
        let chunk = |entry: &Entry| match &entry.value {
            EntryValue::Inode(Inode {
                kind:
                    InodeKind::File {
                        size,
                        content: FileContent::Chunk(hash),
                    },
                ..
            }) => Some((*size, *hash)),
            _ => None,
        };
        if chunk(entry).is_none_or(|(_, hash)| self.small.contains_key(&hash)) {
            return Ok(());
        }
        let mut length = 0;
        let wanted: Vec<ObjectHash> = std::iter::once(entry)
            .chain(after)
            .filter_map(chunk)
            .take_while(|(size, _)| {
                let fits = length < TOGETHER_LENGTH;
                length += size;
                fits
            })
            .map(|(_, hash)| hash)
            .collect();
        let chunks = self.reader.chunks(&wanted).await?;
        self.small = wanted.into_iter().zip(chunks).collect();
        Ok(())
    }

    /// Returns the name in the archive of a path in the commit.
    fn name(&self, path: &TreePath) -> Vec<u8> {
        let below = path.below(&self.path).unwrap_or_default();
        let names = below.names().iter();
        names
            .fold(self.top.clone(), |path, name| path.join(name))
            .to_bytes()
    }

    async fn header(
        &mut self,
        path: &TreePath,
        kind: EntryKind<'_>,
        attributes: &Attributes,
    ) -> Result<(), Stop<S::Error>> {
        let header = header(self.name(path), kind, &for_archive(attributes));
        self.push(&header).await
    }

    async fn push(&mut self, bytes: &[u8]) -> Result<(), Stop<S::Error>> {
        self.out.extend_from_slice(bytes);
        if self.out.len() >= PART_LENGTH {
            self.send().await?;
        }
        Ok(())
    }

    async fn send(&mut self) -> Result<(), Stop<S::Error>> {
        let part = self.out.split().freeze();
        self.sender.send(Ok(part)).await.map_err(|_| Stop::Gone)
    }
}

/// The attributes as an archive has them.
fn for_archive(attributes: &Attributes) -> dotmesh_archive::InodeAttributes {
    let xattrs = attributes
        .xattrs
        .iter()
        .map(|one| dotmesh_archive::ExtendedAttribute {
            name: one.name.to_vec(),
            value: one.value.to_vec(),
        });
    dotmesh_archive::InodeAttributes {
        mode: attributes.mode,
        uid: attributes.uid,
        gid: attributes.gid,
        mtime: dotmesh_archive::Time {
            seconds: attributes.mtime.seconds,
            nanoseconds: attributes.mtime.nanoseconds,
        },
        xattrs: xattrs.collect(),
    }
}
