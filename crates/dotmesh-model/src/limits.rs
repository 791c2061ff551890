//! The limits of a commit record. `dm commit` checks them before it makes a commit, and a hub checks them in a push.
//! So no user makes a commit that hubs refuse.
//!
//! Commits of earlier versions may be larger. They stay readable
//! ([`MAX_RECORD_LENGTH`](crate::commit::MAX_RECORD_LENGTH)).

use crate::commit::CommitRecord;

/// The largest encoded record, in bytes.
pub const MAX_NEW_RECORD_LENGTH: usize = 256 << 10;

/// The longest message, in bytes.
pub const MAX_MESSAGE_LENGTH: usize = 64 << 10;

/// The longest author, in bytes.
pub const MAX_AUTHOR_LENGTH: usize = 256;

/// The largest number of metadata values.
pub const MAX_METADATA: usize = 100;

/// The longest key of a metadata value, in bytes.
pub const MAX_METADATA_KEY_LENGTH: usize = 200;

/// The longest metadata value, in bytes.
pub const MAX_METADATA_VALUE_LENGTH: usize = 16 << 10;

/// A part of a commit record that exceeds its limit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} has {amount} {unit}, and at most {most} are taken")]
pub struct TooMuchSaid {
    /// The part that is too large.
    pub what: String,
    /// Its size.
    pub amount: usize,
    /// The unit of the size.
    pub unit: &'static str,
    /// The limit.
    pub most: usize,
}

/// Checks a new commit. `length` is the length of its encoded record.
pub fn check_new(record: &CommitRecord, length: usize) -> Result<(), TooMuchSaid> {
    let bytes = |what: &str, amount: usize, most: usize| {
        let what = what.to_owned();
        let unit = "bytes";
        let too_much = TooMuchSaid {
            what,
            amount,
            unit,
            most,
        };
        if amount > most { Err(too_much) } else { Ok(()) }
    };
    bytes("the message", record.message.len(), MAX_MESSAGE_LENGTH)?;
    bytes("the author", record.author.len(), MAX_AUTHOR_LENGTH)?;
    if record.metadata.len() > MAX_METADATA {
        return Err(TooMuchSaid {
            what: "the metadata".to_owned(),
            amount: record.metadata.len(),
            unit: "values",
            most: MAX_METADATA,
        });
    }
    for (key, value) in &record.metadata {
        let shown: String = key.chars().take(40).collect();
        let name = format!("the metadata's name '{shown}'");
        bytes(&name, key.len(), MAX_METADATA_KEY_LENGTH)?;
        let name = format!("the metadata '{shown}'");
        bytes(&name, value.len(), MAX_METADATA_VALUE_LENGTH)?;
    }
    let what = "the record of message, metadata and containers";
    bytes(what, length, MAX_NEW_RECORD_LENGTH)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{BranchName, CommitId};

    fn record() -> CommitRecord {
        CommitRecord {
            version: 1,
            id: CommitId::from_bytes([1; 16]),
            parent: CommitId::ROOT,
            branch: BranchName::master(),
            dot: None,
            author: "a".repeat(MAX_AUTHOR_LENGTH),
            time: jiff::Timestamp::UNIX_EPOCH,
            message: "m".repeat(MAX_MESSAGE_LENGTH),
            metadata: Default::default(),
            images: Vec::new(),
            code: None,
        }
    }

    #[test]
    fn what_is_too_much_is_named() {
        assert_eq!(check_new(&record(), MAX_NEW_RECORD_LENGTH), Ok(()));
        let refused = |change: fn(&mut CommitRecord)| {
            let mut record = record();
            change(&mut record);
            let refused = check_new(&record, 1).expect_err("too much");
            refused.to_string()
        };
        assert_eq!(
            refused(|record| record.message.push('m')),
            "the message has 65537 bytes, and at most 65536 are taken"
        );
        assert!(refused(|record| record.author.push('a')).starts_with("the author has 257"));
        let many = refused(|record| {
            let values = (0..=MAX_METADATA).map(|n| (format!("k{n}"), String::new()));
            record.metadata = values.collect();
        });
        assert_eq!(
            many,
            "the metadata has 101 values, and at most 100 are taken"
        );
        let long = refused(|record| {
            let value = "v".repeat(MAX_METADATA_VALUE_LENGTH + 1);
            record.metadata.insert("k".to_owned(), value);
        });
        assert!(long.starts_with("the metadata 'k' has 16385"), "{long}");
        let name = refused(|record| {
            record.metadata.insert("k".repeat(201), String::new());
        });
        assert!(name.contains("has 201 bytes"), "{name}");
        assert!(check_new(&record(), MAX_NEW_RECORD_LENGTH + 1).is_err());
    }
}
