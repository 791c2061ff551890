//! Single frames with arbitrary bytes, above all deltas. The encoder's output must decode to the same.

#![no_main]

use dotmesh_model::ObjectHash;
use dotmesh_store::{Frame, FrameDecoder, FrameEncoder, Kind, Object, PackError};
use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;

#[derive(Debug, Arbitrary)]
struct Input {
    kind: u8,
    is_delta: bool,
    raw_length: u32,
    base: Vec<u8>,
    stored: Vec<u8>,
}

fuzz_target!(|input: Input| {
    let kind = Kind::ALL[usize::from(input.kind) % Kind::ALL.len()];
    let base = Object::new(kind, input.base.clone());
    if let Ok(frame) = Frame::parse(&forged(&base, &input).into()) {
        let mut decoder = FrameDecoder::default();
        let result = decoder.object_against(&frame, &base);
        // No object has that hash, so decoding must fail. Try how far the decoder gets before that.
        assert!(result.is_err());
        assert!(!matches!(result, Err(PackError::NoBase { .. })));
        // The failure leaves no state in the decoder.
        comes_back(&mut decoder, &base, &input.stored);
    }
    comes_back(&mut FrameDecoder::default(), &base, &input.stored);
});

/// A frame of bytes that no encoder wrote.
fn forged(base: &Object, input: &Input) -> Vec<u8> {
    let (kind, base) = (base.kind(), base.hash());
    let base: &[u8] = if input.is_delta { base.as_bytes() } else { &[] };
    let stored_length = u32::try_from(base.len() + input.stored.len()).unwrap_or(u32::MAX);
    let mut frame = vec![kind.number(), 1 + u8::from(input.is_delta)];
    frame.extend_from_slice(&(input.raw_length % (1 << 21)).to_le_bytes());
    frame.extend_from_slice(&stored_length.to_le_bytes());
    frame.extend_from_slice(&[0; ObjectHash::LENGTH]);
    frame.extend_from_slice(base);
    frame.extend_from_slice(&input.stored);
    frame
}

fn comes_back<'a>(decoder: &mut FrameDecoder<'a>, base: &'a Object, bytes: &[u8]) {
    if bytes.is_empty() {
        return;
    }
    let object = Object::new(base.kind(), bytes.to_vec());
    for frame in [
        FrameEncoder::default().encode(&object),
        FrameEncoder::default().encode_against(&object, base),
    ] {
        let frame = Frame::parse(frame.stored()).expect("what the encoder makes is a frame");
        let decoded = decoder
            .object_against(&frame, base)
            .expect("and holds its object");
        assert_eq!(decoded, object);
    }
}
