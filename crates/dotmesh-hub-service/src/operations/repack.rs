//! Repacks: brings objects that were pushed some time ago into packs that take less space.
//!
//! Versions of the same place in successive commits come together in groups ([`dotmesh_store::group`]). Garbage is left
//! out. New packs are stored and read back first. One transaction then puts them in the place of the old packs, whose
//! files the garbage collection deletes after its grace. So a repack may be interrupted at any moment, may run twice at
//! a time, and disturbs no reader.

mod choose;
mod groups;
mod places;
mod write;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use dotmesh_hub_db::ids::{DotId, PackRow, UserId};
use dotmesh_hub_db::objects::Location;
use dotmesh_hub_db::repack::{Candidate, NewPack, OldObjects, RepackEntry, Replacement, Why};
use dotmesh_hub_db::{Database, DatabaseError};
use dotmesh_model::ObjectHash;
use dotmesh_store::{FrameRange, GroupBase, PackId, PackStore, PackStoreError, StoredFrame};
use foldhash::{HashMap, HashMapExt as _};
use jiff::Timestamp;

use self::choose::choose;
use self::groups::{Item, arrange};
use self::places::{Place, Places, find_places};
use self::write::write;
use super::collect_garbage::{self, CollectError};
use crate::background::Background;
use crate::error::HubError;
use crate::state::Hub;

/// The most objects in one repack, which one transaction moves. About 100 bytes of memory are needed for each.
const OBJECTS: u64 = 1 << 17;

/// Hashes in one lookup.
const HASHES: usize = 8192;

/// Repacks a hub's store, with or without a server.
#[derive(Clone)]
pub struct Repacker {
    database: Database,
    packs: PackStore,
    threads: Background,
    /// The most objects in one repack.
    objects: u64,
}

/// The result of repacks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Repacked {
    /// The number of packs that were replaced.
    pub packs: u64,
    /// The number of objects in the new packs.
    pub objects: u64,
    /// The number of objects that nothing needed any more.
    pub left_out: u64,
    /// The length of the old packs, in bytes.
    pub before: u64,
    /// The length of the new packs, in bytes.
    pub after: u64,
    /// Packs that are lost or damaged, and were left out.
    pub damaged: BTreeSet<PackId>,
}

/// The packs that a repack would replace.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Repackable {
    /// The number of namespaces that have such packs.
    pub namespaces: u64,
    pub packs: u64,
    /// The length of these packs, in bytes.
    pub bytes: u64,
}

