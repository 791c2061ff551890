//! Compares directories page by page, and leaves out what both have.

use std::collections::HashSet;

use dotmesh_model::ObjectHash;
use dotmesh_store::{
    Attributes, Entry, EntryName, EntryValue, FileContent, Inode, InodeKind, TreeChild, TreePage,
};

use super::MaterialiseError;
use super::pages::Pages;

/// The top pages of a directory in the base and in the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Pair {
    pub(super) base: Option<ObjectHash>,
    pub(super) target: ObjectHash,
}

/// A tree page, and what its parent states about it.
struct Part {
    hash: ObjectHash,
    /// The level of a top page is unknown until the page is read.
    level: Option<u8>,
    stated: Option<TreeChild>,
}

/// The parts of a directory that may differ.
pub(super) struct Comparison {
    base: Vec<Part>,
    target: Vec<Part>,
}

impl Comparison {
    pub(super) fn new(base: Option<ObjectHash>, target: Option<ObjectHash>) -> Self {
        let top = |hash| Part {
            hash,
            level: None,
            stated: None,
        };
        let mut new = Self {
            base: base.into_iter().map(top).collect(),
            target: target.into_iter().map(top).collect(),
        };
        new.drop_common();
        new
    }

    /// Descends to the leaves as far as the pages are here. Returns the pages that must be fetched first. If there are
    /// none, the changes can be read.
    pub(super) fn descend(&mut self, pages: &Pages) -> Result<Vec<ObjectHash>, MaterialiseError> {
        loop {
            let mut missing = Vec::new();
            for part in self.base.iter_mut().chain(&mut self.target) {
                if !pages.has(part.hash) {
                    missing.push(part.hash);
                } else if part.level.is_none() {
                    part.level = Some(pages.tree(part.hash)?.level());
                }
            }
            let parts = self.base.iter().chain(&self.target);
            let highest = parts.filter_map(|part| part.level).max().unwrap_or(0);
            if !missing.is_empty() || highest == 0 {
                return Ok(missing);
            }
            for side in [&mut self.base, &mut self.target] {
                let mut below = Vec::with_capacity(side.len());
                for part in side.drain(..) {
                    // Only a top page can have a lower level than the others.
                    if part.level != Some(highest) {
                        below.push(part);
                        continue;
                    }
                    match part.read(pages)? {
                        TreePage::Leaf(_) => below.push(part),
                        TreePage::Inner { level, children } => {
                            below.extend(children.into_iter().map(|child| Part {
                                hash: child.hash,
                                level: Some(level - 1),
                                stated: Some(child),
                            }));
                        }
                    }
                }
                *side = below;
            }
            self.drop_common();
        }
    }

    /// Leaves out the pages that both have, because a page has the same entries in both.
    fn drop_common(&mut self) {
        let in_base: HashSet<_> = self.base.iter().map(|part| part.hash).collect();
        let mut common = HashSet::new();
        self.target.retain(|part| {
            let is_common = in_base.contains(&part.hash);
            if is_common {
                common.insert(part.hash);
            }
            !is_common
        });
        self.base.retain(|part| !common.contains(&part.hash));
    }

    /// Returns the names that differ, sorted. [`Self::descend`] must have returned no missing pages.
    pub(super) fn changes(self) -> EntryChanges {
        EntryChanges {
            base: Entries::new(self.base),
            target: Entries::new(self.target),
        }
    }
}

impl Part {
    fn read(&self, pages: &Pages) -> Result<TreePage, MaterialiseError> {
        let page = pages.tree(self.hash)?;
        let as_stated = self.level.is_none_or(|level| page.level() == level)
            && self.stated.as_ref().is_none_or(|child| {
                page.last() == Some(&child.last) && page.count() == child.count
            });
        if as_stated {
            Ok(page)
        } else {
            Err(MaterialiseError::Inconsistent { hash: self.hash })
        }
    }
}

/// A name of a directory that differs between base and target.
#[derive(Debug)]
pub(super) struct EntryChange {
    pub(super) name: EntryName,
    pub(super) base: Option<EntryValue>,
    pub(super) target: Option<EntryValue>,
}

