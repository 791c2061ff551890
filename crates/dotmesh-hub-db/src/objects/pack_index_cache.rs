//! The pack index cache: the indexes of packs, in memory. Objects that are looked up together are mostly in the same
//! packs. Reading a pack's rows in sequence costs much less than finding each object by hash.
//!
//! A pack never gains objects, and it loses them only all at once, by garbage collection or by a repack. Its row id is
//! never reused. So a cached index is right as long as the pack's row exists, which the caller must check.
//!
//! A prefix filter covers many more packs than the cached indexes. From hash prefixes, it knows which objects these
//! packs seem to have, and in which rows. Such an object is read by its row id, next to those that came with it, and
//! without the database's index of hashes. Once the filter covers all packs of an owner, a miss proves that the owner
//! does not have the object. Most objects of a push are misses.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dotmesh_model::ObjectHash;
use foldhash::{HashMap, HashSet};

use crate::ids::{ObjectId, PackRow, UserId};
use crate::objects::lookup::ObjectRow;

/// The most objects in all cached indexes together: about 25 MiB.
const MAX_OBJECTS: usize = 1 << 18;

/// The most objects in the prefix filters of all owners together: about 20 MiB.
const MAX_SEEN: usize = 1 << 20;

/// The cached indexes and prefix filters. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct PackIndexCache(Arc<Mutex<Lists>>);

#[derive(Default)]
struct Lists {
    packs: HashMap<PackRow, List>,
    /// The place of each object in a cached index, by the object's key: the slot of its pack, and the position in the
    /// pack's index. No two cached objects share a key.
    places: HashMap<u64, (u32, u32)>,
    /// The pack of each slot. The slots in `free` are not used.
    slots: Vec<PackRow>,
    free: Vec<u32>,
    objects: usize,
    seen: HashMap<UserId, Seen>,
    /// Counts uses, so that the least recently used entry is evicted first.
    uses: u64,
}

struct List {
    slot: u32,
    owner: UserId,
    objects: Vec<(ObjectHash, ObjectRow)>,
    used: u64,
}

/// The prefix filter of an owner: packs, and the prefixes of all their hashes, with their rows. The packs may have no
/// cached index, and may be gone.
#[derive(Default)]
struct Seen {
    packs: HashSet<PackRow>,
    /// Numbers of objects, by hash prefix. If several hashes have the same prefix, the last one is kept.
    objects: HashMap<[u8; 4], u32>,
    /// The number of each pack's first object, ascending. The pack's other objects follow, with gaps for numbers
    /// without an object.
    firsts: Vec<(u32, PackRow)>,
    /// The number after all others.
    next: u32,
    /// Whether the owner has too many objects. The filter is empty then.
    is_full: bool,
    used: u64,
}

/// The cache's answer about some objects.
pub(crate) struct Told {
    pub(crate) objects: Vec<Lookup>,
    /// The packs that the prefix filter covered at the lookup. Empty unless it missed an object.
    pub(crate) packs: Vec<PackRow>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lookup {
    /// The object is here, if the pack's row exists.
    Listed(ObjectRow),
    /// This row may be the object's. If it is not, the object may be anywhere.
    Seen(ObjectId),
    /// The object may be anywhere.
    Unknown,
    /// The object is in none of the packs that the prefix filter covers.
    Unseen,
}

impl PackIndexCache {
    /// Looks up objects of an owner.
    pub(crate) fn find(&self, owner: UserId, hashes: &[ObjectHash]) -> Told {
        let mut lists = self.lock();
        lists.uses += 1;
        let objects = hashes.iter().map(|hash| lists.find(owner, *hash));
        let objects: Vec<Lookup> = objects.collect();
        let seen = lists.seen.get(&owner);
        let packs = seen.filter(|_| objects.contains(&Lookup::Unseen));
        let packs = packs.into_iter().flat_map(|seen| &seen.packs);
        let packs = packs.copied().collect();
        Told { objects, packs }
    }

    pub(crate) fn has(&self, pack: PackRow) -> bool {
        self.lock().packs.contains_key(&pack)
    }

    /// Adds a pack to the prefix filter. `objects` must be all objects of its rows.
    pub(crate) fn see(&self, owner: UserId, pack: PackRow, objects: &[(ObjectHash, ObjectId)]) {
        self.lock().see(owner, pack, objects.iter().copied());
    }

