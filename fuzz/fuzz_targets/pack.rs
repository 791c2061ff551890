//! Packs from outside. A pack that can be read is written the same, and the hash of each returned object matches.

#![no_main]

use bytes::Bytes;
use dotmesh_store::pack::{HEADER_LENGTH, MAX_PACK_LENGTH};
use dotmesh_store::{
    Frame, FrameDecoder, MAX_OBJECT_LENGTH, PackReader, PackWriter, object_hash, references,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let pack = Bytes::copy_from_slice(data);
    let Ok(frames) = PackReader::new(pack.clone()) else {
        return;
    };
    assert!(pack.len() <= MAX_PACK_LENGTH);
    let mut writer = PackWriter::default();
    let mut whole = Vec::new();
    let mut decoder = FrameDecoder::default();
    for frame in frames {
        let Ok(frame) = frame else {
            return;
        };
        assert_eq!(writer.push(&frame), frame.offset());
        assert!((1..=MAX_OBJECT_LENGTH).contains(&frame.raw_length()));
        assert!(frame.stored().len() <= HEADER_LENGTH + frame.raw_length());
        let again = Frame::parse(frame.stored()).expect("a frame can be read by itself");
        assert_eq!(
            (again.kind(), again.hash(), again.base()),
            (frame.kind(), frame.hash(), frame.base())
        );
        // Use one decoder for all frames, whatever the frames before did to it.
        match (decoder.object(&frame), frame.object()) {
            (Ok(object), Ok(alone)) => {
                assert_eq!(object, alone);
                assert_eq!(object.bytes().len(), frame.raw_length());
                assert_eq!(object_hash(frame.kind(), object.bytes()), frame.hash());
                let _ = references(object.kind(), object.bytes());
                whole.push(object);
            }
            (Err(error), Err(alone)) => assert_eq!(error, alone),
            (object, alone) => panic!("{object:?} is not {alone:?}"),
        }
    }
    assert_eq!(writer.finish(), pack);
    // Decode deltas whose bases are in the same pack, in a second round.
    for frame in PackReader::new(pack).into_iter().flatten().flatten() {
        let base = whole
            .iter()
            .find(|object| Some(object.hash()) == frame.base());
        if let Some(base) = base
            && let Ok(object) = FrameDecoder::default().object_against(&frame, base)
        {
            assert_eq!(object_hash(frame.kind(), object.bytes()), frame.hash());
        }
    }
});
