//! The nodes of directories: fetched where base and target differ, compared, and measured.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use dotmesh_model::ObjectHash;
use dotmesh_store::tree::MAX_DEPTH;
use dotmesh_store::{Entry, EntryName, InodeKind, Kind, Node, TreeChild, TreeNode};

use super::{MAX_ENTRIES, MaterialiseError, fetch_all};
use crate::objects::ObjectSource;

/// So many bytes of directories' nodes are held. It is some eighty for each file.
const MAX_TREES_LENGTH: usize = 4 << 30;

/// A directory as it is and as it shall be.
type Pair = (Option<ObjectHash>, ObjectHash);

/// Every node that is needed to compare the two trees, encoded as it came.
pub(super) struct Trees {
    nodes: HashMap<ObjectHash, Bytes>,
}

/// One name of a directory, where base and target differ.
#[derive(Debug)]
pub(super) struct Change {
    pub(super) name: EntryName,
    pub(super) base: Option<Node>,
    pub(super) target: Option<Node>,
}

/// What comparing two directories came to.
enum Compared {
    /// These nodes have to be fetched first.
    Missing(Vec<ObjectHash>),
    /// The names that differ, sorted.
    Changes(Vec<Change>),
}

/// A node that is part of a directory, and what the node above says of it.
struct Part {
    hash: ObjectHash,
    stated: Option<(u8, TreeChild)>,
}

impl Trees {
    /// Fetches what is needed.
    pub(super) async fn fetch<S: ObjectSource>(
        source: &Arc<S>,
        base: Option<ObjectHash>,
        target: ObjectHash,
    ) -> Result<Self, MaterialiseError> {
        let mut trees = Self {
            nodes: HashMap::new(),
        };
        let mut met: HashSet<Pair> = HashSet::from([(base, target)]);
        let mut pairs = vec![(base, target)];
        let mut length = 0;
        while !pairs.is_empty() {
            let mut next = Vec::new();
            let mut missing = Vec::new();
            for pair in pairs {
                match trees.compare(pair)? {
                    Compared::Missing(hashes) => {
                        missing.extend(hashes);
                        next.push(pair);
                    }
                    Compared::Changes(changes) => {
                        let below = changes.iter().filter_map(Change::directories);
                        next.extend(below.filter(|pair| met.insert(*pair)));
                    }
                }
            }
            let fetched = fetch_all(source, Kind::TreeNode, missing).await?;
            length += fetched.values().map(Bytes::len).sum::<usize>();
            if length > MAX_TREES_LENGTH {
                return Err(MaterialiseError::TooManyEntries);
            }
            trees.nodes.extend(fetched);
            pairs = next;
        }
        Ok(trees)
    }

    /// The changes of a directory, once everything is fetched.
    pub(super) fn changes(&self, pair: Pair) -> Result<Vec<Change>, MaterialiseError> {
        match self.compare(pair)? {
            Compared::Changes(changes) => Ok(changes),
            Compared::Missing(_) => Err(MaterialiseError::Inconsistent { hash: pair.1 }),
        }
    }

    /// The sizes of the files that differ. Refuses trees that are too deep or too large.
    pub(super) fn bytes_to_write(
        &self,
        base: Option<ObjectHash>,
        target: ObjectHash,
    ) -> Result<u64, MaterialiseError> {
        let sums = self.sums((base, target), 1, &mut HashMap::new())?;
        if sums.entries > MAX_ENTRIES {
            return Err(MaterialiseError::TooManyEntries);
        }
        Ok(sums.bytes)
    }

    /// A tree that contains another many times is measured without visiting that as often.
    fn sums(
        &self,
        pair: Pair,
        depth: usize,
        known: &mut HashMap<Pair, Sums>,
    ) -> Result<Sums, MaterialiseError> {
        let mut sums = Sums::default();
        for change in self.changes(pair)? {
            sums.entries = sums.entries.saturating_add(1);
            sums.bytes = sums.bytes.saturating_add(change.file_size());
            let Some(below) = change.directories() else {
                continue;
            };
            let of_below = match known.get(&below) {
                Some(sums) => *sums,
                None if depth == MAX_DEPTH => return Err(MaterialiseError::TooDeep),
                None => self.sums(below, depth + 1, known)?,
            };
            if depth + of_below.height > MAX_DEPTH {
                return Err(MaterialiseError::TooDeep);
            }
            sums.height = sums.height.max(of_below.height);
            sums.entries = sums.entries.saturating_add(of_below.entries);
            sums.bytes = sums.bytes.saturating_add(of_below.bytes);
        }
        sums.height += 1;
        known.insert(pair, sums);
        Ok(sums)
    }

