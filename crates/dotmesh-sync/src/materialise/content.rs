//! What has to be written into changed files: compares their lists of segments node by node, and leaves out
//! what is at the same place already.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use dotmesh_model::ObjectHash;
use dotmesh_store::{FileContent, FileNode, Kind, Segment};

use super::plan::FileChange;
use super::{MaterialiseError, fetch_all};
use crate::objects::ObjectSource;

/// So many leaves of segment lists are fetched at a time; each stands for megabytes.
const LEAVES: usize = 64;

/// So many nodes are kept for the files that come next.
const KEPT: usize = 1024;

/// So many parts may be looked up together: more than honest files of ten terabytes have. A few small nodes
/// can describe a list that fills any memory.
const MAX_PARTS: usize = 1 << 22;

/// A range to write.
#[derive(Debug, Clone, Copy)]
pub(super) struct Edit {
    pub(super) offset: u64,
    pub(super) segment: Segment,
}

/// A part of a file, and what lists its segments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Part {
    offset: u64,
    length: u64,
    list: List,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum List {
    /// It is one segment.
    One(Segment),
    /// The top node: its level is not known before it is read.
    Top(ObjectHash),
    /// A node below.
    Node { hash: ObjectHash, level: u8 },
}

/// The parts of one file that differ, as it is and as it shall be.
#[derive(Default)]
struct Difference {
    base: VecDeque<Part>,
    target: VecDeque<Part>,
}

/// The edits of some files.
pub(super) struct Edits {
    files: Vec<Difference>,
    nodes: Nodes,
}

impl Edits {
    /// Finds the leaves that differ, for all files at once.
    pub(super) async fn look_up<S: ObjectSource>(
        source: &Arc<S>,
        files: &[FileChange],
    ) -> Result<Self, MaterialiseError> {
        let mut nodes = Nodes::default();
        let mut differences: Vec<Difference> = files.iter().map(Difference::new).collect();
        loop {
            let needed = differences.iter().flat_map(Difference::inner).collect();
            if !nodes.fetch(source, needed).await? {
                break;
            }
            let mut parts = 0;
            for difference in &mut differences {
                difference.descend(&nodes)?;
                parts += difference.base.len() + difference.target.len();
                if parts > MAX_PARTS {
                    return Err(MaterialiseError::TooManyEntries);
                }
            }
        }
        Ok(Self {
            files: differences,
            nodes,
        })
    }

    /// The next edits of a file; `None` after its last.
    pub(super) async fn next<S: ObjectSource>(
        &mut self,
        source: &Arc<S>,
        file: usize,
    ) -> Result<Option<Vec<Edit>>, MaterialiseError> {
        if self.files[file].target.is_empty() {
            return Ok(None);
        }
        self.fetch_leaves(source, file).await?;
        let difference = &mut self.files[file];
        let Some(part) = difference.target.pop_front() else {
            return Ok(None);
        };
        let end = part.offset + part.length;
        let mut there: HashSet<(u64, Segment)> = HashSet::new();
        // A part of the base may reach into the next part of the target.
        difference
            .base
            .retain(|base| base.offset + base.length > part.offset);
        for base in difference.base.iter().take_while(|base| base.offset < end) {
            there.extend(self.nodes.segments(*base)?);
        }
        let edits = self.nodes.segments(part)?;
        let edits = edits.into_iter().filter(|edit| !there.contains(edit));
        Ok(Some(
            edits
                .map(|(offset, segment)| Edit { offset, segment })
                .collect(),
        ))
    }

    /// Fetches the leaves that are needed next, of this file and those after it.
    async fn fetch_leaves<S: ObjectSource>(
        &mut self,
        source: &Arc<S>,
        file: usize,
    ) -> Result<(), MaterialiseError> {
        let here = &self.files[file];
        let ready = here.target.front().is_none_or(|part| {
            let end = part.offset + part.length;
            let base = here.base.iter().take_while(|base| base.offset < end);
            std::iter::once(part)
                .chain(base)
                .all(|part| self.nodes.has(part))
        });
        if ready {
            return Ok(());
        }
        let mut needed = Vec::new();
        for difference in &self.files[file..] {
            let room = LEAVES.saturating_sub(needed.len());
            let parts = difference.target.len().min(room);
            let Some(last) = parts
                .checked_sub(1)
                .and_then(|last| difference.target.get(last))
            else {
                continue;
            };
            let end = last.offset + last.length;
            let base = difference.base.iter().take_while(|base| base.offset < end);
            needed.extend(
                difference
                    .target
                    .iter()
                    .take(room)
                    .chain(base)
                    .filter_map(Part::node),
            );
            if needed.len() >= LEAVES {
                break;
            }
        }
        if self.nodes.known.len() > KEPT {
            self.nodes.known.clear();
        }
        self.nodes.fetch(source, needed).await?;
        Ok(())
    }
}

impl Difference {
    fn new(file: &FileChange) -> Self {
        let part = |size, content| {
            let list = match content {
                FileContent::Empty => return None,
                FileContent::Hole => List::One(Segment::Hole { length: size }),
                FileContent::Chunk(hash) => {
                    let length = u32::try_from(size).expect("checked when the entry was decoded");
                    List::One(Segment::Data { hash, length })
                }
                FileContent::Node(hash) => List::Top(hash),
            };
            Some(Part {
                offset: 0,
                length: size,
                list,
            })
        };
        let mut new = Self {
            base: file
                .base
                .and_then(|(size, content)| part(size, content))
                .into_iter()
                .collect(),
            target: part(file.size, file.content).into_iter().collect(),
        };
        new.drop_common();
        new
    }

