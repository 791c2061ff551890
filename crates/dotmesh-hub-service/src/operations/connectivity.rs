//! The connectivity check: it proves that everything that pushed commits refer to is present, and that the push may
//! refer to it.
//!
//! The cost depends on the size of the change. Pages are tree pages and file pages. The check reads each
//! new page together with the old pages that had its place in the parent commit's tree. References of old pages need no
//! lookup: the dot has those objects already, or the check of the parent covers them. The choice of the old pages
//! affects the speed of the check, never its result.

mod compare;

use std::collections::BTreeSet;

use dotmesh_hub_db::commits::NewCommit;
use dotmesh_hub_db::objects::walk::Walk;
use dotmesh_hub_db::objects::{Known, Location, UploadScope};
use dotmesh_model::ObjectHash;
use dotmesh_store::{End, Kind, Named, PackStoreError, named};

use self::compare::{Came, New, Old, PlacedPage, compare};
use super::frames::{Decoder, read_objects};
use crate::error::HubError;
use crate::state::Hub;

/// The most pages in a batch.
const PAGES: usize = 256;

/// The most pages that wait to be read. Real trees need few. Only a tree that is made to exhaust memory needs more.
const MAX_PENDING: usize = 1 << 18;

/// The size of a batch's pages, in bytes. The old pages beside them take about as much. A single page may be larger.
const BATCH_LENGTH: u64 = 4 << 20;

/// Hashes in one lookup.
const HASHES: usize = 8192;

/// The number of missing objects at which the check stops.
const MAX_MISSING: usize = 1000;

/// The number of missing objects that the error names.
const SHOWN: usize = 3;

/// Checks the parts of the commits' trees that the dot does not have yet, and notes in `walk` the objects that the dot
/// must get.
///
/// The check does not enter objects that the dot has: with an object, a dot has everything that the object refers to.
/// Parents come before their children, so each tree's check relies only on the trees before it.
pub(crate) async fn check_connectivity(
    hub: &Hub,
    walk: &mut Walk,
    scope: UploadScope,
    commits: &[NewCommit],
) -> Result<(), HubError> {
    let mut walker = Walker {
        hub,
        scope,
        walk,
        pending: Vec::new(),
        missing: BTreeSet::new(),
    };
    // The check skips commits without data. The objects that they name do not become the dot's.
    for commit in commits.iter().filter(|commit| !commit.sealed.without_data) {
        walker.walk_tree(commit).await?;
    }
    let missing = walker.missing;
    if missing.is_empty() {
        return Ok(());
    }
    Err(HubError::Incomplete {
        count: missing.len(),
        capped: missing.len() >= MAX_MISSING,
        first: missing.into_iter().take(SHOWN).collect(),
    })
}

struct Walker<'a> {
    hub: &'a Hub,
    scope: UploadScope,
    walk: &'a mut Walk,
    pending: Vec<Pending>,
    missing: BTreeSet<ObjectHash>,
}

/// A page that was reached, but not read yet.
struct Pending {
    page: PlacedPage,
    location: Location,
    beside: Vec<PlacedPage>,
}

