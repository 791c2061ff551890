//! Identifiers of commits and of content-addressed objects.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A text that is not an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{text}' is not {what}")]
pub struct InvalidId {
    what: &'static str,
    text: String,
}

impl InvalidId {
    fn new(what: &'static str, text: &str) -> Self {
        Self {
            what,
            text: text.chars().take(80).collect(),
        }
    }
}

macro_rules! id_type {
    ($(#[$doc:meta])* $name:ident, $bytes:literal, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name([u8; $bytes]);

        impl $name {
            /// Its length in bytes. As text it has twice as many lowercase hex digits.
            pub const LENGTH: usize = $bytes;

            /// Wraps raw bytes.
            pub const fn from_bytes(bytes: [u8; $bytes]) -> Self {
                Self(bytes)
            }

            /// The raw bytes.
            pub const fn as_bytes(&self) -> &[u8; $bytes] {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                let mut bytes = [0; $bytes];
                // Each id has one spelling, because an id is also a file name and a database key.
                let lower = !text.bytes().any(|b| b.is_ascii_uppercase());
                match hex::decode_to_slice(text, &mut bytes) {
                    Ok(()) if lower => Ok(Self(bytes)),
                    _ => Err(InvalidId::new($what, text)),
                }
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidId;
            fn try_from(text: String) -> Result<Self, InvalidId> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.to_string()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex::encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }
    };
}

id_type!(
    /// A commit's id: 128 random bits. It is not a hash, because hashing the data would delay the commit.
    CommitId, 16, "a commit id of 32 lowercase hex digits"
);
id_type!(
    /// The BLAKE3 digest of an object: a chunk, a tree page, a file page or a root. Seals are such digests, too.
    ObjectHash, 32, "an object hash of 64 lowercase hex digits"
);
id_type!(
    /// The identity of a dot on a hub: 128 random bits. It is made with the dot, and does not change with its name or
    /// owner.
    DotIdentity, 16, "a dot's identity of 32 lowercase hex digits"
);
id_type!(
    /// The id of a stash on a node: 128 random bits.
    StashId, 16, "a stash's id of 32 lowercase hex digits"
);

/// The first digits of a commit's id, at least four, or the whole id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CommitPrefix(String);

impl CommitPrefix {
    /// The shortest prefix that names a commit.
    pub const MIN_LENGTH: usize = 4;

    /// Whether the id starts with it.
    pub fn matches(&self, id: CommitId) -> bool {
        id.to_string().starts_with(&self.0)
    }
}

impl From<CommitId> for CommitPrefix {
    fn from(id: CommitId) -> Self {
        Self(id.to_string())
    }
}

impl FromStr for CommitPrefix {
    type Err = InvalidId;
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let length = Self::MIN_LENGTH..=2 * CommitId::LENGTH;
        match text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            true if length.contains(&text.len()) => Ok(Self(text.to_ascii_lowercase())),
            _ => Err(InvalidId::new(
                "a commit id, or its first 4 or more digits",
                text,
            )),
        }
    }
}

impl TryFrom<String> for CommitPrefix {
    type Error = InvalidId;
    fn try_from(text: String) -> Result<Self, InvalidId> {
        text.parse()
    }
}

impl From<CommitPrefix> for String {
    fn from(prefix: CommitPrefix) -> String {
        prefix.0
    }
}

impl fmt::Display for CommitPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.get(..10).unwrap_or(&self.0))
    }
}

impl CommitId {
    /// The empty commit from which the history of every dot starts. It has no record and no data.
    pub const ROOT: Self = Self([0; 16]);

    /// Reads a full id in upper or lower case, as a user may write it.
    pub fn from_any_case(text: &str) -> Option<Self> {
        text.to_ascii_lowercase().parse().ok()
    }

    /// The first ten digits, for display.
    pub fn short(&self) -> String {
        self.to_string()[..10].to_owned()
    }
}
