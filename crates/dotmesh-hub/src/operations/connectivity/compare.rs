//! Finds what new nodes name and the old nodes in their places do not.

use dotmesh_model::ObjectHash;
use dotmesh_store::{End, Kind, Named, Reference};
use foldhash::{HashMap, HashSet};

/// The most old nodes that are read beside a new one. Trees that are not crafted need few.
const MAX_BESIDE: usize = 8;

/// A node, and where it begins in its file or directory: after `after`, or at the beginning.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Placed {
    pub(super) hash: ObjectHash,
    pub(super) after: Option<End>,
}

/// An object that a new node names and no old node does.
#[derive(Debug)]
pub(super) struct Came {
    pub(super) reference: Reference,
    /// The place where the object begins, if it is a node.
    pub(super) after: Option<End>,
    /// The old nodes to read it with: they had its place before.
    pub(super) beside: Vec<Placed>,
}

/// A new node that was read.
#[derive(Debug)]
pub(super) struct New {
    pub(super) after: Option<End>,
    pub(super) named: Vec<Named>,
    pub(super) beside: Vec<Placed>,
}

/// The references of each old node.
pub(super) type Old = HashMap<Placed, Vec<Named>>;

/// Returns the references that new nodes have and old nodes do not, each once.
///
/// Neighbouring nodes belong in one call, because an object may have moved from the place of one into the place of the
/// next.
pub(super) fn compare(new: &[New], old: &Old) -> Vec<Came> {
    let kept = Kept::find(new, old);
    let came = new.iter().zip(&kept.new).flat_map(|(new, kept)| {
        let came = new.named.iter().zip(kept).filter(|(_, kept)| !**kept);
        came.map(|(named, _)| named.reference)
    });
    let in_new: HashSet<Reference> = came.collect();
    let went = old.iter().flat_map(|(placed, named)| {
        let went = named.iter().enumerate();
        let went = went.filter(|(at, _)| !kept.is_old(placed, *at));
        went.map(|(_, named)| named.reference)
    });
    let in_old: HashSet<Reference> = went.collect();
    let (mut all, mut seen) = (Vec::new(), HashSet::default());
    for (new, kept_of_new) in new.iter().zip(&kept.new) {
        let gone = new
            .beside
            .iter()
            .filter_map(|beside| {
                let named = placed(beside.after.as_ref(), old.get(beside)?);
                let went = named.enumerate();
                Some(went.filter(|(at, _)| !kept.is_old(beside, *at)))
            })
            .flatten()
            .map(|(_, gone)| gone)
            .filter(|(named, _)| {
                named.reference.0 != Kind::Chunk && !in_new.contains(&named.reference)
            });
        let gone: Vec<_> = gone.collect();
        let named = placed(new.after.as_ref(), &new.named).zip(kept_of_new);
        for ((named, begin), _) in named.filter(|(_, kept)| !**kept) {
            let reference = named.reference;
            if in_old.contains(&reference) || !seen.insert(reference) {
                continue;
            }
            let behind = gone.partition_point(|(gone, _)| Some(&gone.end) <= begin);
            let there = gone[behind..]
                .iter()
                .take_while(|(_, begin)| *begin < Some(&named.end))
                .filter(|(gone, _)| gone.reference.0 == reference.0)
                .take(MAX_BESIDE);
            let beside = there.map(|(gone, begin)| Placed {
                hash: gone.reference.1,
                after: begin.filter(|_| gone.is_part).cloned(),
            });
            all.push(Came {
                reference,
                after: begin.filter(|_| named.is_part).cloned(),
                beside: beside.collect(),
            });
        }
    }
    all
}

/// Marks references that are unchanged and in the same place, which are nearly all. Marking them is cheaper than
/// looking them up in a set.
struct Kept<'a> {
    /// The marks of each new node.
    new: Vec<Vec<bool>>,
    old: HashMap<&'a Placed, Vec<bool>>,
}

impl<'a> Kept<'a> {
    fn find(new: &'a [New], old: &Old) -> Self {
        let mut kept = Self {
            new: Vec::with_capacity(new.len()),
            old: HashMap::default(),
        };
        for new in new {
            let mut of_new = vec![false; new.named.len()];
            for beside in &new.beside {
                if let Some(named) = old.get(beside) {
                    let of_old = kept.old.entry(beside);
                    let of_old = of_old.or_insert_with(|| vec![false; named.len()]);
                    find_kept((&new.named, &mut of_new), (named, of_old));
                }
            }
            kept.new.push(of_new);
        }
        kept
    }

    fn is_old(&self, placed: &Placed, at: usize) -> bool {
        self.old.get(placed).is_some_and(|kept| kept[at])
    }
}

/// Marks the references that two nodes have at the same end.
fn find_kept((new, new_kept): (&[Named], &mut [bool]), (old, old_kept): (&[Named], &mut [bool])) {
    let (mut at, mut beside) = (0, 0);
    while let (Some(one), Some(other)) = (new.get(at), old.get(beside)) {
        let order = one.end.cmp(&other.end);
        if order.is_eq() && one.reference == other.reference {
            new_kept[at] = true;
            old_kept[beside] = true;
        }
        at += usize::from(order.is_le());
        beside += usize::from(order.is_ge());
    }
}

/// Returns a node's references, each with the place where it begins.
fn placed<'a>(
    after: Option<&'a End>,
    named: &'a [Named],
) -> impl Iterator<Item = (&'a Named, Option<&'a End>)> {
    let ends = named.iter().map(|named| Some(&named.end));
    named.iter().zip(std::iter::once(after).chain(ends))
}

