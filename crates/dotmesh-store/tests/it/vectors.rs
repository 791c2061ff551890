//! Known values. A change of one is a change of the format, and needs a new version.

use dotmesh_model::ObjectHash;
use dotmesh_store::chunker::{Cutting, MAX_CHUNK, cut, cut_early};
use dotmesh_store::{Attributes, Kind, ROOT_SEAL, Root, object_hash, seal};

#[test]
fn hashes_are_as_documented() {
    let empty_tree = object_hash(Kind::TreePage, &[1, 0]);
    let root = Root {
        attributes: Attributes {
            mode: 0o755,
            ..Default::default()
        },
        tree: empty_tree,
    };
    let root = object_hash(Kind::Root, &root.encode());
    let told = [
        object_hash(Kind::Chunk, b"hello"),
        object_hash(Kind::FilePage, b"hello"),
        object_hash(Kind::TreePage, b"hello"),
        object_hash(Kind::Root, b"hello"),
        empty_tree,
        root,
        seal(ROOT_SEAL, b"{}", root),
    ];
    let document = include_str!("../../../../docs/format.md");
    for hash in told {
        assert!(
            document.contains(&hash.to_string()),
            "docs/format.md has no {hash}"
        );
    }
}

#[test]
fn cuts_are_as_documented() {
    // Hashes of a counter. This is not a real file, but its bytes are random everywhere.
    let data: Vec<u8> = (0..40_000u32)
        .flat_map(|i| *blake3_of(i).as_bytes())
        .collect();
    let mut lengths = Vec::new();
    let mut rest = &data[..];
    while !rest.is_empty() {
        let length = cut(rest);
        assert_eq!(
            length,
            cut(&rest[..rest.len().min(MAX_CHUNK)]),
            "what follows decides nothing"
        );
        lengths.push(length);
        rest = &rest[length..];
    }
    let document = include_str!("../../../../docs/format.md");
    let first = format!(
        "{}, {}, {}, {}",
        lengths[0], lengths[1], lengths[2], lengths[3]
    );
    assert!(document.contains(&first), "docs/format.md has no {first}");
    assert_eq!(cut(&[0; MAX_CHUNK]), MAX_CHUNK);
    assert_eq!(cut(&[]), 0);
}

fn blake3_of(i: u32) -> ObjectHash {
    object_hash(Kind::Chunk, &i.to_le_bytes())
}

#[test]
fn whole_pages_are_cut_by_place() {
    for (size, cutting) in [
        (4096, Cutting::ByPlace),
        (10 << 30, Cutting::ByPlace),
        (4095, Cutting::ByContent),
        (512, Cutting::ByContent),
        (u64::MAX, Cutting::ByContent),
    ] {
        assert_eq!(Cutting::of(size), cutting, "{size} bytes");
    }
}

#[test]
fn an_early_cut_is_the_cut() {
    let mut state: u32 = 7;
    let data: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    })
    .take(MAX_CHUNK + 3)
    .collect();
    let zeros = vec![0; MAX_CHUNK + 3];
    for data in [&data, &zeros] {
        let whole = cut(data);
        for length in (0..data.len()).step_by(997).chain([data.len()]) {
            if let Some(early) = cut_early(&data[..length]) {
                assert_eq!(early, whole, "of {length} bytes");
            }
        }
        assert_eq!(cut_early(data), Some(whole));
    }
}
