//! Compares directories page by page, and leaves out what both have.

use std::collections::HashSet;

use dotmesh_model::ObjectHash;
use dotmesh_store::{
    Attributes, Entry, EntryName, FileContent, Inode, InodeKind, Node, TreeChild, TreeNode,
};

use super::MaterialiseError;
use super::nodes::Nodes;

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
    pub(super) fn descend(&mut self, nodes: &Nodes) -> Result<Vec<ObjectHash>, MaterialiseError> {
        loop {
            let mut missing = Vec::new();
            for part in self.base.iter_mut().chain(&mut self.target) {
                if !nodes.has(part.hash) {
                    missing.push(part.hash);
                } else if part.level.is_none() {
                    part.level = Some(nodes.tree(part.hash)?.level());
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
                    match part.read(nodes)? {
                        TreeNode::Leaf(_) => below.push(part),
                        TreeNode::Inner { level, children } => {
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
    pub(super) fn changes(self) -> Changes {
        Changes {
            base: Entries::new(self.base),
            target: Entries::new(self.target),
        }
    }
}

impl Part {
    fn read(&self, nodes: &Nodes) -> Result<TreeNode, MaterialiseError> {
        let node = nodes.tree(self.hash)?;
        let as_stated = self.level.is_none_or(|level| node.level() == level)
            && self.stated.as_ref().is_none_or(|child| {
                node.last() == Some(&child.last) && node.count() == child.count
            });
        if as_stated {
            Ok(node)
        } else {
            Err(MaterialiseError::Inconsistent { hash: self.hash })
        }
    }
}

/// A name of a directory that differs between base and target.
#[derive(Debug)]
pub(super) struct Change {
    pub(super) name: EntryName,
    pub(super) base: Option<Node>,
    pub(super) target: Option<Node>,
}

impl Change {
    /// Whether the existing entry can be changed into the new one without replacing it.
    pub(super) fn in_place(&self) -> bool {
        let (Some(Node::Inode(base)), Some(Node::Inode(target))) = (&self.base, &self.target)
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

/// The hash of the top page, if the node is a directory.
pub(super) fn tree_of(node: Option<&Node>) -> Option<ObjectHash> {
    match node {
        Some(Node::Inode(Inode {
            kind: InodeKind::Directory { tree },
            ..
        })) => Some(*tree),
        _ => None,
    }
}

/// Size and content, if the node is a file.
pub(super) fn file_of(node: Option<&Node>) -> Option<(u64, FileContent)> {
    match node {
        Some(Node::Inode(Inode {
            kind: InodeKind::File { size, content },
            ..
        })) => Some((*size, *content)),
        _ => None,
    }
}

/// The attributes, if the node is not a hard link.
pub(super) fn attributes_of(node: Option<&Node>) -> Option<&Attributes> {
    match node {
        Some(Node::Inode(inode)) => Some(&inode.attributes),
        _ => None,
    }
}

/// The changes of a directory. At most one leaf of each side is in memory at a time.
pub(super) struct Changes {
    base: Entries,
    target: Entries,
}

impl Changes {
    pub(super) fn next(&mut self, nodes: &Nodes) -> Result<Option<Change>, MaterialiseError> {
        loop {
            self.base.fill(nodes)?;
            self.target.fill(nodes)?;
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
            return Ok(Some(Change {
                name,
                base: base.map(|entry| entry.node),
                target: target.map(|entry| entry.node),
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
    fn fill(&mut self, nodes: &Nodes) -> Result<(), MaterialiseError> {
        while self.leaf.peek().is_none()
            && let Some(part) = self.parts.next()
        {
            let inconsistent = MaterialiseError::Inconsistent { hash: part.hash };
            let TreeNode::Leaf(entries) = part.read(nodes)? else {
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
