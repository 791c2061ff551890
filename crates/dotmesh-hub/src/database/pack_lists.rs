//! What packs list, in memory. Objects that are looked for together mostly lie together, and reading a pack's rows one
//! after another costs much less than finding each of them by its hash.
//!
//! A pack is never given more objects, loses none but with all others, and its row's number is not given out again: a
//! list is right as long as the pack's row is there, which is for the caller to see.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dotmesh_model::ObjectHash;

use super::ids::{PackRow, UserId};
use super::lookup::Place;

/// Objects of all lists together: some 20 MiB.
const MAX_OBJECTS: usize = 1 << 18;

/// Lists of packs. Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct PackLists(Arc<Mutex<Lists>>);

#[derive(Default)]
struct Lists {
    packs: HashMap<PackRow, List>,
    /// Where an object may be, by the beginning of its hash.
    beginnings: HashMap<u64, (PackRow, u32)>,
    objects: usize,
    /// Counts uses, so that the list that was not used for longest goes first.
    uses: u64,
}

struct List {
    owner: UserId,
    objects: Vec<(ObjectHash, Place)>,
    used: u64,
}

impl PackLists {
    /// Where an owner's objects are, as far as the lists tell: for each hash its place.
    pub(super) fn find(&self, owner: UserId, hashes: &[ObjectHash]) -> Vec<Option<Place>> {
        let mut lists = self.lock();
        lists.uses += 1;
        hashes.iter().map(|hash| lists.find(owner, *hash)).collect()
    }

    pub(super) fn has(&self, pack: PackRow) -> bool {
        self.lock().packs.contains_key(&pack)
    }

    /// Keeps a pack's list: all objects of its rows.
    pub(super) fn put(&self, owner: UserId, pack: PackRow, objects: Vec<(ObjectHash, Place)>) {
        if objects.len() <= MAX_OBJECTS {
            self.lock().put(owner, pack, objects);
        }
    }

    /// Forgets a pack that is not there any more.
    pub(super) fn forget(&self, pack: PackRow) {
        self.lock().forget(pack);
    }

    fn lock(&self) -> MutexGuard<'_, Lists> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lists {
    fn find(&mut self, owner: UserId, hash: ObjectHash) -> Option<Place> {
        let (pack, at) = *self.beginnings.get(&beginning(hash))?;
        let list = self.packs.get_mut(&pack)?;
        list.used = self.uses;
        let (listed, place) = list.objects.get(at as usize)?;
        (*listed == hash && list.owner == owner).then_some(*place)
    }

    fn put(&mut self, owner: UserId, pack: PackRow, objects: Vec<(ObjectHash, Place)>) {
        self.forget(pack);
        while self.objects + objects.len() > MAX_OBJECTS {
            let longest_unused = self.packs.iter().min_by_key(|(_, list)| list.used);
            let Some((pack, _)) = longest_unused else {
                break;
            };
            self.forget(*pack);
        }
        self.objects += objects.len();
        for (at, (hash, _)) in (0..).zip(&objects) {
            self.beginnings.insert(beginning(*hash), (pack, at));
        }
        let used = self.uses;
        let list = List {
            owner,
            objects,
            used,
        };
        self.packs.insert(pack, list);
    }

    fn forget(&mut self, pack: PackRow) {
        let Some(list) = self.packs.remove(&pack) else {
            return;
        };
        self.objects -= list.objects.len();
        for (hash, _) in &list.objects {
            let beginning = beginning(*hash);
            if self
                .beginnings
                .get(&beginning)
                .is_some_and(|(there, _)| *there == pack)
            {
                self.beginnings.remove(&beginning);
            }
        }
    }
}

fn beginning(hash: ObjectHash) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = *hash.as_bytes();
    u64::from_le_bytes([a, b, c, d, e, f, g, h])
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use dotmesh_store::{FrameRange, Kind, object_hash};
    use proptest::prelude::*;

    use super::*;
    use crate::database::ids::ObjectId;

    fn hash(number: u8) -> ObjectHash {
        object_hash(Kind::Chunk, &[number])
    }

    fn place(pack: PackRow, number: usize) -> Place {
        Place {
            id: ObjectId::of(pack, number).expect("a small number"),
            kind: Kind::Chunk,
            range: FrameRange {
                offset: 8,
                length: 50,
            },
            raw_length: 1,
        }
    }

    proptest! {
        #[test]
        fn lists_tell_of_the_packs_that_were_put_and_not_forgotten(
            steps in prop::collection::vec((0..4i64, 0..2i64, prop::option::of(prop::collection::btree_set(0..20u8, 0..10))), 0..30),
        ) {
            let lists = PackLists::default();
            let mut model: BTreeMap<i64, (i64, Vec<u8>)> = BTreeMap::new();
            // A list may be in the way of another.
            let mut listed_twice = BTreeSet::new();
            for (pack, owner, objects) in steps {
                let row = PackRow(pack);
                match objects {
                    None => {
                        lists.forget(row);
                        model.remove(&pack);
                    }
                    Some(objects) => {
                        let objects: Vec<u8> = objects.into_iter().collect();
                        let list = objects.iter().enumerate().map(|(n, o)| (hash(*o), place(row, n)));
                        lists.put(UserId(owner), row, list.collect());
                        model.remove(&pack);
                        let others = model.values().flat_map(|(_, list)| list);
                        listed_twice.extend(others.filter(|object| objects.contains(object)).copied());
                        model.insert(pack, (owner, objects));
                    }
                }
                for owner in 0..2 {
                    let hashes: Vec<ObjectHash> = (0..20).map(hash).collect();
                    let found = lists.find(UserId(owner), &hashes);
                    for (object, found) in (0..20u8).zip(found) {
                        let has = |list: &(i64, Vec<u8>)| list.0 == owner && list.1.contains(&object);
                        match found {
                            Some(place) => {
                                let list = &model[&place.id.pack().0];
                                prop_assert!(has(list));
                                prop_assert_eq!(list.1[place.id.number()], object);
                            }
                            None => prop_assert!(
                                listed_twice.contains(&object) || !model.values().any(has)
                            ),
                        }
                    }
                }
                prop_assert_eq!(lists.lock().objects, model.values().map(|(_, list)| list.len()).sum::<usize>());
            }
        }
    }

    #[test]
    fn what_was_not_used_for_longest_goes_first() {
        let lists = PackLists::default();
        let third = MAX_OBJECTS / 3;
        let put = |pack: i64| {
            let row = PackRow(pack);
            let hashes = (0..third as u64).map(|n| {
                let mut bytes = [pack as u8; 32];
                bytes[..8].copy_from_slice(&(n << 8 | pack as u64).to_le_bytes());
                ObjectHash::from_bytes(bytes)
            });
            let list: Vec<_> = hashes
                .enumerate()
                .map(|(n, hash)| (hash, place(row, n)))
                .collect();
            let first = list[0].0;
            lists.put(UserId(1), row, list);
            first
        };
        let [first, second, third] = [1, 2, 3].map(put);
        assert!(lists.find(UserId(1), &[first])[0].is_some());
        assert!(lists.find(UserId(1), &[third])[0].is_some());
        let fourth = put(4);
        let there = lists.find(UserId(1), &[first, second, third, fourth]);
        let there: Vec<bool> = there.iter().map(Option::is_some).collect();
        assert_eq!(there, [true, false, true, true]);
    }
}
