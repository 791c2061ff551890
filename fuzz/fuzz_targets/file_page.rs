//! File pages from outside: bytes that decode are the only encoding of their value, and only they have references.

#![no_main]

use dotmesh_store::file_page::MAX_FILE_SIZE;
use dotmesh_store::grow::MAX_LEVEL;
use dotmesh_store::{FilePage, Kind, MAX_OBJECT_LENGTH, references};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let references = references(Kind::FilePage, data);
    match FilePage::decode(data) {
        Ok(page) => {
            assert_eq!(page.encode(), data);
            assert!(data.len() <= MAX_OBJECT_LENGTH && page.level() <= MAX_LEVEL);
            assert!((1..=MAX_FILE_SIZE).contains(&page.size()));
            let references = references.expect("its references are told");
            match page {
                FilePage::Leaf(segments) => {
                    assert!(segments.len() <= 512 && references.len() <= segments.len())
                }
                FilePage::Inner { children, .. } => {
                    assert!(children.len() <= 512 && references.len() == children.len())
                }
            }
        }
        Err(error) => assert_eq!(references, Err(error)),
    }
});
