//! Commit records: a written record can be read, and no other bytes pass for one.

use dotmesh_model::{CodeVersion, CommitId, CommitRecord, ImageUse};
use proptest::prelude::*;

fn record() -> impl Strategy<Value = CommitRecord> {
    let text = "\\PC{0,40}";
    let image = (text, text, text).prop_map(|(container, image, digest)| ImageUse {
        container,
        image,
        digest,
        ..ImageUse::default()
    });
    let code = (
        proptest::option::of(text),
        proptest::option::of(text),
        text,
        any::<bool>(),
        proptest::option::of(text),
    )
        .prop_map(|(remote, branch, commit, dirty, work_tree)| CodeVersion {
            remote,
            branch,
            commit,
            dirty,
            work_tree,
        });
    (
        any::<[u8; 16]>(),
        any::<[u8; 16]>(),
        (text, text),
        0_i64..4_000_000_000_000,
        proptest::collection::btree_map(text, text, 0..4),
        proptest::collection::vec(image, 0..3),
        proptest::option::of(code),
    )
        .prop_filter("ids differ", |(id, parent, ..)| {
            id != parent && *id != [0; 16]
        })
        .prop_map(
            |(id, parent, (author, message), time, metadata, images, code)| CommitRecord {
                version: 1,
                id: CommitId::from_bytes(id),
                parent: CommitId::from_bytes(parent),
                branch: dotmesh_model::BranchName::master(),
                author,
                time: jiff::Timestamp::from_millisecond(time).expect("in range"),
                message,
                metadata,
                images,
                code,
                dot: Some("admin/app".parse().expect("a name")),
            },
        )
}

proptest! {
    #[test]
    fn what_is_written_can_be_read(record in record()) {
        let bytes = record.encode();
        prop_assert_eq!(CommitRecord::decode(&bytes).unwrap(), record);
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = CommitRecord::decode(&bytes);
    }

    #[test]
    fn a_damaged_record_is_read_or_refused(
        record in record(),
        at in any::<proptest::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let mut bytes = record.encode();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let _ = CommitRecord::decode(&bytes);
    }
}

#[test]
fn impossible_records_are_refused() {
    let decode = |text: &str| {
        CommitRecord::decode(text.as_bytes())
            .unwrap_err()
            .to_string()
    };
    let base = r#""branch":"master","author":"a","time":"2026-01-01T00:00:00Z","message":"m""#;
    let zero = "0".repeat(32);
    let one = "1".repeat(32);
    let lines = [
        decode("{}"),
        decode(&format!(
            r#"{{"version":2,"id":"{one}","parent":"{zero}",{base}}}"#
        )),
        decode(&format!(
            r#"{{"version":1,"id":"{zero}","parent":"{one}",{base}}}"#
        )),
        decode(&format!(
            r#"{{"version":1,"id":"{one}","parent":"{one}",{base}}}"#
        )),
        decode(&" ".repeat((1 << 20) + 1)),
    ];
    insta::assert_snapshot!(lines.join("\n"));
}
