//! Commit records from outside. A record that can be read can be written and read again.

#![no_main]

use dotmesh_model::commit::{MAX_RECORD_LENGTH, RECORD_VERSION};
use dotmesh_model::{CommitId, CommitRecord};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(record) = CommitRecord::decode(data) {
        assert!(data.len() <= MAX_RECORD_LENGTH);
        assert_eq!(record.version, RECORD_VERSION);
        assert_ne!(record.id, CommitId::ROOT);
        assert_ne!(record.id, record.parent);
        let again = CommitRecord::decode(&record.encode()).expect("a record can be read");
        assert_eq!(again, record);
    }
});
