//! Groups: they come back as they were, any damage is found, and a reader of version 1 refuses them.

use std::path::Path;

use bytes::Bytes;
use dotmesh_store::group::{GroupPackWriter, MAX_GROUP_LENGTH, encode_group};
use dotmesh_store::{
    Frame, FrameRange, Group, GroupBase, GroupBytes, Kind, Object, PackError, PackId, PackReader,
    StoredFrame, StoredPackReader,
};
use proptest::prelude::*;
use proptest::sample::Index;

fn object() -> impl Strategy<Value = Object> {
    let bytes = prop_oneof![
        prop::collection::vec(any::<u8>(), 1..200),
        (any::<u8>(), 1..5000usize).prop_map(|(byte, length)| vec![byte; length]),
    ];
    (0..Kind::ALL.len(), bytes).prop_map(|(kind, bytes)| Object::new(Kind::ALL[kind], bytes))
}

fn objects() -> impl Strategy<Value = Vec<Object>> {
    prop::collection::vec(object(), 1..12)
}

/// A base that nobody looks up.
fn somewhere() -> GroupBase {
    GroupBase {
        pack: PackId::of(b"a pack"),
        range: FrameRange {
            offset: 8,
            length: 77,
        },
    }
}

fn whole(objects: &[Object]) -> (Bytes, GroupBytes) {
    let stored = encode_group(objects, None, 3).expect("it fits");
    let bytes = Group::parse(&stored).and_then(|group| group.decompress(None));
    (stored, bytes.expect("it is whole"))
}

fn read(stored: &Bytes, base: Option<&GroupBytes>) -> Result<Vec<Object>, PackError> {
    let group = Group::parse(stored)?;
    let bytes = group.decompress(base)?;
    let numbers = 0..group.entries().len();
    numbers.map(|number| bytes.object(&group, number)).collect()
}

proptest! {
    #[test]
    fn groups_come_back(older in objects(), newer in objects(), level in 1..19i32, one in any::<Index>()) {
        let (stored, base) = whole(&older);
        prop_assert_eq!(read(&stored, None).expect("it is whole"), &older[..]);
        let based = encode_group(&newer, Some((somewhere(), &base)), level).expect("it fits");
        prop_assert_eq!(read(&based, Some(&base)).expect("it is whole"), &newer[..]);
        let group = Group::parse(&based).expect("a group");
        prop_assert_eq!(group.base(), Some(somewhere()));
        prop_assert_eq!(read(&based, None).err(), Some(PackError::NoBaseGroup { offset: 0 }));
        prop_assert_eq!(read(&stored, Some(&base)).err(), Some(PackError::NoBaseGroup { offset: 0 }));

        // A reader that wants the first objects only decompresses no more.
        let number = one.index(newer.len());
        let bytes = group.decompress_through(Some(&base), number).expect("it is whole");
        let length: usize = newer[..=number].iter().map(|object| object.bytes().len()).sum();
        prop_assert_eq!(bytes.as_slice().len(), length);
        prop_assert_eq!(&bytes.object(&group, number).expect("it is whole"), &newer[number]);
        prop_assert_eq!(number + 1 == newer.len(), bytes.object(&group, newer.len() - 1).is_ok());
        let found = group.find(newer[number].hash()).expect("it is there");
        prop_assert_eq!(newer[found].hash(), newer[number].hash());
    }

    #[test]
    fn no_damage_gives_other_content(
        older in objects(), newer in objects(), at in any::<Index>(), bit in 0..8u8, cut in any::<Index>(),
    ) {
        let (_, base) = whole(&older);
        let stored = encode_group(&newer, Some((somewhere(), &base)), 3).expect("it fits");
        let mut damaged = stored.to_vec();
        damaged[at.index(stored.len())] ^= 1 << bit;
        // Damage is refused, or it is where nothing of the objects is: in the base that is named.
        if let Ok(group) = Group::parse(&damaged.into())
            && let Ok(bytes) = group.decompress(Some(&base))
        {
            for number in 0..group.entries().len() {
                if let Ok(object) = bytes.object(&group, number) {
                    prop_assert!(newer.contains(&object));
                }
            }
        }
        let end = cut.index(stored.len());
        prop_assert!(Group::parse(&stored.slice(..end)).is_err());
    }

    #[test]
    fn arbitrary_bytes_are_no_group_or_one_that_is_refused(
        bytes in prop::collection::vec(any::<u8>(), 0..400), based in any::<bool>(), count in 1..4u16,
    ) {
        let mut stored = vec![16, 1 + u8::from(based)];
        stored.extend_from_slice(&300_u32.to_le_bytes());
        stored.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
        stored.extend_from_slice(&count.to_le_bytes());
        stored.extend_from_slice(&bytes);
        prop_assert!(read(&stored.into(), None).is_err());
    }

    #[test]
    fn packs_of_both_versions_are_read(single in objects(), grouped in objects()) {
        let mut writer = GroupPackWriter::default();
        prop_assert!(writer.is_empty());
        let mut ranges: Vec<FrameRange> = Vec::new();
        for object in &single {
            ranges.push(writer.push(Frame::encode(object).stored()));
        }
        let (group, _) = whole(&grouped);
        ranges.push(writer.push(&group));
        let length = writer.len();
        let pack = writer.finish();
        prop_assert_eq!(pack.len(), length);
        prop_assert_eq!(PackReader::new(pack.clone()).err(), Some(PackError::NotAPack));
        let mut found = Vec::new();
        for (frame, range) in StoredPackReader::new(pack.clone()).expect("a pack").zip(&ranges) {
            let frame = frame.expect("a frame");
            prop_assert_eq!(frame.offset(), range.offset as usize);
            prop_assert_eq!(frame.stored().len(), range.length as usize);
            prop_assert!(StoredFrame::parse(frame.stored()).is_ok());
            match frame {
                StoredFrame::Single(frame) => found.push(frame.object().expect("it is whole")),
                StoredFrame::Group(group) => found.extend(read(group.stored(), None).expect("it is whole")),
            }
        }
        let all: Vec<Object> = single.iter().chain(&grouped).cloned().collect();
        prop_assert_eq!(found, all);

        // In a pack of version 1 a group is nothing.
        let mut first = pack.to_vec();
        first[7] = 1;
        let last = StoredPackReader::new(first.into()).expect("a pack").last();
        let bad = matches!(last, Some(Err(PackError::BadFrame { .. })));
        prop_assert!(bad, "{:?}", last);
    }
}

