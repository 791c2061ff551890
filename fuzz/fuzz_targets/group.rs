//! Packs of a store, and groups in them. A pack that can be read is written the same, and the hash of each returned
//! object matches. Groups that the encoder writes come back.

#![no_main]

use bytes::Bytes;
use dotmesh_model::ObjectHash;
use dotmesh_store::group::{GroupPackWriter, MAX_GROUP_LENGTH, encode_group};
use dotmesh_store::{
    FrameRange, Group, GroupBase, Kind, Object, PackId, StoredFrame, StoredPackReader, object_hash,
};
use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;

#[derive(Debug, Arbitrary)]
struct Input {
    pack: Vec<u8>,
    objects: Vec<(u8, Vec<u8>)>,
    level: u8,
    /// Changes of a group that the encoder wrote.
    damage: Vec<(u16, u8)>,
}

fuzz_target!(|input: Input| {
    read_pack(&input.pack);
    let objects: Vec<Object> = input.objects.iter().filter_map(object).take(100).collect();
    let level = i32::from(input.level % 12) + 1;
    let Some(below) = encode_group(&objects, None, level) else {
        return;
    };
    let group = Group::parse(&below).expect("what the encoder makes is a group");
    let below = group.decompress(None).expect("and whole");
    let base = GroupBase {
        pack: PackId::of(b"a pack"),
        range: FrameRange {
            offset: 8,
            length: 9,
        },
    };
    let stored = encode_group(&objects, Some((base, &below)), level).expect("it fits again");
    let group = Group::parse(&stored).expect("what the encoder makes is a group");
    for (number, object) in objects.iter().enumerate() {
        let bytes = group
            .decompress_through(Some(&below), number)
            .expect("and whole");
        assert_eq!(bytes.object(&group, number).as_ref(), Ok(object));
    }
    let mut damaged = stored.to_vec();
    for (at, byte) in &input.damage {
        let at = usize::from(*at) % damaged.len();
        damaged[at] = *byte;
    }
    if let Ok(group) = Group::parse(&damaged.into()) {
        read_group(&group);
        for number in 0..group.entries().len() {
            if let Ok(bytes) = group.decompress_through(Some(&below), number)
                && let Ok(object) = bytes.object(&group, number)
            {
                assert_eq!(object_hash(object.kind(), object.bytes()), object.hash());
            }
        }
    }
});

fn object((kind, bytes): &(u8, Vec<u8>)) -> Option<Object> {
    let kind = Kind::ALL[usize::from(*kind) % Kind::ALL.len()];
    (!bytes.is_empty()).then(|| Object::new(kind, bytes.clone()))
}

fn read_pack(data: &[u8]) {
    let pack = Bytes::copy_from_slice(data);
    let Ok(frames) = StoredPackReader::new(pack.clone()) else {
        return;
    };
    let mut writer = GroupPackWriter::default();
    for frame in frames {
        let Ok(frame) = frame else {
            return;
        };
        assert_eq!(writer.push(frame.stored()).offset as usize, frame.offset());
        StoredFrame::parse(frame.stored()).expect("a frame can be read by itself");
        if let StoredFrame::Group(group) = frame {
            read_group(&group);
        }
    }
    // Only the version may differ.
    assert_eq!(writer.finish()[8..], pack[8..]);
}

fn read_group(group: &Group) {
    let lengths: usize = group.entries().iter().map(|entry| entry.length).sum();
    assert_eq!(lengths, group.raw_length());
    assert!((1..=MAX_GROUP_LENGTH).contains(&lengths));
    let Ok(bytes) = group.decompress(None) else {
        return;
    };
    assert_eq!(bytes.as_slice().len(), lengths);
    for number in 0..group.entries().len() {
        if let Ok(object) = bytes.object(group, number) {
            let hash: ObjectHash = object_hash(object.kind(), object.bytes());
            assert_eq!(hash, group.entries()[number].hash);
        }
    }
}
