//! Kinds of objects, how each is hashed, and the seal that chains commits.

use bytes::Bytes;
use dotmesh_model::ObjectHash;

/// The largest object before compression. Larger ones are neither made nor accepted.
pub const MAX_OBJECT_LENGTH: usize = 1 << 20;

/// The seal of the root commit, the parent of every dot's first commit.
pub const ROOT_SEAL: ObjectHash = ObjectHash::from_bytes([0; ObjectHash::LENGTH]);

const SEAL_CONTEXT: &str = "dotmesh 2026 v1 commit seal";

/// The kind of an object. Packs contain its number.
///
/// Each kind has its own hash context, so the bytes of a file can't be used as a tree page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Kind {
    /// Raw bytes of a file.
    Chunk = 1,
    /// A file page: segments of a large file, or child pages.
    FilePage = 2,
    /// A tree page: entries of a directory, or child pages.
    TreePage = 3,
    /// The root directory of a commit.
    Root = 4,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Chunk, Self::FilePage, Self::TreePage, Self::Root];

    /// The number in packs.
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The kind with this number.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.number() == number)
    }

    const fn context(self) -> &'static str {
        match self {
            Self::Chunk => "dotmesh 2026 v1 chunk",
            Self::FilePage => "dotmesh 2026 v1 file node",
            Self::TreePage => "dotmesh 2026 v1 tree node",
            Self::Root => "dotmesh 2026 v1 root",
        }
    }
}

/// An object whose bytes are known to match its hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    kind: Kind,
    hash: ObjectHash,
    bytes: Bytes,
}

impl Object {
    /// Hashes bytes.
    pub fn new(kind: Kind, bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        Self {
            kind,
            hash: object_hash(kind, &bytes),
            bytes,
        }
    }

    /// Makes an object of bytes whose hash the caller has just verified.
    pub(crate) fn new_verified(kind: Kind, hash: ObjectHash, bytes: Bytes) -> Self {
        Self { kind, hash, bytes }
    }

    /// The kind of the object.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The hash of the bytes.
    pub fn hash(&self) -> ObjectHash {
        self.hash
    }

    /// The bytes.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Returns the bytes.
    pub fn into_bytes(self) -> Bytes {
        self.bytes
    }
}

/// The hash of an object.
pub fn object_hash(kind: Kind, bytes: &[u8]) -> ObjectHash {
    ObjectHash::from_bytes(blake3::derive_key(kind.context(), bytes))
}

/// The seal of a commit. It covers the commit's record and files, and through the parent's seal its whole history. The
/// parent seal of the first commit is [`ROOT_SEAL`].
pub fn seal(parent: ObjectHash, record: &[u8], root: ObjectHash) -> ObjectHash {
    let mut hasher = blake3::Hasher::new_derive_key(SEAL_CONTEXT);
    // The fields before the record have fixed lengths, so the input is unambiguous.
    hasher
        .update(parent.as_bytes())
        .update(root.as_bytes())
        .update(record);
    ObjectHash::from_bytes(*hasher.finalize().as_bytes())
}
