//! Reads a directory's entries, one leaf page at a time, from any position.

use dotmesh_model::ObjectHash;
use dotmesh_store::{Entry, EntryName, Inode, InodeKind, TreeChild, TreePage};
use futures::{StreamExt as _, TryStreamExt as _, stream};

use crate::path::shown;
use crate::{ReadError, TreeError, TreePath, TreeReader, TreeSource};

/// Hard links that are resolved at once.
const LINKS_AT_ONCE: usize = 8;

/// A tree page, and what the page above it states about it.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    pub(crate) hash: ObjectHash,
    /// The stated level and child record. A top page has none.
    stated: Option<(u8, TreeChild)>,
}

impl Part {
    pub(crate) fn top(hash: ObjectHash) -> Self {
        Self { hash, stated: None }
    }

    /// Returns the pages below a page of this level.
    pub(crate) fn below(level: u8, children: Vec<TreeChild>) -> impl Iterator<Item = Self> {
        // A page of level 0 has no children.
        let level = level.saturating_sub(1);
        children.into_iter().map(move |child| Self {
            hash: child.hash,
            stated: Some((level, child)),
        })
    }

    /// Refuses a page that differs from what the page above states.
    pub(crate) fn check(&self, page: &TreePage) -> Result<(), TreeError> {
        let as_stated = self.stated.as_ref().is_none_or(|(level, child)| {
            page.level() == *level
                && page.last() == Some(&child.last)
                && page.count() == child.count
        });
        if as_stated {
            Ok(())
        } else {
            Err(TreeError::Inconsistent { hash: self.hash })
        }
    }

    fn count(&self) -> Option<u64> {
        self.stated.as_ref().map(|(_, child)| child.count)
    }
}

/// Refuses a leaf page whose names do not follow the last name before it. Then remembers its last name.
pub(crate) fn follow(
    last: &mut Option<EntryName>,
    leaf: &[Entry],
    hash: ObjectHash,
) -> Result<(), TreeError> {
    let (Some(first), Some(end)) = (leaf.first(), leaf.last()) else {
        return Ok(());
    };
    if last.as_ref().is_some_and(|last| *last >= first.name) {
        return Err(TreeError::Inconsistent { hash });
    }
    *last = Some(end.name.clone());
    Ok(())
}

/// The leaf pages of a directory. One is in memory at a time.
pub(crate) struct Leaves<S> {
    reader: TreeReader<S>,
    /// The pages to read, for each level in their order.
    ahead: Vec<std::vec::IntoIter<Part>>,
    /// The number of entries that are still to be skipped.
    skip: u64,
    last: Option<EntryName>,
    /// The number of the directory's entries. It is known when the top page has been read.
    total: u64,
}

impl<S: TreeSource> Leaves<S> {
    pub(crate) fn new(reader: &TreeReader<S>, tree: ObjectHash, skip: u64) -> Self {
        Self {
            reader: reader.clone(),
            ahead: vec![vec![Part::top(tree)].into_iter()],
            skip,
            last: None,
            total: 0,
        }
    }

    /// Returns the entries of the next leaf page. `None` at the end.
    pub(crate) async fn next(&mut self) -> Result<Option<Vec<Entry>>, ReadError<S::Error>> {
        while let Some(level) = self.ahead.last_mut() {
            let Some(part) = level.next() else {
                self.ahead.pop();
                continue;
            };
            if let Some(count) = part.count()
                && count <= self.skip
            {
                self.skip -= count;
                continue;
            }
            let page = self.reader.tree_page(part.hash).await?;
            part.check(&page)?;
            if part.stated.is_none() {
                self.total = page.count();
            }
            match page {
                TreePage::Inner { level, children } => {
                    let below: Vec<Part> = Part::below(level, children).collect();
                    self.ahead.push(below.into_iter());
                }
                TreePage::Leaf(mut entries) => {
                    follow(&mut self.last, &entries, part.hash)?;
                    let skipped = entries
                        .len()
                        .min(usize::try_from(self.skip).unwrap_or(usize::MAX));
                    self.skip -= skipped as u64;
                    entries.drain(..skipped);
                    if !entries.is_empty() {
                        return Ok(Some(entries));
                    }
                }
            }
        }
        Ok(None)
    }
}

/// A name in a directory, and its file.
#[derive(Debug, Clone)]
pub struct Listed {
    pub name: EntryName,
    /// The inode. For a hard link, it is the linked file's inode, or `None` if there is no such file.
    pub inode: Option<Inode>,
    /// The first path of a hard-linked file.
    pub first: Option<TreePath>,
}

impl Listed {
    /// Returns whether the entry is a folder.
    pub fn is_folder(&self) -> bool {
        self.inode.as_ref().is_some_and(is_folder)
    }

    /// Returns the kind of entry, for people and for the style sheet.
    pub fn kind(&self) -> &'static str {
        match &self.inode {
            None => "broken link",
            Some(_) if self.first.is_some() => "hard link",
            Some(inode) => kind(inode),
        }
    }

    /// Returns the name of the entry's icon.
    pub fn icon(&self) -> &'static str {
        match &self.inode {
            Some(inode) if self.first.is_none() => kind(inode),
            _ => "link",
        }
    }

    /// Returns the name, as it is shown.
    pub fn shown(&self) -> String {
        shown(self.name.as_bytes())
    }

    /// Returns the target of a symlink.
    pub fn target(&self) -> Option<String> {
        match self.inode.as_ref()?.kind {
            InodeKind::Symlink { ref target } => Some(shown(target)),
            _ => None,
        }
    }
}

fn is_folder(inode: &Inode) -> bool {
    matches!(inode.kind, InodeKind::Directory { .. })
}

/// Returns the kind of an inode.
pub fn kind(inode: &Inode) -> &'static str {
    match inode.kind {
        InodeKind::File { .. } => "file",
        InodeKind::Directory { .. } => "folder",
        InodeKind::Symlink { .. } => "symlink",
        InodeKind::Fifo => "pipe",
    }
}

/// A range of a directory's entries.
#[derive(Debug, Clone)]
pub struct DirectoryListing {
    /// The number of all entries.
    pub total: u64,
    /// The requested entries, sorted by the bytes of their names.
    pub entries: Vec<Listed>,
}

impl<S: TreeSource> TreeReader<S> {
    /// Lists a directory of the commit with this root. Skips the first `skip` entries without reading them, and returns
    /// at most `limit`.
    pub async fn list(
        &self,
        root: ObjectHash,
        tree: ObjectHash,
        skip: u64,
        limit: usize,
    ) -> Result<DirectoryListing, ReadError<S::Error>> {
        let mut leaves = Leaves::new(self, tree, skip);
        let mut entries = Vec::new();
        while entries.len() < limit
            && let Some(leaf) = leaves.next().await?
        {
            entries.extend(leaf);
        }
        entries.truncate(limit);
        let entries = stream::iter(entries)
            .map(|entry| self.listed(root, entry))
            .buffered(LINKS_AT_ONCE)
            .try_collect()
            .await?;
        Ok(DirectoryListing {
            total: leaves.total,
            entries,
        })
    }

    async fn listed(&self, root: ObjectHash, entry: Entry) -> Result<Listed, ReadError<S::Error>> {
        let (inode, first) = self.inode_of(root, entry.value).await?;
        Ok(Listed {
            name: entry.name,
            inode,
            first,
        })
    }
}