    /// Caches a pack's index. `objects` must be all objects of its rows.
    pub(crate) fn put(&self, owner: UserId, pack: PackRow, objects: Vec<(ObjectHash, ObjectRow)>) {
        let mut lists = self.lock();
        let seen = objects.iter().map(|(hash, place)| (*hash, place.id));
        lists.see(owner, pack, seen);
        if objects.len() <= MAX_OBJECTS {
            lists.put(owner, pack, objects);
        }
    }

    /// Removes the index of a pack that no longer exists.
    pub(crate) fn forget(&self, pack: PackRow) {
        self.lock().forget(pack);
    }

    fn lock(&self) -> MutexGuard<'_, Lists> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lists {
    fn find(&mut self, owner: UserId, hash: ObjectHash) -> Lookup {
        if let Some(place) = self.find_listed(owner, hash) {
            return Lookup::Listed(place);
        }
        match self.seen.get_mut(&owner) {
            Some(seen) => {
                seen.used = self.uses;
                seen.find(hash)
            }
            None => Lookup::Unseen,
        }
    }

    fn find_listed(&mut self, owner: UserId, hash: ObjectHash) -> Option<ObjectRow> {
        let (slot, at) = *self.places.get(&key(owner, hash))?;
        let list = self.packs.get_mut(self.slots.get(slot as usize)?)?;
        list.used = self.uses;
        let (listed, place) = list.objects.get(at as usize)?;
        (*listed == hash && list.owner == owner).then_some(*place)
    }

    fn see(
        &mut self,
        owner: UserId,
        pack: PackRow,
        objects: impl Iterator<Item = (ObjectHash, ObjectId)>,
    ) {
        let seen = self.seen.entry(owner).or_default();
        seen.used = self.uses;
        seen.see(pack, objects);
        while self
            .seen
            .values()
            .map(|seen| seen.objects.len())
            .sum::<usize>()
            > MAX_SEEN
        {
            let others = self.seen.iter().filter(|(other, _)| **other != owner);
            let longest_unused = others.min_by_key(|(_, seen)| seen.used);
            let Some(other) = longest_unused.map(|(other, _)| *other) else {
                self.seen.insert(owner, Seen::full(self.uses));
                return;
            };
            self.seen.remove(&other);
        }
    }

    fn put(&mut self, owner: UserId, pack: PackRow, objects: Vec<(ObjectHash, ObjectRow)>) {
        self.forget(pack);
        while self.objects + objects.len() > MAX_OBJECTS {
            let longest_unused = self.packs.iter().min_by_key(|(_, list)| list.used);
            let Some((pack, _)) = longest_unused else {
                break;
            };
            self.forget(*pack);
        }
        for (hash, _) in &objects {
            // An object is in one pack at a time, so another pack with this key is gone.
            if let Some((slot, _)) = self.places.get(&key(owner, *hash)) {
                self.forget(self.slots[*slot as usize]);
            }
        }
        let slot = self.free.pop().unwrap_or(self.slots.len() as u32);
        match self.slots.get_mut(slot as usize) {
            Some(free) => *free = pack,
            None => self.slots.push(pack),
        }
        let keys = objects.iter().map(|(hash, _)| key(owner, *hash));
        let before = self.places.len();
        self.places.extend(keys.zip((0..).map(|at| (slot, at))));
        let all_differ = self.places.len() == before + objects.len();
        self.objects += objects.len();
        let used = self.uses;
        let list = List {
            slot,
            owner,
            objects,
            used,
        };
        self.packs.insert(pack, list);
        if !all_differ {
            // Two hashes of this pack share a key. This does not happen unless somebody searches for such hashes.
            self.forget(pack);
        }
    }

    fn forget(&mut self, pack: PackRow) {
        let Some(list) = self.packs.remove(&pack) else {
            return;
        };
        self.objects -= list.objects.len();
        for (hash, _) in &list.objects {
            self.places.remove(&key(list.owner, *hash));
        }
        self.free.push(list.slot);
    }
}

impl Seen {
    fn full(used: u64) -> Self {
        Self {
            is_full: true,
            used,
            ..Self::default()
        }
    }

