//! Arranges the objects of a repack in groups.

use dotmesh_store::{GroupBase, Kind};

use super::places::{Place, Placed};

/// The length of a group, uncompressed, in bytes. The decision page has the measurements.
pub(super) const GROUP_LENGTH: u64 = 512 << 10;

/// The most objects of a group.
const GROUP_OBJECTS: usize = 2048;

/// An object to arrange.
#[derive(Debug, Clone, Copy)]
pub(super) struct Item {
    /// Its number in the repack.
    pub(super) number: usize,
    pub(super) kind: Kind,
    pub(super) raw_length: u32,
    pub(super) placed: Option<Placed>,
    /// The group with what was in its place before.
    pub(super) base: Option<GroupBase>,
}

/// Objects that become a group, in their order in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PlannedGroup {
    pub(super) objects: Vec<usize>,
    pub(super) base: Option<GroupBase>,
    /// The line of forks that its first object belongs to. Packs do not mix them if they can.
    pub(super) family: Option<u32>,
}

/// Arranges objects in groups: all versions of a place together, and places beside their neighbours. Within a group
/// the newest versions come first, since most readers want only those.
pub(super) fn arrange(mut items: Vec<Item>) -> Vec<PlannedGroup> {
    items.sort_by_key(|item| {
        (
            item.placed.is_none(),
            item.placed.map(|placed| placed.place.family),
            item.base.map(base_key),
            // A clone asks for pages first.
            item.kind == Kind::Chunk,
            item.placed.map(|placed| (placed.place, placed.age)),
            item.number,
        )
    });
    let mut groups = Vec::new();
    let mut rest = items.as_slice();
    while let Some(first) = rest.first() {
        let mut length = 0;
        let mut fits = |item: &Item| {
            length += u64::from(item.raw_length);
            let alike = family(item) == family(first)
                && item.base == first.base
                && (item.kind == Kind::Chunk) == (first.kind == Kind::Chunk);
            alike && length <= GROUP_LENGTH
        };
        let most = rest.iter().take(GROUP_OBJECTS);
        let fitting = most.take_while(|item| fits(item)).count().max(1);
        let (group, after) = rest.split_at(fitting);
        rest = after;
        groups.push(PlannedGroup {
            objects: newest_first(group),
            base: first.base,
            family: family(first),
        });
    }
    groups
}

fn family(item: &Item) -> Option<u32> {
    item.placed.map(|placed| placed.place.family)
}

fn base_key(base: GroupBase) -> ([u8; 32], u32) {
    (*base.pack.as_bytes(), base.range.offset)
}

/// Returns the numbers of objects: the newest of each place, then the second of each place, and so on.
fn newest_first(group: &[Item]) -> Vec<usize> {
    let mut last: Option<Place> = None;
    let mut rank = 0;
    let mut ranked = Vec::with_capacity(group.len());
    for item in group {
        let place = item.placed.map(|placed| placed.place);
        rank = if place.is_some() && place == last {
            rank + 1
        } else {
            0
        };
        last = place;
        ranked.push((rank, item.number));
    }
    ranked.sort_by_key(|(rank, _)| *rank);
    ranked.into_iter().map(|(_, number)| number).collect()
}

#[cfg(test)]
mod tests {
    use dotmesh_store::{FrameRange, PackId};
    use proptest::prelude::*;

    use super::*;

    fn item(number: usize, end: u64, age: u32) -> Item {
        let place = Place {
            family: 0,
            path: 0,
            end,
        };
        Item {
            number,
            kind: Kind::Chunk,
            raw_length: 16 << 10,
            placed: Some(Placed { place, age }),
            base: None,
        }
    }

    #[test]
    fn versions_of_a_place_are_together_and_the_newest_first() {
        let items = vec![
            item(0, 2, 1),
            item(1, 1, 5),
            item(2, 2, 0),
            item(3, 1, 2),
            item(4, 3, 9),
        ];
        let groups = arrange(items);
        assert_eq!(groups.len(), 1);
        assert_eq!(groups[0].objects, [3, 2, 4, 1, 0]);
    }

    fn items() -> impl Strategy<Value = Vec<Item>> {
        let one = (
            1..700_000_u32,
            any::<bool>(),
            prop::option::of((0..3_u32, 0..4_u64, 0..3_u32)),
            prop::option::of(0..3_u32),
        );
        prop::collection::vec(one, 0..60).prop_map(|items| {
            let items = items.into_iter().enumerate();
            let made = items.map(|(number, (raw_length, is_chunk, placed, base))| Item {
                number,
                kind: if is_chunk {
                    Kind::Chunk
                } else {
                    Kind::TreePage
                },
                raw_length,
                placed: placed.map(|(family, end, age)| Placed {
                    place: Place {
                        family,
                        path: 1,
                        end,
                    },
                    age,
                }),
                base: base.map(|offset| GroupBase {
                    pack: PackId::of(b"base"),
                    range: FrameRange { offset, length: 9 },
                }),
            });
            made.collect()
        })
    }

    proptest! {
        #[test]
        fn every_object_is_in_one_group_and_groups_are_small(items in items()) {
            let groups = arrange(items.clone());
            let mut all: Vec<usize> = Vec::new();
            for group in &groups {
                let length: u64 = group.objects.iter().map(|n| u64::from(items[*n].raw_length)).sum();
                prop_assert!(length <= GROUP_LENGTH || group.objects.len() == 1);
                prop_assert!(group.objects.iter().all(|n| items[*n].base == group.base));
                prop_assert!(group.objects.iter().all(|n| family(&items[*n]) == group.family));
                all.extend(&group.objects);
            }
            all.sort_unstable();
            prop_assert_eq!(all, (0..items.len()).collect::<Vec<_>>());
        }
    }
}
