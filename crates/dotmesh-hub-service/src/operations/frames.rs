//! Reads objects from several packs. A frame has one object, or it is a group with several.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use dotmesh_hub_db::objects::Location;
use dotmesh_model::ObjectHash;
use dotmesh_store::{
    Frame, FrameDecoder, FrameRange, Group, GroupBytes, Object, PackError, PackId, PackStore,
    PackStoreError, StoredFrame,
};
use futures::{StreamExt as _, TryStreamExt as _, stream};

const PACKS_AT_ONCE: usize = 4;

/// The most uncompressed groups that a decoder keeps.
const KEPT_GROUPS: usize = 8;

/// An object as it was read, not verified. [`Decoder::object`] verifies it.
#[derive(Debug, Clone)]
pub(crate) enum ReadObject {
    Single(Frame),
    /// The object with this number of a group.
    Member(Arc<ReadGroup>, usize),
}

/// A group as it was read, with the group that it builds on.
#[derive(Debug)]
pub(crate) struct ReadGroup {
    group: Group,
    base: Option<Arc<Group>>,
    /// The number of the last object that was asked for.
    last: usize,
}

/// Returns objects in the order of `wanted`. The caller must verify their bytes, with a [`Decoder`].
pub(crate) async fn read_objects(
    packs: &PackStore,
    wanted: &[(ObjectHash, Location)],
) -> Result<Vec<ReadObject>, PackStoreError> {
    // Objects of one group have one range.
    let mut by_pack: BTreeMap<PackId, BTreeMap<(u32, u32), Vec<usize>>> = BTreeMap::new();
    for (n, (_, location)) in wanted.iter().enumerate() {
        let FrameRange { offset, length } = location.range;
        let ranges = by_pack.entry(location.pack).or_default();
        ranges.entry((offset, length)).or_default().push(n);
    }
    let ranges = by_pack
        .iter()
        .map(|(pack, ranges)| (*pack, ranges.keys().copied().collect()));
    let read = read_ranges(packs, ranges.collect()).await?;
    let bases: BTreeSet<(PackId, (u32, u32))> = read.values().filter_map(base_of).collect();
    let mut base_ranges: BTreeMap<PackId, Vec<(u32, u32)>> = BTreeMap::new();
    for (pack, range) in bases {
        base_ranges.entry(pack).or_default().push(range);
    }
    let bases = read_ranges(packs, base_ranges).await?;
    let mut groups: BTreeMap<(PackId, (u32, u32)), Arc<Group>> = BTreeMap::new();
    for (place, frame) in bases {
        match frame {
            StoredFrame::Group(group) if group.base().is_none() => {
                groups.insert(place, Arc::new(group));
            }
            _ => return Err(PackStoreError::Damaged { pack: place.0 }),
        }
    }

    let mut objects: Vec<Option<ReadObject>> = vec![None; wanted.len()];
    for ((pack, range), frame) in read {
        let damaged = || PackStoreError::Damaged { pack };
        let places = by_pack.get(&pack).and_then(|ranges| ranges.get(&range));
        let places = places.into_iter().flatten();
        match frame {
            StoredFrame::Single(frame) => {
                for n in places {
                    if frame.hash() != wanted[*n].0 {
                        return Err(damaged());
                    }
                    objects[*n] = Some(ReadObject::Single(frame.clone()));
                }
            }
            StoredFrame::Group(group) => {
                let found = places.map(|n| Some((*n, group.find(wanted[*n].0)?)));
                let found = found.collect::<Option<Vec<_>>>().ok_or_else(damaged)?;
                let last = found.iter().map(|(_, number)| *number).max();
                let base = base_of_group(&group).and_then(|base| groups.get(&base).cloned());
                let group = Arc::new(ReadGroup {
                    group,
                    base,
                    last: last.unwrap_or_default(),
                });
                for (n, number) in found {
                    objects[n] = Some(ReadObject::Member(Arc::clone(&group), number));
                }
            }
        }
    }
    // Every position has its range, so every object is there.
    Ok(objects.into_iter().flatten().collect())
}

/// Reads frames at these positions.
async fn read_ranges(
    packs: &PackStore,
    wanted: BTreeMap<PackId, Vec<(u32, u32)>>,
) -> Result<BTreeMap<(PackId, (u32, u32)), StoredFrame>, PackStoreError> {
    let read: Vec<_> = stream::iter(wanted)
        .map(async |(pack, places)| {
            let ranges = places
                .iter()
                .map(|(offset, length)| FrameRange {
                    offset: *offset,
                    length: *length,
                })
                .collect::<Vec<_>>();
            let read = packs.read(pack, &ranges).await?;
            let frames = places.into_iter().zip(&read).map(|(place, stored)| {
                let frame = StoredFrame::parse(stored);
                let frame = frame.map_err(|_| PackStoreError::Damaged { pack })?;
                Ok(((pack, place), frame))
            });
            frames.collect::<Result<Vec<_>, PackStoreError>>()
        })
        .buffer_unordered(PACKS_AT_ONCE)
        .try_concat()
        .await?;
    Ok(read.into_iter().collect())
}

fn base_of(frame: &StoredFrame) -> Option<(PackId, (u32, u32))> {
    match frame {
        StoredFrame::Single(_) => None,
        StoredFrame::Group(group) => base_of_group(group),
    }
}

fn base_of_group(group: &Group) -> Option<(PackId, (u32, u32))> {
    let base = group.base()?;
    Some((base.pack, (base.range.offset, base.range.length)))
}

/// Decodes and verifies objects. Use one decoder for many objects: it reuses its memory, and keeps some groups.
#[derive(Default)]
pub(crate) struct Decoder {
    frames: FrameDecoder<'static>,
    groups: Vec<(Arc<ReadGroup>, GroupBytes)>,
    bases: Vec<(Arc<Group>, GroupBytes)>,
}

impl Decoder {
    /// Returns the object.
    pub(crate) fn object(&mut self, read: &ReadObject) -> Result<Object, PackError> {
        match read {
            ReadObject::Single(frame) => self.frames.object(frame),
            ReadObject::Member(group, number) => self.group(group)?.object(&group.group, *number),
        }
    }

    fn group(&mut self, group: &Arc<ReadGroup>) -> Result<&GroupBytes, PackError> {
        let known = self
            .groups
            .iter()
            .position(|(known, _)| Arc::ptr_eq(known, group));
        let at = match known {
            Some(at) => at,
            None => {
                let base = match &group.base {
                    Some(base) => Some(self.base(base)?),
                    None => None,
                };
                let bytes = group.group.decompress_through(base, group.last)?;
                if self.groups.len() >= KEPT_GROUPS {
                    self.groups.remove(0);
                }
                self.groups.push((Arc::clone(group), bytes));
                self.groups.len() - 1
            }
        };
        Ok(&self.groups[at].1)
    }

    fn base(&mut self, base: &Arc<Group>) -> Result<&GroupBytes, PackError> {
        let known = self
            .bases
            .iter()
            .position(|(known, _)| Arc::ptr_eq(known, base));
        let at = match known {
            Some(at) => at,
            None => {
                let bytes = base.decompress(None)?;
                if self.bases.len() >= KEPT_GROUPS {
                    self.bases.remove(0);
                }
                self.bases.push((Arc::clone(base), bytes));
                self.bases.len() - 1
            }
        };
        Ok(&self.bases[at].1)
    }
}