    /// The nodes of the highest level that has to be read before the leaves are known.
    fn inner(&self) -> impl Iterator<Item = ObjectHash> + '_ {
        let highest = self.highest();
        let parts = self.base.iter().chain(&self.target);
        parts
            .filter(move |part| highest > 0 && part.list.level() == highest)
            .filter_map(Part::node)
    }

    fn highest(&self) -> u8 {
        self.base
            .iter()
            .chain(&self.target)
            .map(|part| part.list.level())
            .max()
            .unwrap_or(0)
    }

    /// Replaces the nodes of the highest level by those below.
    fn descend(&mut self, nodes: &Nodes) -> Result<(), MaterialiseError> {
        let highest = self.highest();
        if highest == 0 {
            return Ok(());
        }
        for side in [&mut self.base, &mut self.target] {
            let mut below = VecDeque::new();
            for part in side.drain(..) {
                if part.list.level() == highest {
                    below.extend(nodes.below(part)?);
                } else {
                    below.push_back(part);
                }
                if below.len() > MAX_PARTS {
                    return Err(MaterialiseError::TooManyEntries);
                }
            }
            *side = below;
        }
        self.drop_common();
        Ok(())
    }

    fn drop_common(&mut self) {
        let in_base: HashSet<Part> = self.base.iter().copied().collect();
        let common: HashSet<Part> = self
            .target
            .iter()
            .copied()
            .filter(|part| in_base.contains(part))
            .collect();
        self.base.retain(|part| !common.contains(part));
        self.target.retain(|part| !common.contains(part));
    }
}

impl List {
    /// A top node is read before anything below it, so it counts as the highest.
    fn level(self) -> u8 {
        match self {
            Self::One(_) => 0,
            Self::Top(_) => u8::MAX,
            Self::Node { level, .. } => level,
        }
    }
}

impl Part {
    fn node(&self) -> Option<ObjectHash> {
        match self.list {
            List::One(_) => None,
            List::Top(hash) | List::Node { hash, .. } => Some(hash),
        }
    }
}

/// The nodes that were fetched and may be needed still.
#[derive(Default)]
struct Nodes {
    known: HashMap<ObjectHash, Bytes>,
}

impl Nodes {
    fn has(&self, part: &Part) -> bool {
        part.node()
            .is_none_or(|hash| self.known.contains_key(&hash))
    }

    /// Fetches nodes, and says whether any was asked for.
    async fn fetch<S: ObjectSource>(
        &mut self,
        source: &Arc<S>,
        needed: Vec<ObjectHash>,
    ) -> Result<bool, MaterialiseError> {
        let any = !needed.is_empty();
        let new = needed
            .into_iter()
            .filter(|hash| !self.known.contains_key(hash))
            .collect();
        self.known
            .extend(fetch_all(source, Kind::FileNode, new).await?);
        Ok(any)
    }

    fn read(&self, part: Part, hash: ObjectHash) -> Result<FileNode, MaterialiseError> {
        let inconsistent = MaterialiseError::Inconsistent { hash };
        let Some(bytes) = self.known.get(&hash) else {
            return Err(inconsistent);
        };
        let node = FileNode::decode(bytes)
            .map_err(|source| MaterialiseError::Malformed { hash, source })?;
        let as_stated = node.size() == part.length
            && match part.list {
                List::Node { level, .. } => node.level() == level,
                List::One(_) | List::Top(_) => true,
            };
        if as_stated {
            Ok(node)
        } else {
            Err(inconsistent)
        }
    }

    /// The parts that a node lists. A top node that is a leaf becomes a leaf.
    fn below(&self, part: Part) -> Result<Vec<Part>, MaterialiseError> {
        let Some(hash) = part.node() else {
            return Ok(vec![part]);
        };
        match self.read(part, hash)? {
            FileNode::Leaf(_) => Ok(vec![Part {
                list: List::Node { hash, level: 0 },
                ..part
            }]),
            FileNode::Inner { level, children } => {
                let mut offset = part.offset;
                let parts = children.into_iter().map(|child| {
                    let list = List::Node {
                        hash: child.hash,
                        level: level - 1,
                    };
                    let part = Part {
                        offset,
                        length: child.length,
                        list,
                    };
                    offset += child.length;
                    part
                });
                Ok(parts.collect())
            }
        }
    }

    /// The segments of a leaf, with their offsets in the file.
    fn segments(&self, part: Part) -> Result<Vec<(u64, Segment)>, MaterialiseError> {
        let segments = match part.list {
            List::One(segment) => vec![segment],
            List::Top(hash) | List::Node { hash, .. } => match self.read(part, hash)? {
                FileNode::Leaf(segments) => segments,
                FileNode::Inner { .. } => return Err(MaterialiseError::Inconsistent { hash }),
            },
        };
        let mut offset = part.offset;
        let placed = segments.into_iter().map(|segment| {
            let at = offset;
            offset += segment.length();
            (at, segment)
        });
        Ok(placed.collect())
    }
}
