//! Checks a whole store: every pack, every object, every connection. Marks what is lost, if asked to.
//!
//! It runs beside a hub that serves. What a repack or a garbage collection removes meanwhile counts as checked.

mod dots;
mod packs;

use std::collections::{BTreeMap, BTreeSet};

use dotmesh_hub_db::check::{CheckedDot, CheckedPack};
use dotmesh_hub_db::ids::{DotId, ObjectId, PackRow};
use dotmesh_hub_db::repack::{NewPack, Replacement, Why};
use dotmesh_hub_db::{Database, DatabaseError};
use dotmesh_model::{CommitId, ObjectHash};
use dotmesh_store::{PackId, PackStore};
use jiff::Timestamp;
use serde::Serialize;

use crate::background::Background;
use crate::error::HubError;

/// The number of rows that are read at once.
const ROWS: u32 = 100;

/// How often a repair is tried if a pack changes meanwhile.
const ATTEMPTS: usize = 5;

/// Checks a store.
pub struct Checker {
    pub(super) database: Database,
    pub(super) packs: PackStore,
    pub(super) threads: Background,
}

/// What a check has found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct CheckReport {
    /// The number of packs that were checked.
    pub packs: u64,
    /// The length of these packs, in bytes.
    pub bytes: u64,
    /// The number of objects that were checked.
    pub objects: u64,
    /// The number of dots that were checked, deleted ones included.
    pub dots: u64,
    /// The number of commits with their data that were checked.
    pub commits: u64,
    pub problems: Vec<Defect>,
    /// Whether the problems were marked, so that the next push brings what is lost.
    pub repaired: bool,
}

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "problem", rename_all = "snake_case")]
pub enum Defect {
    /// The store has no such pack.
    PackMissing { pack: String, lost_objects: u64 },
    /// The bytes of a pack are not those that were stored.
    PackDamaged { pack: String, lost_objects: u64 },
    /// A pack is whole, but the index says of some objects that they are where they are not.
    IndexWrong { pack: String, lost_objects: u64 },
    /// The index lacks objects that a pack was stored with.
    IndexIncomplete { pack: String, rows_missing: u64 },
    /// Commits of a dot have lost a part of their data.
    CommitsIncomplete {
        dot: String,
        commits: Vec<CommitId>,
        /// Some of the objects that are missing.
        missing: Vec<ObjectHash>,
    },
}

/// What the check has found out, for a repair.
#[derive(Default)]
pub(super) struct Losses {
    /// Objects whose bytes are gone, by the row of their pack.
    pub(super) objects: BTreeMap<PackRow, BTreeSet<ObjectId>>,
    /// The packs of these objects, and those with an incomplete index.
    pub(super) packs: Vec<CheckedPack>,
    pub(super) dots: Vec<BrokenDot>,
}

/// A dot that has lost objects.
pub(super) struct BrokenDot {
    pub(super) dot: CheckedDot,
    pub(super) commits: Vec<CommitId>,
    /// The pages that are whole, but refer to something that is lost, by themselves or through other pages.
    pub(super) pages: Vec<ObjectHash>,
}

impl Losses {
    pub(super) fn has(&self, object: ObjectId) -> bool {
        let lost = self.objects.get(&object.pack());
        lost.is_some_and(|lost| lost.contains(&object))
    }
}

impl Checker {
    pub fn new(database: Database, packs: PackStore) -> Self {
        Self {
            database,
            packs,
            threads: Background::default(),
        }
    }

    /// Checks everything. With `repair`, it marks what is lost.
    pub async fn check(&self, repair: bool, now: Timestamp) -> Result<CheckReport, HubError> {
        let mut report = CheckReport::default();
        let mut losses = Losses::default();
        let mut last: Option<PackRow> = None;
        loop {
            let packs = self.database.packs_after(last, ROWS).await?;
            let Some(end) = packs.last() else { break };
            last = Some(end.row);
            for pack in packs {
                self.check_pack(pack, &mut report, &mut losses).await?;
            }
        }
        let mut last: Option<DotId> = None;
        loop {
            let dots = self.database.dots_after(last, ROWS).await?;
            let Some(end) = dots.last() else { break };
            last = Some(end.id);
            for dot in dots {
                self.check_dot(dot, &mut report, &mut losses).await?;
            }
        }
        if repair && !report.problems.is_empty() {
            self.repair(losses, now).await?;
            report.repaired = true;
        }
        Ok(report)
    }

    async fn repair(&self, losses: Losses, now: Timestamp) -> Result<(), HubError> {
        // The dots first: while a dot has an object, the hub must be able to find its references, or the connectivity
        // check of a push would not look for them.
        for BrokenDot {
            dot,
            commits,
            pages,
        } in &losses.dots
        {
            self.database.mark_lost(dot, commits, pages).await?;
            tracing::warn!(dot = dot.name, commits = commits.len(), "marked as lost");
        }
        let none = BTreeSet::new();
        for pack in &losses.packs {
            let lost = losses.objects.get(&pack.row).unwrap_or(&none);
            self.drop_lost(pack, lost, now).await?;
        }
        Ok(())
    }

    /// Gives a pack a new row without the lost objects. A later repack stores the others anew.
    async fn drop_lost(
        &self,
        pack: &CheckedPack,
        lost: &BTreeSet<ObjectId>,
        now: Timestamp,
    ) -> Result<(), HubError> {
        for _ in 0..ATTEMPTS {
            let Some(objects) = self.database.objects_of_pack(pack).await? else {
                return Ok(());
            };
            let kept = objects
                .into_iter()
                .filter(|object| !lost.contains(&object.id));
            let mut kept: Vec<_> = kept.map(|object| (object.id, object.object)).collect();
            kept.sort_unstable_by_key(|(_, object)| object.hash);
            let new = (!kept.is_empty()).then(|| NewPack {
                name: pack.name,
                objects: kept,
                bases: BTreeSet::new(),
            });
            let new: Vec<NewPack> = new.into_iter().collect();
            let deletions = self.database.deletions(now).await?;
            let why = Why::Repair { lost };
            let database = &self.database;
            let rows = [pack.row];
            let replaced = database.replace_packs(pack.owner, &rows, &new, deletions, &why);
            match replaced.await {
                Ok(Replacement::Done) => return Ok(()),
                Ok(Replacement::Changed)
                | Err(DatabaseError::Collected | DatabaseError::Deleting) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

fn text(pack: PackId) -> String {
    pack.to_string()
}