    fn find(&self, hash: ObjectHash) -> Lookup {
        if self.is_full {
            return Lookup::Unknown;
        }
        match self.objects.get(&beginning(hash)) {
            Some(number) => self.id(*number).map_or(Lookup::Unknown, Lookup::Seen),
            None => Lookup::Unseen,
        }
    }

    fn id(&self, number: u32) -> Option<ObjectId> {
        let after = self.firsts.partition_point(|(first, _)| *first <= number);
        let (first, pack) = self.firsts.get(after.checked_sub(1)?)?;
        ObjectId::of(*pack, (number - first) as usize).ok()
    }

    fn see(&mut self, pack: PackRow, objects: impl Iterator<Item = (ObjectHash, ObjectId)>) {
        if self.is_full || !self.packs.insert(pack) {
            return;
        }
        let first = self.next;
        self.firsts.push((first, pack));
        for (hash, id) in objects {
            let number = u32::try_from(id.number()).ok();
            let Some(number) = number.and_then(|number| first.checked_add(number)) else {
                *self = Self::full(self.used);
                return;
            };
            self.objects.insert(beginning(hash), number);
            self.next = self.next.max(number.saturating_add(1));
        }
    }
}

fn beginning(hash: ObjectHash) -> [u8; 4] {
    let [a, b, c, d, ..] = *hash.as_bytes();
    [a, b, c, d]
}

/// The key of an object: a prefix of its hash, mixed with the owner, since several owners may have the same object.
fn key(owner: UserId, hash: ObjectHash) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = *hash.as_bytes();
    let owner = owner.0.cast_unsigned().wrapping_mul(0x9e37_79b9_7f4a_7c15);
    u64::from_le_bytes([a, b, c, d, e, f, g, h]) ^ owner
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use dotmesh_store::{FrameRange, Kind, object_hash};
    use proptest::prelude::*;

    use super::*;
    use crate::ids::ObjectId;

    fn hash(number: u8) -> ObjectHash {
        object_hash(Kind::Chunk, &[number])
    }

    fn place(pack: PackRow, number: usize) -> ObjectRow {
        ObjectRow {
            id: ObjectId::of(pack, number).expect("a small number"),
            kind: Kind::Chunk,
            range: FrameRange {
                offset: 8,
                length: 50,
            },
            raw_length: 1,
            grouped: false,
        }
    }

    proptest! {
        #[test]
        fn lists_tell_of_the_packs_that_were_put_and_not_forgotten(
            packs in prop::collection::vec((0..2i64, prop::collection::btree_set(0..20u8, 0..10)), 4),
            steps in prop::collection::vec((0..4usize, any::<bool>()), 0..30),
        ) {
            let lists = PackIndexCache::default();
            let mut model: BTreeMap<PackRow, (UserId, BTreeSet<u8>)> = BTreeMap::new();
            let mut seen: BTreeSet<(UserId, PackRow, Option<u8>)> = BTreeSet::new();
            for (pack, put) in steps {
                let (owner, objects) = packs[pack].clone();
                let (pack, owner) = (PackRow(pack as i64), UserId(owner));
                model.remove(&pack);
                match put {
                    false => lists.forget(pack),
                    true => {
                        let list = objects.iter().enumerate().map(|(n, o)| (hash(*o), place(pack, n)));
                        lists.put(owner, pack, list.collect());
                        model.retain(|_, (whose, others)| *whose != owner || others.is_disjoint(&objects));
                        seen.insert((owner, pack, None));
                        seen.extend(objects.iter().map(|object| (owner, pack, Some(*object))));
                        model.insert(pack, (owner, objects));
                    }
                }
                for owner in [UserId(0), UserId(1)] {
                    let hashes: Vec<ObjectHash> = (0..20).map(hash).collect();
                    let mut known = lists.find(owner, &hashes);
                    let of_owner = || model.iter().filter(|(_, (whose, _))| *whose == owner);
                    for (object, found) in (0..20).zip(&known.objects) {
                        let there = of_owner().find_map(|(pack, (_, objects))| {
                            let number = objects.iter().position(|there| *there == object)?;
                            Some(place(*pack, number).id)
                        });
                        let was_seen = seen.iter().any(|(whose, _, what)| *whose == owner && *what == Some(object));
                        match found {
                            Lookup::Listed(place) => prop_assert_eq!(Some(place.id), there),
                            Lookup::Seen(id) => {
                                prop_assert!(there.is_none());
                                prop_assert!(seen.contains(&(owner, id.pack(), Some(object))));
                                let objects = &packs[id.pack().0 as usize].1;
                                prop_assert_eq!(objects.iter().nth(id.number()), Some(&object));
                            }
                            Lookup::Unknown => prop_assert!(false, "there are few"),
                            Lookup::Unseen => prop_assert!(there.is_none() && !was_seen),
                        }
                    }
                    if known.objects.contains(&Lookup::Unseen) {
                        known.packs.sort_unstable();
                        let packs = seen.iter().filter(|(whose, _, what)| *whose == owner && what.is_none());
                        prop_assert_eq!(known.packs, packs.map(|(_, pack, _)| *pack).collect::<Vec<_>>());
                    }
                }
                let objects = model.values().map(|(_, objects)| objects.len()).sum::<usize>();
                prop_assert_eq!(lists.lock().objects, objects);
                prop_assert_eq!(lists.lock().places.len(), objects);
            }
        }
    }