    fn compare(&self, (base, target): Pair) -> Result<Compared, MaterialiseError> {
        let top = |hash| Part { hash, stated: None };
        let mut base: Vec<Part> = base.into_iter().map(top).collect();
        let mut target = vec![top(target)];
        loop {
            drop_common(&mut base, &mut target);
            let parts = || base.iter().chain(&target);
            let missing: Vec<_> = parts()
                .map(|part| part.hash)
                .filter(|hash| !self.nodes.contains_key(hash))
                .collect();
            if !missing.is_empty() {
                return Ok(Compared::Missing(missing));
            }
            let mut base_nodes = self.decode(&base)?;
            let mut target_nodes = self.decode(&target)?;
            let nodes = || base_nodes.iter().chain(&target_nodes);
            let highest = nodes().map(|(_, node)| node.level()).max().unwrap_or(0);
            if highest == 0 {
                let base = entries(&mut base_nodes)?;
                let target = entries(&mut target_nodes)?;
                return Ok(Compared::Changes(merge(base, target)));
            }
            base = expand(base_nodes, highest);
            target = expand(target_nodes, highest);
        }
    }

    fn decode(&self, parts: &[Part]) -> Result<Vec<(ObjectHash, TreeNode)>, MaterialiseError> {
        let decode = |part: &Part| {
            let hash = part.hash;
            let bytes = self
                .nodes
                .get(&hash)
                .ok_or(MaterialiseError::Inconsistent { hash })?;
            let node = TreeNode::decode(bytes)
                .map_err(|source| MaterialiseError::Malformed { hash, source })?;
            let as_stated = part.stated.as_ref().is_none_or(|(level, child)| {
                node.level() == *level
                    && node.last() == Some(&child.last)
                    && node.count() == child.count
            });
            if as_stated {
                Ok((hash, node))
            } else {
                Err(MaterialiseError::Inconsistent { hash })
            }
        };
        parts.iter().map(decode).collect()
    }
}

/// What a tree comes to.
#[derive(Clone, Copy, Default)]
struct Sums {
    entries: u64,
    bytes: u64,
    height: usize,
}

impl Change {
    /// The directories below it that have to be compared or made.
    pub(super) fn directories(&self) -> Option<Pair> {
        let tree = |node: &Option<Node>| match node {
            Some(Node::Inode(inode)) => match inode.kind {
                InodeKind::Directory { tree } => Some(tree),
                _ => None,
            },
            _ => None,
        };
        let target = tree(&self.target)?;
        Some((tree(&self.base), target))
    }

    fn file_size(&self) -> u64 {
        match &self.target {
            Some(Node::Inode(inode)) => match inode.kind {
                InodeKind::File { size, .. } => size,
                _ => 0,
            },
            _ => 0,
        }
    }
}

/// A node that both have holds the same entries in both.
fn drop_common(base: &mut Vec<Part>, target: &mut Vec<Part>) {
    let in_base: HashSet<_> = base.iter().map(|part| part.hash).collect();
    let common: HashSet<_> = target
        .iter()
        .map(|part| part.hash)
        .filter(|hash| in_base.contains(hash))
        .collect();
    base.retain(|part| !common.contains(&part.hash));
    target.retain(|part| !common.contains(&part.hash));
}

/// Puts the children of the highest nodes in their place.
fn expand(nodes: Vec<(ObjectHash, TreeNode)>, highest: u8) -> Vec<Part> {
    let mut parts = Vec::new();
    for (hash, node) in nodes {
        match node {
            TreeNode::Inner { level, children } if level == highest => {
                parts.extend(children.into_iter().map(|child| Part {
                    hash: child.hash,
                    stated: Some((level - 1, child)),
                }));
            }
            // Only a top node can be lower than the others, and nothing is stated of that.
            _ => parts.push(Part { hash, stated: None }),
        }
    }
    parts
}

fn entries(nodes: &mut Vec<(ObjectHash, TreeNode)>) -> Result<Vec<Entry>, MaterialiseError> {
    let mut all: Vec<Entry> = Vec::new();
    for (hash, node) in nodes.drain(..) {
        let TreeNode::Leaf(entries) = node else {
            return Err(MaterialiseError::Inconsistent { hash });
        };
        if let (Some(last), Some(first)) = (all.last(), entries.first())
            && last.name >= first.name
        {
            return Err(MaterialiseError::Inconsistent { hash });
        }
        all.extend(entries);
    }
    Ok(all)
}

/// Pairs up the entries of the same name, and leaves out those that are the same.
fn merge(base: Vec<Entry>, target: Vec<Entry>) -> Vec<Change> {
    let mut changes = Vec::new();
    let mut base = base.into_iter().peekable();
    for Entry { name, node } in target {
        while let Some(gone) = base.next_if(|entry| entry.name < name) {
            changes.push(Change {
                name: gone.name,
                base: Some(gone.node),
                target: None,
            });
        }
        let before = base
            .next_if(|entry| entry.name == name)
            .map(|entry| entry.node);
        if before.as_ref() != Some(&node) {
            changes.push(Change {
                name,
                base: before,
                target: Some(node),
            });
        }
    }
    let gone = base.map(|gone| Change {
        name: gone.name,
        base: Some(gone.node),
        target: None,
    });
    changes.extend(gone);
    changes
}
