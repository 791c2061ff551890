//! Tree pages from outside: bytes that decode are the only encoding of their value, and only they have references.

#![no_main]

use dotmesh_store::grow::{MAX_ITEMS_LENGTH, MAX_LEVEL};
use dotmesh_store::{Kind, MAX_OBJECT_LENGTH, TreePage, references};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let references = references(Kind::TreePage, data);
    match TreePage::decode(data) {
        Ok(page) => {
            assert_eq!(page.encode(), data);
            assert!(data.len() <= MAX_OBJECT_LENGTH && page.level() <= MAX_LEVEL);
            // The stated counts never add up to more than fits.
            assert_eq!(page.count() == 0, page.last().is_none());
            let references = references.expect("its references are told");
            match page {
                TreePage::Leaf(entries) => {
                    assert!(entries.len() < 2 || data.len() <= 2 + MAX_ITEMS_LENGTH);
                    assert!(entries.len() <= 256 && references.len() <= entries.len())
                }
                TreePage::Inner { children, .. } => {
                    assert!(children.len() <= 256 && references.len() == children.len())
                }
            }
        }
        Err(error) => assert_eq!(references, Err(error)),
    }
});