    #[test]
    fn a_list_with_two_hashes_that_begin_the_same_is_not_kept() {
        let lists = PackIndexCache::default();
        let pack = PackRow(1);
        let [one, other] = [1, 2].map(|last| {
            let mut bytes = [7; 32];
            bytes[31] = last;
            ObjectHash::from_bytes(bytes)
        });
        let list = vec![(one, place(pack, 0)), (other, place(pack, 1))];
        lists.put(UserId(1), pack, list);
        let known = lists.find(UserId(1), &[one, other]);
        // Both hashes seem to be in the row of the last one.
        assert_eq!(known.objects, [Lookup::Seen(place(pack, 1).id); 2]);
    }

    #[test]
    fn where_too_many_objects_were_seen_the_owner_that_was_not_used_for_longest_goes_first() {
        let lists = PackIndexCache::default();
        let hashes = (0..MAX_SEEN as u32 + 1).map(|n| {
            let mut bytes = [0; 32];
            bytes[..4].copy_from_slice(&n.to_le_bytes());
            ObjectHash::from_bytes(bytes)
        });
        let hashes: Vec<ObjectHash> = hashes.collect();
        let pack = |pack: i64| {
            let ids = (0..).map(move |number| place(PackRow(pack), number % (1 << 20)).id);
            hashes.iter().copied().zip(ids).collect::<Vec<_>>()
        };
        let half = |number: i64| pack(number)[..MAX_SEEN / 2].to_vec();
        let seen = |number: i64| Lookup::Seen(place(PackRow(number), 0).id);
        let looked_up = |owner: i64| {
            let none = hash(0);
            lists.find(UserId(owner), &[hashes[0], none]).objects
        };
        for owner in [1, 2] {
            lists.see(UserId(owner), PackRow(owner), &half(owner));
        }
        assert_eq!(looked_up(1), [seen(1), Lookup::Unseen]);
        lists.see(UserId(3), PackRow(3), &half(3));
        assert_eq!(looked_up(1), [seen(1), Lookup::Unseen]);
        assert_eq!(looked_up(2), [Lookup::Unseen; 2]);
        assert_eq!(looked_up(3), [seen(3), Lookup::Unseen]);

        // An owner with too many objects must be looked up in the database, and evicts all other owners.
        lists.see(UserId(3), PackRow(4), &pack(4));
        assert_eq!(looked_up(1), [Lookup::Unseen; 2]);
        assert_eq!(looked_up(3), [Lookup::Unknown; 2]);
    }

    #[test]
    fn what_was_not_used_for_longest_goes_first() {
        let lists = PackIndexCache::default();
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
        let find = |hashes: &[ObjectHash]| {
            let known = lists.find(UserId(1), hashes);
            let listed = known.objects.iter();
            let listed = listed.map(|object| matches!(object, Lookup::Listed(_)));
            listed.collect::<Vec<_>>()
        };
        assert_eq!(find(&[first]), [true]);
        assert_eq!(find(&[third]), [true]);
        let fourth = put(4);
        let there = find(&[first, second, third, fourth]);
        assert_eq!(there, [true, false, true, true]);
    }
}
