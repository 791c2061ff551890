//! Finds out where the objects of a repack are in the trees of commits, to put those of the same place together.
//!
//! A place is a path and the end of a range in that file or directory. The choice of places affects the size of packs,
//! never what is in them.

use dotmesh_hub_db::ids::{DotId, UserId};
use dotmesh_hub_db::repack::OldObject;
use dotmesh_model::ObjectHash;
use dotmesh_store::polite::Yielder;
use dotmesh_store::{End, Kind, Named, PackStoreError, named};
use foldhash::{HashMap, HashMapExt as _, HashSet, HashSetExt as _};

use super::Repacker;
use crate::error::HubError;
use crate::operations::frames::{Decoder, read_objects};

/// The most pages in a batch.
const PAGES: usize = 256;

/// The place of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Place {
    /// The number of the line of forks that its dot belongs to.
    pub(super) family: u32,
    /// The number of the path. Paths are numbered in the order of the walk, so neighbours stay neighbours.
    pub(super) path: u32,
    pub(super) end: u64,
}

/// An object's place, and its age: 0 in the newest commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Placed {
    pub(super) place: Place,
    pub(super) age: u32,
}

/// The places of objects.
#[derive(Debug, Default)]
pub(super) struct Places {
    /// The place of each object, in their order. Objects that no commit has, have none.
    pub(super) placed: Vec<Option<Placed>>,
    /// What was in a place before the oldest of the objects, and a dot that has it.
    pub(super) older: HashMap<Place, (DotId, ObjectHash)>,
}

/// A page that was reached, but not read yet.
struct Pending {
    hash: ObjectHash,
    /// A hash of the path.
    path: u64,
    after: Option<End>,
}

/// Where the walk is.
#[derive(Clone, Copy)]
struct At {
    dot: DotId,
    family: u32,
    age: u32,
    /// A hash of the path.
    path: u64,
}

struct Walker<'a> {
    repacker: &'a Repacker,
    owner: UserId,
    wanted: HashMap<ObjectHash, u32>,
    paths: HashMap<u64, u32>,
    taken: HashSet<Place>,
    places: Places,
}

/// Walks through the commits of `dots`, which are sorted, as far as needed. `families` has the number of each dot's
/// line of forks.
pub(super) async fn find_places(
    repacker: &Repacker,
    owner: UserId,
    objects: &[OldObject],
    dots: &[DotId],
    families: &HashMap<DotId, u32>,
) -> Result<Places, HubError> {
    let numbered = objects.iter().zip(0..);
    let mut walker = Walker {
        repacker,
        owner,
        wanted: numbered.map(|(object, n)| (object.hash, n)).collect(),
        paths: HashMap::new(),
        taken: HashSet::new(),
        places: Places {
            placed: vec![None; objects.len()],
            older: HashMap::new(),
        },
    };
    for dot in dots {
        let of_dot = objects.iter().filter(|object| object.dot == Some(*dot));
        let unplaced = |object: &&OldObject| {
            let number = walker.wanted.get(&object.hash);
            number.is_some_and(|n| walker.places.placed[*n as usize].is_none())
        };
        let left = of_dot.filter(unplaced).count();
        let family = families.get(dot).copied().unwrap_or_default();
        walker.walk_dot(*dot, family, left).await?;
    }
    Ok(walker.places)
}

