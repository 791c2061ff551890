//! Packs: any damage is found, and frames can be copied.

use bytes::Bytes;
use dotmesh_store::pack::{HEADER_LENGTH, MAGIC};
use dotmesh_store::{
    Frame, FrameDecoder, FrameEncoder, Kind, Object, PackError, PackReader, PackWriter,
};
use proptest::prelude::*;
use proptest::sample::Index;

fn objects() -> impl Strategy<Value = Vec<Object>> {
    let bytes = prop_oneof![
        prop::collection::vec(any::<u8>(), 1..200),
        (any::<u8>(), 1..5000usize).prop_map(|(byte, length)| vec![byte; length]),
    ];
    let kind = (0..Kind::ALL.len()).prop_map(|index| Kind::ALL[index]);
    prop::collection::vec(
        (kind, bytes).prop_map(|(kind, bytes)| Object::new(kind, bytes)),
        1..8,
    )
}

fn pack(objects: &[Object]) -> Bytes {
    let mut writer = PackWriter::default();
    for object in objects {
        writer.push(&Frame::encode(object));
    }
    writer.finish()
}

fn read(pack: Bytes) -> Result<Vec<Object>, PackError> {
    PackReader::new(pack)?
        .map(|frame| frame?.object())
        .collect()
}

proptest! {
    #[test]
    fn packs_come_back_and_frames_are_copied(objects in objects()) {
        let first = pack(&objects);
        assert_eq!(read(first.clone()).expect("read"), objects);
        let mut copy = PackWriter::default();
        for frame in PackReader::new(first.clone()).expect("a pack") {
            let frame = frame.expect("a frame");
            let stored = first.slice(frame.offset()..frame.offset() + frame.stored().len());
            let parsed = Frame::parse(&stored).expect("a frame");
            assert_eq!(copy.push(&parsed), frame.offset());
        }
        assert_eq!(copy.finish(), first);
    }

    #[test]
    fn damage_at_any_byte_is_found(objects in objects(), at in any::<Index>(), flip in 1..=255u8) {
        let mut damaged = pack(&objects).to_vec();
        let at = at.index(damaged.len());
        damaged[at] ^= flip;
        // A compressed frame may still decode to the same bytes. Then nothing was lost.
        if let Ok(read) = read(damaged.into()) {
            assert_eq!(read, objects);
        }
    }

    #[test]
    fn a_cut_pack_gives_no_more_than_its_whole_frames(objects in objects(), at in any::<Index>()) {
        let whole = pack(&objects);
        let at = at.index(whole.len());
        if let Ok(read) = read(whole.slice(..at)) {
            assert!(read.len() < objects.len() && objects.starts_with(&read));
        }
    }

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = read(bytes.clone().into());
        let _ = read([&MAGIC[..], &bytes].concat().into());
        let _ = Frame::parse(&bytes.into());
    }
}

#[test]
fn a_frame_that_lies_about_its_length_unfolds_no_further() {
    let object = Object::new(Kind::Chunk, vec![0; 60_000]);
    let mut frame = Frame::encode(&object).stored().to_vec();
    assert!(frame.len() < HEADER_LENGTH + 100, "it is compressed");
    for lie in [59_999u32, 60_001, 1 << 20] {
        frame[2..6].copy_from_slice(&lie.to_le_bytes());
        let parsed = Frame::parse(&frame.clone().into()).expect("the header is possible");
        assert_eq!(
            parsed.object(),
            Err(PackError::BadCompression { offset: 0 })
        );
    }
    for lie in [0u32, (1 << 20) + 1] {
        frame[2..6].copy_from_slice(&lie.to_le_bytes());
        assert!(matches!(
            Frame::parse(&frame.clone().into()),
            Err(PackError::BadFrame { .. })
        ));
    }
}

#[test]
fn an_object_under_another_kind_is_refused() {
    let object = Object::new(Kind::Chunk, vec![1, 0]);
    let mut frame = Frame::encode(&object).stored().to_vec();
    frame[0] = Kind::TreePage.number();
    let parsed = Frame::parse(&frame.into()).expect("the header is possible");
    assert_eq!(
        parsed.object(),
        Err(PackError::WrongHash {
            hash: object.hash()
        })
    );
}

