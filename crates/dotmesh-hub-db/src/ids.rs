//! Row ids as types, and the conversion of hashes, names and other values from columns.

use dotmesh_api::hub::Access;
use dotmesh_hub_model::access::{Forks, Scope, Visibility};
use dotmesh_model::{CommitId, DotIdentity, DotName, ObjectHash};
use jiff::Timestamp;

use crate::DatabaseError;

macro_rules! row_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, sqlx::Type)]
        #[sqlx(transparent)]
        pub struct $name(pub(crate) i64);
    };
}

row_id!(
    /// An account.
    UserId
);
row_id!(
    /// A dot. Ids are never reused: a dot that is deleted and made again gets another id.
    DotId
);
row_id!(
    /// A row of a pack. Several rows may have the same pack name.
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
    /// A webhook delivery.
    DeliveryId
);

impl PackRow {
    /// Makes an id, which need not be a pack's. For tests.
    pub fn from_number(number: i64) -> Self {
        Self(number)
    }

    pub fn number(self) -> i64 {
        self.0
    }
}

impl UserId {
    /// Makes an id, which need not be an account's. For tests.
    pub fn from_number(number: i64) -> Self {
        Self(number)
    }
}

impl KeyId {
    /// Returns the number, as a form has it.
    pub fn number(self) -> i64 {
        self.0
    }

    /// Takes a number from a form. The caller must check whose key it is.
    pub fn from_number(number: i64) -> Self {
        Self(number)
    }
}

/// Joins commit ids to one parameter, which statements split with the table `numbers`.
pub(crate) fn joined(commits: &[CommitId]) -> Vec<u8> {
    commits
        .iter()
        .flat_map(CommitId::as_bytes)
        .copied()
        .collect()
}

/// Makes a row id usable in URLs: a number that means nothing outside the hub.
macro_rules! public_id {
    ($name:ident) => {
        impl $name {
            pub fn number(self) -> i64 {
                self.0
            }

            /// Takes a number from a URL. The caller must check whose row it is.
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
    /// How many bits of an object's id are its number in its pack. No pack has room for more objects.
    pub(crate) const NUMBER_BITS: u32 = 20;

    /// Makes an object's id from its pack and its number in the pack.
    pub(crate) fn of(pack: PackRow, number: usize) -> Result<Self, DatabaseError> {
        i64::try_from(number)
            .ok()
            .filter(|number| number >> Self::NUMBER_BITS == 0)
            .map(|number| Self(pack.0 << Self::NUMBER_BITS | number))
            .ok_or(DatabaseError::Damaged { what: "number" })
    }

    /// Returns the pack that it is in.
    pub fn pack(self) -> PackRow {
        PackRow(self.0 >> Self::NUMBER_BITS)
    }

    /// Returns its number in the pack.
    pub fn number(self) -> usize {
        (self.0 & ((1 << Self::NUMBER_BITS) - 1)) as usize
    }
}

pub(crate) fn commit_id(bytes: &[u8]) -> Result<CommitId, DatabaseError> {
    let bytes = bytes
        .try_into()
        .map_err(|_| DatabaseError::Damaged { what: "commit id" })?;
    Ok(CommitId::from_bytes(bytes))
}

pub(crate) fn identity(bytes: &[u8]) -> Result<DotIdentity, DatabaseError> {
    let bytes = bytes
        .try_into()
        .map_err(|_| DatabaseError::Damaged { what: "identity" })?;
    Ok(DotIdentity::from_bytes(bytes))
}

pub(crate) fn object_hash(bytes: &[u8]) -> Result<ObjectHash, DatabaseError> {
    let bytes = bytes.try_into().map_err(|_| DatabaseError::Damaged {
        what: "object hash",
    })?;
    Ok(ObjectHash::from_bytes(bytes))
}

pub(crate) fn name<T: std::str::FromStr>(text: &str) -> Result<T, DatabaseError> {
    text.parse()
        .map_err(|_| DatabaseError::Damaged { what: "name" })
}

pub(crate) fn dot_name(namespace: &str, name: &str) -> Result<DotName, DatabaseError> {
    DotName::new(self::name(namespace)?, name).map_err(|_| DatabaseError::Damaged { what: "name" })
}

/// Makes a user's text storable in every database: PostgreSQL's texts have no zero characters.
pub(crate) fn text(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

/// Returns a pattern for `LIKE … ESCAPE '!'` that matches texts with `part` in them.
pub(crate) fn containing(part: &str) -> String {
    let part = part.to_lowercase();
    let part = part.replace('!', "!!").replace('%', "!%");
    format!("%{}%", part.replace('_', "!_"))
}

pub(crate) fn unsigned<T: TryFrom<i64>>(number: i64) -> Result<T, DatabaseError> {
    number
        .try_into()
        .map_err(|_| DatabaseError::Damaged { what: "number" })
}

pub(crate) fn time(seconds: i64) -> Result<Timestamp, DatabaseError> {
    Timestamp::from_second(seconds).map_err(|_| DatabaseError::Damaged { what: "time" })
}

pub(crate) fn visibility(text: &str) -> Result<Visibility, DatabaseError> {
    text.parse()
        .map_err(|_| DatabaseError::Damaged { what: "visibility" })
}

pub(crate) fn forks(text: &str) -> Result<Forks, DatabaseError> {
    let known = Forks::ALL.into_iter().find(|forks| forks.as_str() == text);
    known.ok_or(DatabaseError::Damaged { what: "forks" })
}

pub(crate) fn scope(text: &str) -> Result<Scope, DatabaseError> {
    text.parse()
        .map_err(|_| DatabaseError::Damaged { what: "scope" })
}

pub(crate) fn access(text: &str) -> Result<Access, DatabaseError> {
    match text {
        "read" => Ok(Access::Read),
        "write" => Ok(Access::Write),
        "maintain" => Ok(Access::Maintain),
        _ => Err(DatabaseError::Damaged { what: "access" }),
    }
}