/// Why a repack failed.
#[derive(Debug, thiserror::Error)]
pub enum RepackError {
    /// The store belongs to another hub, or cannot be claimed.
    #[error(transparent)]
    Own(#[from] CollectError),
    /// The database failed.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// Reading or writing failed.
    #[error(transparent)]
    Hub(#[from] HubError),
}

/// How a repack of some packs ended.
enum Step {
    Done(RepackEntry),
    /// Nothing is worth a repack.
    Nothing,
    /// Something changed meanwhile. A later repack does it.
    Changed,
}

impl Repacker {
    /// Repacks the store of a running hub, on its background threads.
    pub fn of(hub: &Hub) -> Self {
        Self {
            database: hub.database.clone(),
            packs: hub.packs.clone(),
            threads: hub.background.clone(),
            objects: OBJECTS,
        }
    }

    /// Repacks a store from a program of its own.
    pub fn new(database: Database, packs: PackStore) -> Self {
        Self {
            database,
            packs,
            threads: Background::default(),
            objects: OBJECTS,
        }
    }

    /// Limits the number of objects in one repack. For tests.
    pub fn with_most_objects(mut self, objects: u64) -> Self {
        self.objects = objects;
        self
    }

    /// Repacks the packs that are older than `settled` at `now`, one namespace after the other. A pack that is lost or
    /// damaged is left out, and so are those that build on it. A namespace where it fails does not keep the others from
    /// being repacked. The first failure is returned at the end.
    pub async fn repack(&self, now: Timestamp, settled: Duration) -> Result<Repacked, RepackError> {
        // In another hub's store, files without rows would be left behind.
        collect_garbage::own_store(&self.database, &self.packs).await?;
        let mut done = Repacked::default();
        let before = now - settled;
        let mut failed = None;
        let mut last = None;
        while let Some(owner) = self.database.next_to_repack(last, before).await? {
            last = Some(owner);
            let mut left_out = BTreeSet::new();
            loop {
                match self.step(owner, now, before, &left_out).await {
                    Ok(Step::Done(entry)) => {
                        done.packs += entry.packs;
                        done.objects += entry.objects;
                        done.left_out += entry.left_out;
                        done.before += entry.before;
                        done.after += entry.after;
                    }
                    Ok(Step::Nothing | Step::Changed) => break,
                    Err(HubError::Store(
                        PackStoreError::Damaged { pack } | PackStoreError::NotFound { pack },
                    )) if !left_out.contains(&pack) => {
                        let based = self.database.packs_on(pack).await?;
                        let with_it = based.len();
                        left_out.insert(pack);
                        left_out.extend(based);
                        if done.damaged.insert(pack) {
                            tracing::error!(
                                %pack,
                                with_it,
                                "a repack leaves out a lost or damaged pack, and those that build on it: run dothub check"
                            );
                        }
                    }
                    Err(error) => {
                        failed.get_or_insert(error);
                        break;
                    }
                }
            }
        }
        match failed {
            None => Ok(done),
            Some(error) => Err(error.into()),
        }
    }

    /// Returns what a repack would replace now.
    pub async fn find(&self, now: Timestamp, settled: Duration) -> Result<Repackable, RepackError> {
        let mut found = Repackable::default();
        let before = now - settled;
        let mut last = None;
        while let Some(owner) = self.database.next_to_repack(last, before).await? {
            last = Some(owner);
            let candidates = self.database.candidates(owner, before).await?;
            let chosen = choose(&candidates, u64::MAX);
            found.namespaces += u64::from(!chosen.is_empty());
            found.packs += chosen.len() as u64;
            found.bytes += chosen.iter().map(|pack| pack.length).sum::<u64>();
        }
        Ok(found)
    }

    /// Repacks some packs of a namespace.
    async fn step(
        &self,
        owner: UserId,
        now: Timestamp,
        before: Timestamp,
        left_out: &BTreeSet<PackId>,
    ) -> Result<Step, HubError> {
        let mut candidates = self.database.candidates(owner, before).await?;
        candidates.retain(|pack| !left_out.contains(&pack.name));
        let chosen = choose(&candidates, self.objects);
        if chosen.is_empty() {
            return Ok(Step::Nothing);
        }
        let named: Vec<(PackRow, PackId)> =
            chosen.iter().map(|pack| (pack.pack, pack.name)).collect();
        let old = self.database.objects_of_packs(&named).await?;
        let deletions = self.database.deletions(now).await?;
        let new = self.rewrite(owner, &candidates, &chosen, &old).await?;
        let entry = RepackEntry {
            time: now,
            packs: chosen.len() as u64,
            objects: old.needed.len() as u64,
            left_out: old.garbage,
            before: chosen.iter().map(|pack| pack.length).sum(),
            after: new.iter().map(|(_, length)| length).sum(),
        };
        let rows: Vec<PackRow> = chosen.iter().map(|pack| pack.pack).collect();
        let packs: Vec<NewPack> = new.into_iter().map(|(pack, _)| pack).collect();
        let database = &self.database;
        let why = Why::Repack(&entry);
        let replaced = database.replace_packs(owner, &rows, &packs, deletions, &why);
        match replaced.await {
            Ok(Replacement::Done) => Ok(Step::Done(entry)),
            Ok(Replacement::Changed) | Err(DatabaseError::Collected | DatabaseError::Deleting) => {
                Ok(Step::Changed)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Stores the needed objects in new packs. Returns the packs with their lengths.
    async fn rewrite(
        &self,
        owner: UserId,
        candidates: &[Candidate],
        chosen: &[Candidate],
        old: &OldObjects,
    ) -> Result<Vec<(NewPack, u64)>, HubError> {
        let families = self.families(&old.dots).await?;
        let places = find_places(self, owner, &old.needed, &old.dots, &families).await?;
        let bases = self.bases(owner, candidates, chosen, &places).await?;
        let items = old.needed.iter().enumerate().map(|(number, object)| {
            let placed = places.placed[number];
            Item {
                number,
                kind: object.kind,
                raw_length: object.location.raw_length,
                placed,
                base: placed.and_then(|placed| bases.get(&placed.place).copied()),
            }
        });
        let groups = arrange(items.collect());
        drop(places);
        write(self, &old.needed, groups).await
    }

    /// Numbers the lines of forks of dots.
    async fn families(&self, dots: &[DotId]) -> Result<HashMap<DotId, u32>, HubError> {
        let origins = self.database.origins(dots).await?;
        let lines: BTreeSet<DotId> = origins.values().copied().collect();
        let numbers: BTreeMap<DotId, u32> = lines.into_iter().zip(0..).collect();
        let families = origins
            .into_iter()
            .filter_map(|(dot, origin)| Some((dot, *numbers.get(&origin)?)));
        Ok(families.collect())
    }

    /// Returns for each place the group with what was there before, if an earlier repack made one.
    async fn bases(
        &self,
        owner: UserId,
        candidates: &[Candidate],
        chosen: &[Candidate],
        places: &Places,
    ) -> Result<HashMap<Place, GroupBase>, HubError> {
        let chosen: BTreeSet<PackId> = chosen.iter().map(|pack| pack.name).collect();
        let repacked = candidates.iter().filter(|pack| pack.repacked);
        let repacked: BTreeMap<PackId, bool> =
            repacked.map(|pack| (pack.name, pack.based)).collect();
        let mut by_dot: BTreeMap<DotId, Vec<(Place, ObjectHash)>> = BTreeMap::new();
        for (place, (dot, hash)) in &places.older {
            by_dot.entry(*dot).or_default().push((*place, *hash));
        }
        let mut found: HashMap<Place, GroupBase> = HashMap::new();
        let mut unsure: BTreeMap<PackId, BTreeMap<(u32, u32), Vec<Place>>> = BTreeMap::new();
        for (dot, older) in by_dot {
            for older in older.chunks(HASHES) {
                let hashes: Vec<ObjectHash> = older.iter().map(|(_, hash)| *hash).collect();
                let located = self.database.locate(owner, dot, &hashes).await?;
                for ((place, _), location) in older.iter().zip(located) {
                    let Some(Location { pack, range, .. }) = location.filter(|at| at.grouped)
                    else {
                        continue;
                    };
                    match repacked.get(&pack) {
                        Some(false) => {
                            found.insert(*place, GroupBase { pack, range });
                        }
                        Some(true) => {
                            let places = unsure.entry(pack).or_default();
                            let range = (range.offset, range.length);
                            places.entry(range).or_default().push(*place);
                        }
                        None => {}
                    }
                }
            }
        }
        for (pack, ranges) in unsure {
            let list: Vec<FrameRange> = ranges
                .keys()
                .map(|(offset, length)| FrameRange {
                    offset: *offset,
                    length: *length,
                })
                .collect();
            let read = self.packs.read(pack, &list).await?;
            for ((range, stored), places) in list.into_iter().zip(read).zip(ranges.into_values()) {
                let base = match StoredFrame::parse(&stored) {
                    // What builds on a group is near it, so that group is the base of this place too.
                    Ok(StoredFrame::Group(group)) => {
                        group.base().unwrap_or(GroupBase { pack, range })
                    }
                    _ => continue,
                };
                found.extend(places.into_iter().map(|place| (place, base)));
            }
        }
        // A pack that goes cannot be a base. One that is lost cannot either.
        found.retain(|_, base| repacked.contains_key(&base.pack) && !chosen.contains(&base.pack));
        Ok(found)
    }
}
