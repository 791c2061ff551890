//! Roots from outside: bytes that decode are the only encoding of their value, and only they have references.

#![no_main]

use dotmesh_store::{Kind, Root, references};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let references = references(Kind::Root, data);
    match Root::decode(data) {
        Ok(root) => {
            assert_eq!(root.encode(), data);
            assert_eq!(references, Ok(vec![(Kind::TreePage, root.tree)]));
            assert!(root.attributes.check().is_ok());
        }
        Err(error) => assert_eq!(references, Err(error)),
    }
});