#[cfg(test)]
mod tests {
    use dotmesh_store::file_node::FileSpine;
    use dotmesh_store::grow::{Grower, Spine};
    use dotmesh_store::tree::{Entry, FileContent, Inode, InodeKind, Node, TreeSpine};
    use dotmesh_store::{Attributes, EntryName, Object, Segment, named, object_hash};

    use super::*;

    type Nodes = HashMap<ObjectHash, Object>;

    /// The length of a chunk, in bytes.
    const CHUNK: u32 = 16_384;

    /// The number of chunks of each file in a folder.
    const CHUNKS: u32 = 700;

    fn grow<S: Spine>(items: impl Iterator<Item = S::Leaf>, nodes: &mut Nodes) -> ObjectHash {
        let mut grower = Grower::<S>::default();
        items.for_each(|item| grower.push(item));
        let (top, all) = grower.finish();
        nodes.extend(all.into_iter().map(|node| (node.hash(), node)));
        top
    }

    fn file(chunks: &[u32], nodes: &mut Nodes) -> ObjectHash {
        let segment = |chunk: &u32| Segment::Data {
            hash: object_hash(Kind::Chunk, &chunk.to_le_bytes()),
            length: CHUNK,
        };
        grow::<FileSpine>(chunks.iter().map(segment), nodes)
    }

    fn folder(files: &[(String, ObjectHash)], nodes: &mut Nodes) -> ObjectHash {
        let entry = |(name, top): &(String, ObjectHash)| Entry {
            name: EntryName::new(name.as_bytes()).expect("a name"),
            node: Node::Inode(Inode {
                attributes: Attributes::default(),
                kind: InodeKind::File {
                    size: u64::from(CHUNK * CHUNKS),
                    content: FileContent::Node(*top),
                },
            }),
        };
        grow::<TreeSpine>(files.iter().map(entry), nodes)
    }

    /// Checks a tree against another, some nodes at a time. Returns the number of chunks that would still be looked up.
    fn chunks_left(new: ObjectHash, old: ObjectHash, nodes: &Nodes, at_once: usize) -> usize {
        let read = |hash: ObjectHash, after: &Option<End>| {
            let node = &nodes[&hash];
            named(node.kind(), node.bytes(), after.as_ref()).expect("a node")
        };
        let at_beginning = |hash| Placed { hash, after: None };
        let mut pending = vec![(at_beginning(new), vec![at_beginning(old)])];
        let mut chunks = 0;
        while !pending.is_empty() {
            let batch = pending.split_off(pending.len().saturating_sub(at_once));
            let besides = batch.iter().flat_map(|(_, beside)| beside);
            let old = besides.map(|old| (old.clone(), read(old.hash, &old.after)));
            let old: Old = old.collect();
            let new = batch.into_iter().map(|(node, beside)| New {
                named: read(node.hash, &node.after),
                after: node.after,
                beside,
            });
            for came in compare(&new.collect::<Vec<_>>(), &old) {
                match came.reference {
                    (Kind::Chunk, _) => chunks += 1,
                    (_, hash) => {
                        let after = came.after;
                        pending.push((Placed { hash, after }, came.beside));
                    }
                }
            }
        }
        chunks
    }

    fn some_changed(chunks: &[u32]) -> (Vec<u32>, usize) {
        let change = |n: &u32| match n % 10 {
            7 => n + 1_000_000,
            _ => *n,
        };
        (chunks.iter().map(change).collect(), chunks.len() / 10)
    }

    /// A tenth of the chunks changed, so about a tenth of the nodes end elsewhere.
    #[test]
    fn of_a_file_that_changed_all_over_only_what_changed_is_left() {
        let old: Vec<u32> = (0..200_000).collect();
        let (mut new, changed) = some_changed(&old);
        let mut nodes = Nodes::default();
        let old = file(&old, &mut nodes);
        let left = chunks_left(file(&new, &mut nodes), old, &nodes, 16);
        assert!(
            (changed..changed * 6 / 5).contains(&left),
            "{left} of {changed}"
        );

        // Moved references are mostly found in neighbouring nodes.
        new.splice(70_000..70_000, 2_000_000..2_003_000);
        let changed = changed + 3_000;
        let left = chunks_left(file(&new, &mut nodes), old, &nodes, 256);
        assert!(
            (changed..changed * 3 / 2).contains(&left),
            "{left} of {changed}"
        );
    }

    /// Files are compared with files of the same name, whatever files were added or removed between them.
    #[test]
    fn of_a_folder_only_what_changed_is_left() {
        let mut nodes = Nodes::default();
        let (mut old, mut new, mut changed) = (Vec::new(), Vec::new(), 0);
        for number in 0..300u32 {
            let chunks: Vec<u32> = (number * 2000..number * 2000 + CHUNKS).collect();
            let name = format!("{number:04}");
            if number % 3 != 0 {
                old.push((name.clone(), file(&chunks, &mut nodes)));
            }
            if number % 3 == 1 {
                let (chunks, count) = some_changed(&chunks);
                new.push((name, file(&chunks, &mut nodes)));
                changed += count;
            } else if number % 30 == 0 {
                new.push((name, file(&chunks, &mut nodes)));
                changed += chunks.len();
            } else if number % 3 == 2 && number % 5 != 0 {
                new.push((name, file(&chunks, &mut nodes)));
            }
        }
        let (old, new) = (folder(&old, &mut nodes), folder(&new, &mut nodes));
        for at_once in [16, 256] {
            let left = chunks_left(new, old, &nodes, at_once);
            assert!(
                (changed..changed * 5 / 4).contains(&left),
                "{left} of {changed}"
            );
        }
    }
}