impl Walker<'_> {
    async fn walk_tree(&mut self, commit: &NewCommit) -> Result<(), HubError> {
        let at_beginning = |hash| PlacedPage { hash, after: None };
        let root = Came {
            reference: (Kind::Root, commit.sealed.root),
            after: None,
            beside: commit.parent_tree.map(at_beginning).into_iter().collect(),
        };
        let root = self.look_up(vec![root]).await?;
        self.note(root)?;
        while self.missing.len() < MAX_MISSING && !self.pending.is_empty() {
            // Two batches run at a time: while one waits for the disk or the database, the other is compared.
            let batches = [self.take(), self.take()];
            let [last, before] = batches.map(|pages| self.enter(pages));
            let (last, before) = tokio::try_join!(last, before)?;
            self.note(before)?;
            self.note(last)?;
            if self.pending.len() > MAX_PENDING {
                let what = "tree pages that wait to be read";
                let limit = MAX_PENDING;
                return Err(HubError::TooLarge { what, limit });
            }
        }
        Ok(())
    }

    /// Takes pages to be read: at least one, if there is any. It takes the last ones first, so that few pages are
    /// pending at a time.
    fn take(&mut self) -> Vec<Pending> {
        let mut sum = 0;
        let fitting = self.pending.iter().rev().take(PAGES).take_while(|pending| {
            sum += u64::from(pending.location.raw_length);
            sum <= BATCH_LENGTH
        });
        let fitting = fitting.count().max(1);
        let rest = self.pending.len().saturating_sub(fitting);
        self.pending.split_off(rest)
    }

    /// Reads new pages and the old pages beside them, and looks up the objects that only the new pages name.
    async fn enter(&self, pages: Vec<Pending>) -> Result<Vec<(Came, Option<Known>)>, HubError> {
        if pages.is_empty() {
            return Ok(Vec::new());
        }
        let old = self.read_old(&pages).await?;
        let new = self.read_new(pages).await?;
        let came = tokio::task::spawn_blocking(move || compare(&new, &old));
        self.look_up(came.await?).await
    }

    async fn look_up(&self, came: Vec<Came>) -> Result<Vec<(Came, Option<Known>)>, HubError> {
        let hashes: Vec<ObjectHash> = came.iter().map(|came| came.reference.1).collect();
        let mut usable = Vec::with_capacity(hashes.len());
        for hashes in hashes.chunks(HASHES) {
            usable.extend(self.hub.database.usable(self.scope, hashes).await?);
        }
        Ok(came.into_iter().zip(usable).collect())
    }

    /// Records which objects exist and which are missing. Pages must be read too. Chunks refer to nothing.
    fn note(&mut self, looked_up: Vec<(Came, Option<Known>)>) -> Result<(), HubError> {
        for (came, known) in looked_up {
            let (kind, hash) = came.reference;
            match known {
                None => {
                    self.missing.insert(hash);
                }
                Some(known) if known.kind != kind => return Err(HubError::WrongKind { hash }),
                Some(known) if known.member => {}
                Some(known) => {
                    if self.walk.reach(&known) && kind != Kind::Chunk {
                        let after = came.after;
                        self.pending.push(Pending {
                            page: PlacedPage { hash, after },
                            location: known.location,
                            beside: came.beside,
                        });
                    }
                }
            }
        }
        Ok(())
    }

    async fn read_new(&self, pages: Vec<Pending>) -> Result<Vec<New>, HubError> {
        let placed = pages
            .iter()
            .map(|pending| (pending.page.clone(), pending.location));
        let read = self.read(placed.collect()).await?;
        let new = pages.into_iter().zip(read).map(|(pending, named)| New {
            after: pending.page.after,
            named,
            beside: pending.beside,
        });
        Ok(new.collect())
    }

    /// Reads the old pages beside some new ones. A damaged old page is ignored, so that it doesn't block a push.
    async fn read_old(&self, pages: &[Pending]) -> Result<Old, HubError> {
        let old: BTreeSet<&PlacedPage> = pages.iter().flat_map(|pending| &pending.beside).collect();
        let hashes: Vec<ObjectHash> = old.iter().map(|old| old.hash).collect();
        let usable = self.hub.database.usable(self.scope, &hashes).await?;
        let there = old.into_iter().zip(usable);
        let there = there.filter_map(|(old, known)| Some((old.clone(), known?.location)));
        let there: Vec<_> = there.collect();
        let placed: Vec<PlacedPage> = there.iter().map(|(placed, _)| placed.clone()).collect();
        let read = self.read(there).await.unwrap_or_default();
        Ok(placed.into_iter().zip(read).collect())
    }

    /// Reads pages and verifies their bytes again. A push must not rely on bytes that a failing disk has changed.
    async fn read(&self, pages: Vec<(PlacedPage, Location)>) -> Result<Vec<Vec<Named>>, HubError> {
        let wanted: Vec<_> = pages
            .iter()
            .map(|(page, location)| (page.hash, *location))
            .collect();
        let objects = read_objects(&self.hub.packs, &wanted).await?;
        let read = tokio::task::spawn_blocking(move || {
            let mut decoder = Decoder::default();
            let mut all = Vec::with_capacity(pages.len());
            for (object, (page, location)) in objects.iter().zip(pages) {
                // The object was whole when the hub accepted it, so damage is now the hub's fault.
                let object = decoder
                    .object(object)
                    .map_err(|_| PackStoreError::Damaged {
                        pack: location.pack,
                    })?;
                let after: Option<&End> = page.after.as_ref();
                let read = named(object.kind(), object.bytes(), after);
                let hash = page.hash;
                all.push(read.map_err(|source| HubError::InvalidObject { hash, source })?);
            }
            Ok(all)
        });
        read.await?
    }
}
