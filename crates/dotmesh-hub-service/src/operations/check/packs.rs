//! Checks a pack, and every object that the index says to be in it.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use dotmesh_hub_db::check::{CheckedObject, CheckedPack};
use dotmesh_hub_db::ids::ObjectId;
use dotmesh_store::polite::Yielder;
use dotmesh_store::{
    FrameDecoder, Group, GroupBase, GroupBytes, PackStoreError, StoredFrame, references,
};

use super::{CheckReport, Checker, Defect, Losses, text};
use crate::error::HubError;

/// The stored groups that groups of a pack build on, by pack and offset. Those that are lost are not there.
type Bases = BTreeMap<([u8; 32], u32), Bytes>;

impl Checker {
    pub(super) async fn check_pack(
        &self,
        pack: CheckedPack,
        report: &mut CheckReport,
        losses: &mut Losses,
    ) -> Result<(), HubError> {
        let Some(objects) = self.database.objects_of_pack(&pack).await? else {
            return Ok(());
        };
        let count = objects.len() as u64;
        let got = match self.packs.get_damaged(pack.name).await {
            Ok(got) => Some(got),
            Err(PackStoreError::NotFound { .. }) => None,
            Err(error) => return Err(error.into()),
        };
        let lost = match &got {
            None => objects.iter().map(|object| object.id).collect(),
            Some((bytes, _)) => {
                let bases = self.bases_of(bytes, &objects).await?;
                let bytes = bytes.clone();
                let finding = self
                    .threads
                    .run(move || find_lost(&bytes, &objects, &bases));
                finding.await?
            }
        };
        // Whatever moved the objects elsewhere has verified them.
        if !self.database.has_pack(pack.row).await? {
            return Ok(());
        }
        report.packs += 1;
        report.bytes += got.as_ref().map_or(0, |(bytes, _)| bytes.len() as u64);
        report.objects += count;
        let lost_objects = lost.len() as u64;
        let is_whole = got.as_ref().is_some_and(|(_, whole)| *whole);
        let name = text(pack.name);
        let rows_missing = pack.objects.saturating_sub(count);
        let mut problems = Vec::new();
        match got {
            None => problems.push(Defect::PackMissing {
                pack: name.clone(),
                lost_objects,
            }),
            // A repair has left the rest of it, until a repack stores it anew.
            Some(_) if lost_objects == 0 && pack.is_known_damaged => {}
            Some(_) if !is_whole => problems.push(Defect::PackDamaged {
                pack: name.clone(),
                lost_objects,
            }),
            Some(_) if lost_objects > 0 => problems.push(Defect::IndexWrong {
                pack: name.clone(),
                lost_objects,
            }),
            Some(_) => {}
        }
        if pack.objects != count {
            problems.push(Defect::IndexIncomplete {
                pack: name,
                rows_missing,
            });
        }
        if problems.is_empty() {
            return Ok(());
        }
        report.problems.extend(problems);
        losses.objects.insert(pack.row, lost);
        losses.packs.push(pack);
        Ok(())
    }

    /// Reads the groups that the groups of these objects build on.
    async fn bases_of(&self, pack: &Bytes, objects: &[CheckedObject]) -> Result<Bases, HubError> {
        let ranges: BTreeSet<(u32, u32)> = objects
            .iter()
            .filter(|object| object.object.grouped)
            .map(|object| (object.object.range.offset, object.object.range.length))
            .collect();
        let mut wanted: Vec<GroupBase> = Vec::new();
        for (offset, length) in ranges {
            if let Some(stored) = slice(pack, offset, length)
                && let Ok(StoredFrame::Group(group)) = StoredFrame::parse(&stored)
                && let Some(base) = group.base()
                && !wanted.contains(&base)
            {
                wanted.push(base);
            }
        }
        let mut bases = Bases::new();
        for base in wanted {
            let key = (*base.pack.as_bytes(), base.range.offset);
            match self.packs.read(base.pack, &[base.range]).await {
                Ok(read) => bases.extend(read.into_iter().map(|stored| (key, stored))),
                Err(error) if is_lost(&error) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(bases)
    }
}

/// Whether the bytes are not there, as opposed to a store that does not answer.
fn is_lost(error: &PackStoreError) -> bool {
    matches!(
        error,
        PackStoreError::NotFound { .. } | PackStoreError::Damaged { .. }
    )
}

fn slice(pack: &Bytes, offset: u32, length: u32) -> Option<Bytes> {
    let (start, length) = (offset as usize, length as usize);
    let end = start.checked_add(length)?;
    (end <= pack.len()).then(|| pack.slice(start..end))
}

/// Returns the objects that are not where the index says.
fn find_lost(pack: &Bytes, objects: &[CheckedObject], bases: &Bases) -> BTreeSet<ObjectId> {
    let mut by_range: BTreeMap<(u32, u32), Vec<&CheckedObject>> = BTreeMap::new();
    for object in objects {
        let range = object.object.range;
        let same = by_range.entry((range.offset, range.length)).or_default();
        same.push(object);
    }
    let mut lost = BTreeSet::new();
    let mut decoder = FrameDecoder::default();
    let mut yielder = Yielder::default();
    for ((offset, length), objects) in by_range {
        let frame = slice(pack, offset, length).and_then(|stored| StoredFrame::parse(&stored).ok());
        let group = match &frame {
            Some(StoredFrame::Group(group)) => decompress(group, bases).map(|bytes| (group, bytes)),
            _ => None,
        };
        for checked in objects {
            let found = match (&frame, &group) {
                (Some(StoredFrame::Single(frame)), _) => decoder.object(frame).ok(),
                (_, Some((group, bytes))) => {
                    let number = group.find(checked.object.hash);
                    number.and_then(|number| bytes.object(group, number).ok())
                }
                _ => None,
            };
            let is_grouped = group.is_some();
            let is_right = found.is_some_and(|found| {
                found.hash() == checked.object.hash
                    && found.kind() == checked.object.kind
                    && found.bytes().len() == checked.object.raw_length as usize
                    && is_grouped == checked.object.grouped
                    && references(found.kind(), found.bytes()).is_ok()
            });
            if !is_right {
                lost.insert(checked.id);
            }
            yielder.yield_if_due();
        }
    }
    lost
}

/// Decompresses a group, if what it builds on is there. The objects are not verified yet.
fn decompress(group: &Group, bases: &Bases) -> Option<GroupBytes> {
    let Some(base) = group.base() else {
        return group.decompress(None).ok();
    };
    let stored = bases.get(&(*base.pack.as_bytes(), base.range.offset))?;
    let below = Group::parse(stored).ok()?.decompress(None).ok()?;
    group.decompress(Some(&below)).ok()
}