#[test]
fn a_delta_costs_what_changed_and_needs_its_base() {
    let noise = |seed: u32| -> Vec<u8> {
        let mut state = seed;
        let next = move || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        };
        std::iter::repeat_with(next).take(20_000).collect()
    };
    let old = noise(1);
    let mut new = old.clone();
    new[8192..8292].copy_from_slice(&noise(2)[..100]);
    let (old, new) = (Object::new(Kind::Chunk, old), Object::new(Kind::Chunk, new));
    let stranger = Object::new(Kind::Chunk, noise(3));
    let page = Object::new(Kind::FilePage, old.bytes().clone());
    let mut encoder = FrameEncoder::default();

    let delta = encoder.encode_against(&new, &old);
    assert_eq!(delta.base(), Some(old.hash()));
    assert!(delta.stored().len() < 400, "{}", delta.stored().len());
    // The delta leaves no state in the encoder.
    assert_eq!(encoder.encode(&new).stored(), Frame::encode(&new).stored());

    let parsed = Frame::parse(delta.stored()).expect("a frame");
    let no_base = PackError::NoBase {
        hash: new.hash(),
        base: old.hash(),
    };
    let mut decoder = FrameDecoder::default();
    assert_eq!(decoder.object(&parsed), Err(no_base.clone()));
    assert_eq!(decoder.object_against(&parsed, &stranger), Err(no_base));
    assert_eq!(decoder.object_against(&parsed, &old), Ok(new.clone()));
    // It leaves no state in the decoder either.
    assert_eq!(decoder.object(&Frame::encode(&new)), Ok(new.clone()));

    // If a base does not help, the encoder makes no delta.
    assert_eq!(encoder.encode_against(&new, &stranger).base(), None);
    assert_eq!(encoder.encode_against(&new, &new).base(), None);
    assert_eq!(encoder.encode_against(&new, &page).base(), None);
}

proptest! {
    #[test]
    fn deltas_come_back(objects in objects(), damage in any::<Option<(Index, u8)>>()) {
        let mut encoder = FrameEncoder::default();
        let mut decoder = FrameDecoder::default();
        for pair in objects.windows(2) {
            let frame = encoder.encode_against(&pair[1], &pair[0]);
            let mut stored = frame.stored().to_vec();
            if let Some((at, flip)) = damage {
                let at = at.index(stored.len());
                stored[at] ^= flip;
            }
            let parsed = Frame::parse(&stored.into());
            if let Ok(object) = parsed.and_then(|frame| decoder.object_against(&frame, &pair[0])) {
                assert_eq!(&object, &pair[1]);
            }
        }
    }
}

proptest! {
    #[test]
    fn what_changed_in_place_comes_back(
        old in prop::collection::vec(any::<u8>(), 1..9000),
        skew in -9500..9500i32,
        length in 1..9000usize,
        changes in prop::collection::vec((any::<Index>(), any::<u8>()), 0..5),
        damage in any::<Option<(Index, u8)>>(),
    ) {
        let at = |i: usize| usize::try_from(i as i64 + i64::from(skew)).ok();
        let mut new: Vec<u8> = (0..length)
            .map(|i| at(i).and_then(|at| old.get(at)).copied().unwrap_or(7))
            .collect();
        for (place, byte) in changes {
            let place = place.index(new.len());
            new[place] = byte;
        }
        let (old, new) = (Object::new(Kind::Chunk, old), Object::new(Kind::Chunk, new));
        let frame = FrameEncoder::default().encode_over(&new, old.hash(), old.bytes(), skew);
        let mut stored = frame.stored().to_vec();
        if let Some((at, flip)) = damage {
            let at = at.index(stored.len());
            stored[at] ^= flip;
        } else {
            prop_assert!(stored.len() <= Frame::encode(&new).stored().len() + 60);
        }
        let damaged = stored[..] != frame.stored()[..];
        let parsed = Frame::parse(&stored.into());
        let read = parsed.and_then(|frame| FrameDecoder::default().object_against(&frame, &old));
        match read {
            Ok(read) => assert_eq!(read, new),
            Err(error) => prop_assert!(damaged, "{error}"),
        }
    }
}