#[test]
fn a_group_has_a_limit() {
    let object = |byte: u8| Object::new(Kind::TreePage, vec![byte; 1 << 20]);
    let most = [object(1), object(2)];
    assert_eq!(2 << 20, MAX_GROUP_LENGTH);
    let stored = encode_group(&most, None, 1).expect("it fits");
    assert_eq!(read(&stored, None).expect("it is whole"), most);
    let more = [object(1), object(2), Object::new(Kind::Chunk, vec![3])];
    assert!(encode_group(&more, None, 1).is_none());
    assert!(encode_group(&[], None, 1).is_none());
}

/// The packs of a folder, sorted by name.
fn packs_below(folder: &Path) -> Vec<Bytes> {
    let mut files = Vec::new();
    crate::second_reader::files_below(folder, &mut files);
    files.sort();
    let read = files
        .iter()
        .map(|file| std::fs::read(file).expect("a pack").into());
    read.collect()
}

#[test]
#[ignore = "run by hand, once: the fixtures of a version never change"]
fn write_the_fixtures() {
    let testdata = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata");
    let mut objects: Vec<Object> = Vec::new();
    for pack in packs_below(&testdata.join("v1/store")) {
        for frame in PackReader::new(pack).expect("a pack") {
            objects.push(frame.and_then(|frame| frame.object()).expect("it is whole"));
        }
    }
    let (old, new) = objects.split_at(objects.len() / 2);
    let (group, bytes) = whole(old);
    let mut writer = GroupPackWriter::default();
    let range = writer.push(&group);
    let first = writer.finish();
    let base = GroupBase {
        pack: PackId::of(&first),
        range,
    };
    let (single, grouped) = new.split_first().expect("there are some");
    let mut writer = GroupPackWriter::default();
    writer.push(Frame::encode(single).stored());
    writer.push(&encode_group(grouped, Some((base, &bytes)), 9).expect("it fits"));
    for pack in [first, writer.finish()] {
        let name = PackId::of(&pack).to_string();
        let folder = testdata.join("v2/store/packs").join(&name[..2]);
        std::fs::create_dir_all(&folder).expect("a folder");
        std::fs::write(folder.join(name), pack).expect("a file");
    }
}

/// What a group is for: a version of a page costs only its changes.
#[test]
fn versions_of_a_chunk_take_little() {
    let mut state = 7_u32;
    let mut noise = move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    let mut bytes: Vec<u8> = std::iter::repeat_with(&mut noise).take(16 << 10).collect();
    let mut versions = Vec::new();
    for version in 0..8 {
        bytes[version * 1000..version * 1000 + 400].fill_with(&mut noise);
        versions.push(Object::new(Kind::Chunk, bytes.clone()));
    }
    let (stored, base) = whole(&versions);
    assert!(stored.len() < (16 << 10) + 8 * 600, "{}", stored.len());
    bytes[9000..9400].fill_with(&mut noise);
    let next = [Object::new(Kind::Chunk, bytes)];
    let based = encode_group(&next, Some((somewhere(), &base)), 12).expect("it fits");
    assert!(based.len() < 600, "{}", based.len());
}
