//! Tree pages from outside: bytes that decode are the only encoding of their value, and only they have references.

#![no_main]

use dotmesh_store::grow::{MAX_ITEMS_LENGTH, MAX_LEVEL};
use dotmesh_store::{Kind, MAX_OBJECT_LENGTH, TreeNode, references};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let references = references(Kind::TreeNode, data);
    match TreeNode::decode(data) {
        Ok(node) => {
            assert_eq!(node.encode(), data);
            assert!(data.len() <= MAX_OBJECT_LENGTH && node.level() <= MAX_LEVEL);
            // The stated counts never add up to more than fits.
            assert_eq!(node.count() == 0, node.last().is_none());
            let references = references.expect("its references are told");
            match node {
                TreeNode::Leaf(entries) => {
                    assert!(entries.len() < 2 || data.len() <= 2 + MAX_ITEMS_LENGTH);
                    assert!(entries.len() <= 256 && references.len() <= entries.len())
                }
                TreeNode::Inner { children, .. } => {
                    assert!(children.len() <= 256 && references.len() == children.len())
                }
            }
        }
        Err(error) => assert_eq!(references, Err(error)),
    }
});