impl Walker<'_> {
    /// Walks through the commits of a dot, newest first, until it has found so many objects. One more commit tells what
    /// was in their places before.
    async fn walk_dot(&mut self, dot: DotId, family: u32, mut left: usize) -> Result<(), HubError> {
        if left == 0 {
            return Ok(());
        }
        let mut visited = HashSet::new();
        for (root, age) in self
            .repacker
            .database
            .roots(dot)
            .await?
            .into_iter()
            .zip(0..)
        {
            let is_last = left == 0;
            let at = At {
                dot,
                family,
                age,
                path: 0,
            };
            left = left.saturating_sub(self.note(at, root, 0));
            let mut pending = Vec::new();
            if visited.insert(root) {
                pending.push(Pending {
                    hash: root,
                    path: 0,
                    after: None,
                });
            }
            while !pending.is_empty() {
                let batch = pending.split_off(pending.len().saturating_sub(PAGES));
                // In the order of the tree, so that neighbours have neighbouring numbers.
                let mut below = Vec::new();
                for (page, named) in self.read(dot, batch).await? {
                    let mut after = page.after.clone();
                    for named in named {
                        let (kind, hash) = named.reference;
                        let path = path_of(page.path, &named);
                        let found = self.note(At { path, ..at }, hash, number(&named.end));
                        left = left.saturating_sub(found);
                        if kind != Kind::Chunk && visited.insert(hash) {
                            let after = if named.is_part { after.take() } else { None };
                            below.push(Pending { hash, path, after });
                        }
                        after = Some(named.end);
                    }
                }
                pending.extend(below.into_iter().rev());
            }
            if is_last {
                break;
            }
        }
        Ok(())
    }

    /// Notes that an object is in a place. Returns how many of the wanted objects were found by it: one or none.
    fn note(&mut self, at: At, hash: ObjectHash, end: u64) -> usize {
        let place = |path| Place {
            family: at.family,
            path,
            end,
        };
        let Some(number) = self.wanted.get(&hash) else {
            let path = self.paths.get(&at.path);
            let place = path.map(|path| place(*path));
            if let Some(place) = place.filter(|place| self.taken.contains(place)) {
                self.places.older.entry(place).or_insert((at.dot, hash));
            }
            return 0;
        };
        let known = &mut self.places.placed[*number as usize];
        if known.is_some() {
            return 0;
        }
        let next = self.paths.len() as u32;
        let place = place(*self.paths.entry(at.path).or_insert(next));
        *known = Some(Placed { place, age: at.age });
        self.taken.insert(place);
        1
    }

    /// Reads pages, and returns what they name. A page that is lost or damaged is left out: then its objects have no
    /// place.
    async fn read(
        &self,
        dot: DotId,
        pages: Vec<Pending>,
    ) -> Result<Vec<(Pending, Vec<Named>)>, HubError> {
        let hashes: Vec<ObjectHash> = pages.iter().map(|page| page.hash).collect();
        let database = &self.repacker.database;
        let located = database.locate(self.owner, dot, &hashes).await?;
        let there = pages.into_iter().zip(located);
        let there = there.filter_map(|(page, location)| Some((page, location?)));
        let (pages, wanted): (Vec<Pending>, Vec<_>) = there
            .map(|(page, location)| {
                let hash = page.hash;
                (page, (hash, location))
            })
            .unzip();
        let read = match read_objects(&self.repacker.packs, &wanted).await {
            Err(PackStoreError::NotFound { .. } | PackStoreError::Damaged { .. }) => {
                return Ok(Vec::new());
            }
            read => read?,
        };
        let decoding = self.repacker.threads.run(move || {
            let mut decoder = Decoder::default();
            let mut yielder = Yielder::default();
            let mut named_by_page = Vec::with_capacity(pages.len());
            for (page, read) in pages.into_iter().zip(&read) {
                if let Ok(object) = decoder.object(read)
                    && let Ok(named) = named(object.kind(), object.bytes(), page.after.as_ref())
                {
                    named_by_page.push((page, named));
                }
                yielder.yield_if_due();
            }
            // The last page of a batch is the first in the tree.
            named_by_page.reverse();
            named_by_page
        });
        Ok(decoding.await?)
    }
}

/// Returns a hash of the path that a named object has, below that of the page.
fn path_of(path: u64, named: &Named) -> u64 {
    match &named.end {
        End::Name(name) if !named.is_part => hash(path, name),
        End::Name(_) | End::Offset(_) => path,
    }
}

fn number(end: &End) -> u64 {
    match end {
        End::Offset(offset) => *offset,
        End::Name(name) => hash(1, name),
    }
}

/// FNV-1a, continued from a former hash. Equal hashes of different paths only make packs larger.
fn hash(before: u64, bytes: &[u8]) -> u64 {
    let begin = before ^ 0xcbf2_9ce4_8422_2325;
    let mix = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    bytes.iter().fold(begin.wrapping_mul(0x0100_0000_01b3), mix)
}
