//! Directories: their entries, the tree of tree pages that lists them, and the root of a commit.

use dotmesh_model::ObjectHash;

use crate::attributes::{Attributes, EntryName};
use crate::chunker::MAX_CHUNK;
use crate::error::InvalidObject;
use crate::file_page::MAX_FILE_SIZE;
use crate::grow::{self, Boundary, MAX_ITEMS_LENGTH, MAX_LEVEL};
use crate::object::{Kind, MAX_OBJECT_LENGTH};
use crate::wire::{PAGE_VERSION, Reader};

/// The most nested directories, with the root.
pub const MAX_DEPTH: usize = 256;

/// The longest target of a symlink, in bytes.
pub const MAX_SYMLINK_LENGTH: usize = 4095;

/// The longest path of a hard link's first name, in bytes. No path in a tree of [`MAX_DEPTH`] is longer.
pub const MAX_PATH_LENGTH: usize = u16::MAX as usize;

/// The permission bits that every symlink has.
pub const SYMLINK_MODE: u16 = 0o777;

pub(crate) const BOUNDARY: Boundary = Boundary {
    min: 16,
    bits: 6,
    max: 256,
};

const TAG_FILE: u8 = 1;
const TAG_DIRECTORY: u8 = 2;
const TAG_SYMLINK: u8 = 3;
const TAG_FIFO: u8 = 4;
const TAG_HARD_LINK: u8 = 5;

const TAG_EMPTY: u8 = 0;
const TAG_CHUNK: u8 = 1;
const TAG_PAGE: u8 = 2;
const TAG_HOLE: u8 = 3;

/// The content of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FileContent {
    /// The file has no bytes.
    Empty,
    /// The bytes are one chunk.
    Chunk(ObjectHash),
    /// A [`crate::FilePage`] lists the bytes.
    Page(ObjectHash),
    /// The file is one hole: no byte was ever written.
    Hole,
}

/// The type of an inode.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum InodeKind {
    /// A regular file.
    File {
        /// In bytes.
        size: u64,
        /// Its bytes.
        content: FileContent,
    },
    /// A directory.
    Directory {
        /// The hash of its top [`TreePage`].
        tree: ObjectHash,
    },
    /// A symbolic link.
    Symlink {
        /// The path that it points to. No code here follows it.
        target: Box<[u8]>,
    },
    /// A named pipe.
    Fifo,
}

/// A file, directory, symlink or fifo.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Inode {
    /// Mode, owner, time and extended attributes.
    pub attributes: Attributes,
    /// The type of the inode.
    pub kind: InodeKind,
}

/// The content of an entry.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum EntryValue {
    /// An inode with this name only, or the first name of a hard-linked file.
    Inode(Inode),
    /// Another name of a regular file that the walk met before. The walk visits a directory's entries in the order of
    /// their names, and a directory's content before the next entry.
    HardLink {
        /// That file's path from the root, without a leading slash.
        first: Box<[u8]>,
    },
}

/// A name in a directory.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Entry {
    /// The name.
    pub name: EntryName,
    /// The inode or hard link.
    pub value: EntryValue,
}

/// A child page.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TreeChild {
    /// The last name in it.
    pub last: EntryName,
    /// The number of entries that it covers.
    pub count: u64,
    /// The hash of the page.
    pub hash: ObjectHash,
}

/// A tree page: a part of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TreePage {
    /// Entries, sorted by name.
    Leaf(Vec<Entry>),
    /// Pages of the level below.
    Inner {
        /// The level: 1 directly above the leaves.
        level: u8,
        /// Sorted by name.
        children: Vec<TreeChild>,
    },
}

/// The root directory of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root {
    /// The mode, owner, time and extended attributes of the directory itself.
    pub attributes: Attributes,
    /// The hash of its top [`TreePage`].
    pub tree: ObjectHash,
}

impl Root {
    /// The canonical bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![PAGE_VERSION];
        self.attributes.encode(&mut out);
        out.extend_from_slice(self.tree.as_bytes());
        out
    }

    /// Reads a root. Accepts only the canonical bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, InvalidObject> {
        let mut reader = Reader::new(bytes);
        reader.version()?;
        let root = Self {
            attributes: Attributes::decode(&mut reader)?,
            tree: reader.hash()?,
        };
        reader.finish()?;
        Ok(root)
    }
}

impl TreePage {
    /// The level: 0 for a leaf.
    pub fn level(&self) -> u8 {
        match self {
            Self::Leaf(_) => 0,
            Self::Inner { level, .. } => *level,
        }
    }

