//! Finds what new pages name and the old pages in their places do not.

use dotmesh_model::ObjectHash;
use dotmesh_store::{End, Kind, Named, ObjectReference};
use foldhash::{HashMap, HashSet};

/// The most old pages that are read beside a new one. Trees that are not crafted need few.
const MAX_BESIDE: usize = 8;

/// A page, and where it begins in its file or directory: after `after`, or at the beginning.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct PlacedPage {
    pub(super) hash: ObjectHash,
    pub(super) after: Option<End>,
}

/// An object that a new page names and no old page does.
#[derive(Debug)]
pub(super) struct Came {
    pub(super) reference: ObjectReference,
    /// The place where the object begins, if it is a page.
    pub(super) after: Option<End>,
    /// The old pages to read it with: they had its place before.
    pub(super) beside: Vec<PlacedPage>,
}

/// A new page that was read.
#[derive(Debug)]
pub(super) struct New {
    pub(super) after: Option<End>,
    pub(super) named: Vec<Named>,
    pub(super) beside: Vec<PlacedPage>,
}

/// The references of each old page.
pub(super) type Old = HashMap<PlacedPage, Vec<Named>>;

/// Returns the references that new pages have and old pages do not, each once.
///
/// Neighbouring pages belong in one call, because an object may have moved from the place of one into the place of the
/// next.
pub(super) fn compare(new: &[New], old: &Old) -> Vec<Came> {
    let kept = Kept::find(new, old);
    let came = new.iter().zip(&kept.new).flat_map(|(new, kept)| {
        let came = new.named.iter().zip(kept).filter(|(_, kept)| !**kept);
        came.map(|(named, _)| named.reference)
    });
    let in_new: HashSet<ObjectReference> = came.collect();
    let went = old.iter().flat_map(|(placed, named)| {
        let went = named.iter().enumerate();
        let went = went.filter(|(at, _)| !kept.is_old(placed, *at));
        went.map(|(_, named)| named.reference)
    });
    let in_old: HashSet<ObjectReference> = went.collect();
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
            let beside = there.map(|(gone, begin)| PlacedPage {
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
    /// The marks of each new page.
    new: Vec<Vec<bool>>,
    old: HashMap<&'a PlacedPage, Vec<bool>>,
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

    fn is_old(&self, placed: &PlacedPage, at: usize) -> bool {
        self.old.get(placed).is_some_and(|kept| kept[at])
    }
}

/// Marks the references that two pages have at the same end.
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

/// Returns a page's references, each with the place where it begins.
fn placed<'a>(
    after: Option<&'a End>,
    named: &'a [Named],
) -> impl Iterator<Item = (&'a Named, Option<&'a End>)> {
    let ends = named.iter().map(|named| Some(&named.end));
    named.iter().zip(std::iter::once(after).chain(ends))
}

#[cfg(test)]
mod tests {
    use dotmesh_store::file_page::FileSpine;
    use dotmesh_store::grow::{Grower, Spine};
    use dotmesh_store::tree::{Entry, EntryValue, FileContent, Inode, InodeKind, TreeSpine};
    use dotmesh_store::{Attributes, EntryName, Object, Segment, named, object_hash};

    use super::*;

    type Pages = HashMap<ObjectHash, Object>;

    /// The length of a chunk, in bytes.
    const CHUNK: u32 = 16_384;

    /// The number of chunks of each file in a folder.
    const CHUNKS: u32 = 700;

    fn grow<S: Spine>(items: impl Iterator<Item = S::Leaf>, pages: &mut Pages) -> ObjectHash {
        let mut grower = Grower::<S>::default();
        items.for_each(|item| grower.push(item));
        let (top, all) = grower.finish();
        pages.extend(all.into_iter().map(|page| (page.hash(), page)));
        top
    }

    fn file(chunks: &[u32], pages: &mut Pages) -> ObjectHash {
        let segment = |chunk: &u32| Segment::Data {
            hash: object_hash(Kind::Chunk, &chunk.to_le_bytes()),
            length: CHUNK,
        };
        grow::<FileSpine>(chunks.iter().map(segment), pages)
    }

    fn folder(files: &[(String, ObjectHash)], pages: &mut Pages) -> ObjectHash {
        let entry = |(name, top): &(String, ObjectHash)| Entry {
            name: EntryName::new(name.as_bytes()).expect("a name"),
            value: EntryValue::Inode(Inode {
                attributes: Attributes::default(),
                kind: InodeKind::File {
                    size: u64::from(CHUNK * CHUNKS),
                    content: FileContent::Page(*top),
                },
            }),
        };
        grow::<TreeSpine>(files.iter().map(entry), pages)
    }

    /// Checks a tree against another, some pages at a time. Returns the number of chunks that would still be looked up.
    fn chunks_left(new: ObjectHash, old: ObjectHash, pages: &Pages, at_once: usize) -> usize {
        let read = |hash: ObjectHash, after: &Option<End>| {
            let page = &pages[&hash];
            named(page.kind(), page.bytes(), after.as_ref()).expect("a page")
        };
        let at_beginning = |hash| PlacedPage { hash, after: None };
        let mut pending = vec![(at_beginning(new), vec![at_beginning(old)])];
        let mut chunks = 0;
        while !pending.is_empty() {
            let batch = pending.split_off(pending.len().saturating_sub(at_once));
            let besides = batch.iter().flat_map(|(_, beside)| beside);
            let old = besides.map(|old| (old.clone(), read(old.hash, &old.after)));
            let old: Old = old.collect();
            let new = batch.into_iter().map(|(page, beside)| New {
                named: read(page.hash, &page.after),
                after: page.after,
                beside,
            });
            for came in compare(&new.collect::<Vec<_>>(), &old) {
                match came.reference {
                    (Kind::Chunk, _) => chunks += 1,
                    (_, hash) => {
                        let after = came.after;
                        pending.push((PlacedPage { hash, after }, came.beside));
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

    /// A tenth of the chunks changed, so about a tenth of the pages end elsewhere.
    #[test]
    fn of_a_file_that_changed_all_over_only_what_changed_is_left() {
        let old: Vec<u32> = (0..200_000).collect();
        let (mut new, changed) = some_changed(&old);
        let mut pages = Pages::default();
        let old = file(&old, &mut pages);
        let left = chunks_left(file(&new, &mut pages), old, &pages, 16);
        assert!(
            (changed..changed * 6 / 5).contains(&left),
            "{left} of {changed}"
        );

        // Moved references are mostly found in neighbouring pages.
        new.splice(70_000..70_000, 2_000_000..2_003_000);
        let changed = changed + 3_000;
        let left = chunks_left(file(&new, &mut pages), old, &pages, 256);
        assert!(
            (changed..changed * 3 / 2).contains(&left),
            "{left} of {changed}"
        );
    }

    /// Files are compared with files of the same name, whatever files were added or removed between them.
    #[test]
    fn of_a_folder_only_what_changed_is_left() {
        let mut pages = Pages::default();
        let (mut old, mut new, mut changed) = (Vec::new(), Vec::new(), 0);
        for number in 0..300u32 {
            let chunks: Vec<u32> = (number * 2000..number * 2000 + CHUNKS).collect();
            let name = format!("{number:04}");
            if number % 3 != 0 {
                old.push((name.clone(), file(&chunks, &mut pages)));
            }
            if number % 3 == 1 {
                let (chunks, count) = some_changed(&chunks);
                new.push((name, file(&chunks, &mut pages)));
                changed += count;
            } else if number % 30 == 0 {
                new.push((name, file(&chunks, &mut pages)));
                changed += chunks.len();
            } else if number % 3 == 2 && number % 5 != 0 {
                new.push((name, file(&chunks, &mut pages)));
            }
        }
        let (old, new) = (folder(&old, &mut pages), folder(&new, &mut pages));
        for at_once in [16, 256] {
            let left = chunks_left(new, old, &pages, at_once);
            assert!(
                (changed..changed * 5 / 4).contains(&left),
                "{left} of {changed}"
            );
        }
    }
}