impl EntryChange {
    /// Whether the existing entry can be changed into the new one without replacing it.
    pub(super) fn in_place(&self) -> bool {
        let (Some(EntryValue::Inode(base)), Some(EntryValue::Inode(target))) =
            (&self.base, &self.target)
        else {
            return false;
        };
        match (&base.kind, &target.kind) {
            (InodeKind::File { .. }, InodeKind::File { .. })
            | (InodeKind::Directory { .. }, InodeKind::Directory { .. })
            | (InodeKind::Fifo, InodeKind::Fifo) => true,
            (InodeKind::Symlink { target: base }, InodeKind::Symlink { target }) => base == target,
            _ => false,
        }
    }
}

/// The hash of the top page, if the entry is a directory.
pub(super) fn tree_of(value: Option<&EntryValue>) -> Option<ObjectHash> {
    match value {
        Some(EntryValue::Inode(Inode {
            kind: InodeKind::Directory { tree },
            ..
        })) => Some(*tree),
        _ => None,
    }
}

/// Size and content, if the entry is a file.
pub(super) fn file_of(value: Option<&EntryValue>) -> Option<(u64, FileContent)> {
    match value {
        Some(EntryValue::Inode(Inode {
            kind: InodeKind::File { size, content },
            ..
        })) => Some((*size, *content)),
        _ => None,
    }
}

/// The attributes, if the entry is not a hard link.
pub(super) fn attributes_of(value: Option<&EntryValue>) -> Option<&Attributes> {
    match value {
        Some(EntryValue::Inode(inode)) => Some(&inode.attributes),
        _ => None,
    }
}

/// The changes of a directory. At most one leaf of each side is in memory at a time.
pub(super) struct EntryChanges {
    base: Entries,
    target: Entries,
}

impl EntryChanges {
    pub(super) fn next(&mut self, pages: &Pages) -> Result<Option<EntryChange>, MaterialiseError> {
        loop {
            self.base.fill(pages)?;
            self.target.fill(pages)?;
            let (base, target) = match (self.base.name(), self.target.name()) {
                (None, None) => return Ok(None),
                (Some(base), Some(target)) => (base <= target, target <= base),
                (base, target) => (base.is_some(), target.is_some()),
            };
            let base = base.then(|| self.base.take()).flatten();
            let target = target.then(|| self.target.take()).flatten();
            if base == target {
                continue;
            }
            let name = target.as_ref().or(base.as_ref());
            let Some(name) = name.map(|entry| entry.name.clone()) else {
                return Ok(None);
            };
            return Ok(Some(EntryChange {
                name,
                base: base.map(|entry| entry.value),
                target: target.map(|entry| entry.value),
            }));
        }
    }
}

/// The entries of some leaves.
struct Entries {
    parts: std::vec::IntoIter<Part>,
    leaf: std::iter::Peekable<std::vec::IntoIter<Entry>>,
    last: Option<EntryName>,
}

impl Entries {
    fn new(parts: Vec<Part>) -> Self {
        Self {
            parts: parts.into_iter(),
            leaf: Vec::new().into_iter().peekable(),
            last: None,
        }
    }

    /// Reads the next leaf when all entries of the last one are used.
    fn fill(&mut self, pages: &Pages) -> Result<(), MaterialiseError> {
        while self.leaf.peek().is_none()
            && let Some(part) = self.parts.next()
        {
            let inconsistent = MaterialiseError::Inconsistent { hash: part.hash };
            let TreePage::Leaf(entries) = part.read(pages)? else {
                return Err(inconsistent);
            };
            // The decoder has checked that names ascend within a leaf.
            if let (Some(last), Some(first)) = (&self.last, entries.first())
                && *last >= first.name
            {
                return Err(inconsistent);
            }
            if let Some(entry) = entries.last() {
                self.last = Some(entry.name.clone());
            }
            self.leaf = entries.into_iter().peekable();
        }
        Ok(())
    }

    fn name(&mut self) -> Option<&EntryName> {
        self.leaf.peek().map(|entry| &entry.name)
    }

    fn take(&mut self) -> Option<Entry> {
        self.leaf.next()
    }
}