    /// The number of entries that it covers.
    pub fn count(&self) -> u64 {
        match self {
            Self::Leaf(entries) => entries.len() as u64,
            Self::Inner { children, .. } => children.iter().map(|child| child.count).sum(),
        }
    }

    /// The last name in the page, or `None` if it is empty.
    pub fn last(&self) -> Option<&EntryName> {
        match self {
            Self::Leaf(entries) => entries.last().map(|entry| &entry.name),
            Self::Inner { children, .. } => children.last().map(|child| &child.last),
        }
    }

    /// The canonical bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![PAGE_VERSION, self.level()];
        match self {
            Self::Leaf(entries) => entries.iter().for_each(|entry| entry.encode(&mut out)),
            Self::Inner { children, .. } => {
                for child in children {
                    child.last.encode(&mut out);
                    out.extend_from_slice(&child.count.to_le_bytes());
                    out.extend_from_slice(child.hash.as_bytes());
                }
            }
        }
        out
    }

    /// Reads a page. Accepts only the canonical bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, InvalidObject> {
        if bytes.len() > MAX_OBJECT_LENGTH {
            return Err(InvalidObject::TooLarge);
        }
        let mut reader = Reader::new(bytes);
        reader.version()?;
        let level = reader.u8()?;
        if level > MAX_LEVEL {
            return Err(InvalidObject::BadLevel { level });
        }
        if level == 0 {
            return decode_leaf(reader);
        }
        let mut children = Vec::new();
        let mut total: u64 = 0;
        while !reader.is_empty() {
            let last = EntryName::decode(&mut reader)?;
            let count = reader.u64()?;
            total = total
                .checked_add(count)
                .filter(|_| count > 0)
                .ok_or(InvalidObject::BadLength)?;
            children.push(TreeChild {
                last,
                count,
                hash: reader.hash()?,
            });
        }
        if !children.is_sorted_by(|a, b| a.last < b.last) {
            return Err(InvalidObject::Unsorted);
        }
        BOUNDARY.check(&children, |child| Some(name_word(&child.last)))?;
        Ok(Self::Inner { level, children })
    }
}

fn decode_leaf(mut reader: Reader<'_>) -> Result<TreePage, InvalidObject> {
    let mut entries = Vec::new();
    let length = reader.len();
    while !reader.is_empty() {
        entries.push(Entry::decode(&mut reader)?);
    }
    if length > MAX_ITEMS_LENGTH && entries.len() > 1 {
        return Err(InvalidObject::BadBoundary);
    }
    if !entries.is_sorted_by(|a: &Entry, b| a.name < b.name) {
        return Err(InvalidObject::Unsorted);
    }
    // An empty directory is one empty leaf.
    if !entries.is_empty() {
        BOUNDARY.check(&entries, |entry| Some(name_word(&entry.name)))?;
    }
    Ok(TreePage::Leaf(entries))
}

