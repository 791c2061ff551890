//! Row ids as types, and the way of hashes and names through columns.

use dotmesh_api::hub::Access;
use dotmesh_model::{CommitId, DotIdentity, DotName, ObjectHash};
use jiff::Timestamp;

use super::DatabaseError;
use crate::access::{Forks, Scope, Visibility};

macro_rules! row_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, sqlx::Type)]
        #[sqlx(transparent)]
        pub struct $name(pub(super) i64);
    };
}

row_id!(
    /// An account.
    UserId
);
row_id!(
    /// A dot. Never given out again: a dot that was deleted and made anew has another.
    DotId
);
row_id!(
    /// A pack as it was taken.
    PackRow
);
row_id!(
    /// An object of a namespace: its pack and its number in it.
    ObjectId
);
row_id!(
    /// An API key.
    KeyId
);
row_id!(
    /// An upload.
    UploadId
);
row_id!(
    /// A note.
    NoteId
);
row_id!(
    /// A webhook.
    WebhookId
);
row_id!(
    /// What a webhook is to be told.
    DeliveryId
);

impl KeyId {
    /// As it is in a form.
    pub fn number(self) -> i64 {
        self.0
    }

    /// From a form: whose key it is has to be looked at.
    pub fn from_number(number: i64) -> Self {
        Self(number)
    }
}

/// Ids of commits as one parameter, which the table `numbers` cuts.
pub(super) fn joined(commits: &[CommitId]) -> Vec<u8> {
    commits
        .iter()
        .flat_map(CommitId::as_bytes)
        .copied()
        .collect()
}

/// How many bits of an object's id are its number in its pack: no pack has room for more objects.
const NUMBER_BITS: u32 = 20;

/// A row as an address names it: a number that means nothing outside.
macro_rules! public_id {
    ($name:ident) => {
        impl $name {
            /// The number.
            pub fn number(self) -> i64 {
                self.0
            }

            /// From an address: whose it is has to be looked at.
            pub fn from_number(number: i64) -> Self {
                Self(number)
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.fmt(f)
            }
        }

        impl std::str::FromStr for $name {
            type Err = std::num::ParseIntError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse().map(Self)
            }
        }
    };
}

public_id!(DotId);
public_id!(NoteId);
public_id!(WebhookId);
public_id!(DeliveryId);

impl ObjectId {
    /// The id of an object.
    pub(super) fn of(pack: PackRow, number: usize) -> Result<Self, DatabaseError> {
        i64::try_from(number)
            .ok()
            .filter(|number| number >> NUMBER_BITS == 0)
            .map(|number| Self(pack.0 << NUMBER_BITS | number))
            .ok_or(DatabaseError::Damaged { what: "number" })
    }

    /// The pack that it is in.
    pub fn pack(self) -> PackRow {
        PackRow(self.0 >> NUMBER_BITS)
    }

    /// Its number in the pack.
    pub fn number(self) -> usize {
        (self.0 & ((1 << NUMBER_BITS) - 1)) as usize
    }
}

pub(super) fn commit_id(bytes: &[u8]) -> Result<CommitId, DatabaseError> {
    let bytes = bytes
        .try_into()
        .map_err(|_| DatabaseError::Damaged { what: "commit id" })?;
    Ok(CommitId::from_bytes(bytes))
}

pub(super) fn identity(bytes: &[u8]) -> Result<DotIdentity, DatabaseError> {
    let bytes = bytes
        .try_into()
        .map_err(|_| DatabaseError::Damaged { what: "identity" })?;
    Ok(DotIdentity::from_bytes(bytes))
}

pub(super) fn object_hash(bytes: &[u8]) -> Result<ObjectHash, DatabaseError> {
    let bytes = bytes.try_into().map_err(|_| DatabaseError::Damaged {
        what: "object hash",
    })?;
    Ok(ObjectHash::from_bytes(bytes))
}

pub(super) fn name<T: std::str::FromStr>(text: &str) -> Result<T, DatabaseError> {
    text.parse()
        .map_err(|_| DatabaseError::Damaged { what: "name" })
}

pub(super) fn dot_name(namespace: &str, name: &str) -> Result<DotName, DatabaseError> {
    DotName::new(self::name(namespace)?, name).map_err(|_| DatabaseError::Damaged { what: "name" })
}

/// A text that others chose, as every database can keep it: PostgreSQL's texts have no zero characters.
pub(super) fn text(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

/// A pattern of `LIKE … ESCAPE '!'` for what contains a text.
pub(super) fn containing(part: &str) -> String {
    let part = part.to_lowercase();
    let part = part.replace('!', "!!").replace('%', "!%");
    format!("%{}%", part.replace('_', "!_"))
}

pub(super) fn unsigned<T: TryFrom<i64>>(number: i64) -> Result<T, DatabaseError> {
    number
        .try_into()
        .map_err(|_| DatabaseError::Damaged { what: "number" })
}

pub(super) fn time(seconds: i64) -> Result<Timestamp, DatabaseError> {
    Timestamp::from_second(seconds).map_err(|_| DatabaseError::Damaged { what: "time" })
}

pub(super) fn visibility(text: &str) -> Result<Visibility, DatabaseError> {
    text.parse()
        .map_err(|_| DatabaseError::Damaged { what: "visibility" })
}

pub(super) fn forks(text: &str) -> Result<Forks, DatabaseError> {
    let known = Forks::ALL.into_iter().find(|forks| forks.as_str() == text);
    known.ok_or(DatabaseError::Damaged { what: "forks" })
}

pub(super) fn scope(text: &str) -> Result<Scope, DatabaseError> {
    text.parse()
        .map_err(|_| DatabaseError::Damaged { what: "scope" })
}

pub(super) fn access(text: &str) -> Result<Access, DatabaseError> {
    match text {
        "read" => Ok(Access::Read),
        "write" => Ok(Access::Write),
        "maintain" => Ok(Access::Maintain),
        _ => Err(DatabaseError::Damaged { what: "access" }),
    }
}

#[cfg(test)]
impl UserId {
    /// Somebody, by any name.
    pub(crate) fn named(name: &str) -> Self {
        Self(name.bytes().fold(0, |id, byte| id * 31 + i64::from(byte)))
    }
}