impl Entry {
    fn encode(&self, out: &mut Vec<u8>) {
        self.name.encode(out);
        let inode = match &self.value {
            EntryValue::HardLink { first } => {
                out.push(TAG_HARD_LINK);
                return encode_bytes(first, out);
            }
            EntryValue::Inode(inode) => inode,
        };
        out.push(match inode.kind {
            InodeKind::File { .. } => TAG_FILE,
            InodeKind::Directory { .. } => TAG_DIRECTORY,
            InodeKind::Symlink { .. } => TAG_SYMLINK,
            InodeKind::Fifo => TAG_FIFO,
        });
        inode.attributes.encode(out);
        match &inode.kind {
            InodeKind::File { size, content } => {
                out.extend_from_slice(&size.to_le_bytes());
                let (tag, hash) = match content {
                    FileContent::Empty => (TAG_EMPTY, None),
                    FileContent::Chunk(hash) => (TAG_CHUNK, Some(hash)),
                    FileContent::Page(hash) => (TAG_PAGE, Some(hash)),
                    FileContent::Hole => (TAG_HOLE, None),
                };
                out.push(tag);
                out.extend(hash.iter().flat_map(|hash| hash.as_bytes()));
            }
            InodeKind::Directory { tree } => out.extend_from_slice(tree.as_bytes()),
            InodeKind::Symlink { target } => encode_bytes(target, out),
            InodeKind::Fifo => {}
        }
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, InvalidObject> {
        let name = EntryName::decode(reader)?;
        let tag = reader.u8()?;
        if tag == TAG_HARD_LINK {
            let first = decode_bytes(reader, MAX_PATH_LENGTH)?;
            let mut names = first.split(|byte| *byte == b'/');
            if names.clone().count() > MAX_DEPTH || !names.all(|name| EntryName::new(name).is_ok())
            {
                return Err(InvalidObject::BadTarget);
            }
            return Ok(Self {
                name,
                value: EntryValue::HardLink { first },
            });
        }
        if !(TAG_FILE..=TAG_FIFO).contains(&tag) {
            return Err(InvalidObject::UnknownTag { tag });
        }
        let attributes = Attributes::decode(reader)?;
        let kind = match tag {
            TAG_FILE => decode_file(reader)?,
            TAG_DIRECTORY => InodeKind::Directory {
                tree: reader.hash()?,
            },
            TAG_SYMLINK => {
                if attributes.mode != SYMLINK_MODE {
                    return Err(InvalidObject::BadAttributes);
                }
                let target = decode_bytes(reader, MAX_SYMLINK_LENGTH)?;
                if target.contains(&0) {
                    return Err(InvalidObject::BadTarget);
                }
                InodeKind::Symlink { target }
            }
            _ => InodeKind::Fifo,
        };
        Ok(Self {
            name,
            value: EntryValue::Inode(Inode { attributes, kind }),
        })
    }
}

fn decode_file(reader: &mut Reader<'_>) -> Result<InodeKind, InvalidObject> {
    let size = reader.u64()?;
    let content = match reader.u8()? {
        TAG_EMPTY => FileContent::Empty,
        TAG_CHUNK => FileContent::Chunk(reader.hash()?),
        TAG_PAGE => FileContent::Page(reader.hash()?),
        TAG_HOLE => FileContent::Hole,
        tag => return Err(InvalidObject::UnknownTag { tag }),
    };
    let fits = match content {
        FileContent::Empty => size == 0,
        FileContent::Chunk(_) => (1..=MAX_CHUNK as u64).contains(&size),
        // A file page has at least two segments.
        FileContent::Page(_) => (2..=MAX_FILE_SIZE).contains(&size),
        FileContent::Hole => (1..=MAX_FILE_SIZE).contains(&size),
    };
    if fits {
        Ok(InodeKind::File { size, content })
    } else {
        Err(InvalidObject::BadLength)
    }
}

fn encode_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    let length = u16::try_from(bytes.len()).expect("link targets are shorter than 64 KiB");
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(bytes);
}

fn decode_bytes(reader: &mut Reader<'_>, max: usize) -> Result<Box<[u8]>, InvalidObject> {
    let length = usize::from(reader.u16()?);
    if length == 0 || length > max {
        return Err(InvalidObject::BadTarget);
    }
    Ok(reader.take(length)?.into())
}

/// The word of an entry or child. It depends on the name alone, so a change of content moves no boundary.
fn name_word(name: &EntryName) -> u32 {
    grow::word(ObjectHash::from_bytes(
        *blake3::hash(name.as_bytes()).as_bytes(),
    ))
}

/// How a [`grow::Grower`] builds the tree pages of a directory.
#[derive(Debug)]
pub struct TreeSpine;

impl grow::Spine for TreeSpine {
    type Leaf = Entry;
    type Child = TreeChild;
    const KIND: Kind = Kind::TreePage;
    const BOUNDARY: Boundary = BOUNDARY;

    fn leaf_word(leaf: &Entry) -> Option<u32> {
        Some(name_word(&leaf.name))
    }

    fn child_word(child: &TreeChild) -> Option<u32> {
        Some(name_word(&child.last))
    }

    fn leaf_length(leaf: &Entry) -> usize {
        let mut out = Vec::new();
        leaf.encode(&mut out);
        out.len()
    }

    fn leaf_page(leaves: Vec<Entry>) -> (Vec<u8>, impl FnOnce(ObjectHash) -> TreeChild) {
        let page = TreePage::Leaf(leaves);
        (page.encode(), child_of(&page))
    }

    fn inner_page(
        level: u8,
        children: Vec<TreeChild>,
    ) -> (Vec<u8>, impl FnOnce(ObjectHash) -> TreeChild) {
        let page = TreePage::Inner { level, children };
        (page.encode(), child_of(&page))
    }

    fn child_hash(child: &TreeChild) -> ObjectHash {
        child.hash
    }
}

fn child_of(page: &TreePage) -> impl FnOnce(ObjectHash) -> TreeChild + use<> {
    let (last, count) = (page.last().cloned(), page.count());
    move |hash| TreeChild {
        last: last.expect("only the one leaf of an empty directory has no entries"),
        count,
        hash,
    }
}
