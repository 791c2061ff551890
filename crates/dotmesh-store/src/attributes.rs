//! The attributes of files, directories and links: name, mode, owner, time, extended attributes.

use std::fmt;

use crate::error::InvalidObject;
use crate::wire::Reader;

/// The longest name of an entry, in bytes.
pub const MAX_NAME_LENGTH: usize = 255;

/// The most bytes that the names and values of one file's extended attributes may have together.
pub const MAX_XATTRS_LENGTH: usize = 512 << 10;

/// The name of a directory's entry: 1 to 255 bytes, no `/`, no NUL, neither `.` nor `..`. It need not be UTF-8.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryName(Box<[u8]>);

impl EntryName {
    /// Checks and copies the bytes of a name.
    pub fn new(bytes: &[u8]) -> Result<Self, InvalidObject> {
        let allowed = (1..=MAX_NAME_LENGTH).contains(&bytes.len())
            && !bytes.iter().any(|byte| matches!(byte, b'/' | 0))
            && !matches!(bytes, b"." | b"..");
        if allowed {
            Ok(Self(bytes.into()))
        } else {
            Err(InvalidObject::BadName)
        }
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.push(u8::try_from(self.0.len()).expect("a name has at most 255 bytes"));
        out.extend_from_slice(&self.0);
    }

    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Self, InvalidObject> {
        let length = reader.u8()?;
        Self::new(reader.take(usize::from(length))?)
    }
}

impl fmt::Debug for EntryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", String::from_utf8_lossy(&self.0))
    }
}

impl fmt::Display for EntryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.0))
    }
}

/// A point in time as file systems keep it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp {
    /// Seconds since 1970.
    pub seconds: i64,
    /// Nanoseconds after that, below 1,000,000,000.
    pub nanoseconds: u32,
}

/// One extended attribute.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Xattr {
    /// 1 to 255 bytes without NUL, e.g. `user.comment`.
    pub name: Box<[u8]>,
    /// Any bytes.
    pub value: Box<[u8]>,
}

/// The attributes of a file, directory, symlink or fifo: all that is not its content or its name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Attributes {
    /// The twelve permission bits, with set-id and sticky bits.
    pub mode: u16,
    /// The owner.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// The time of the last change of the content.
    pub mtime: Timestamp,
    /// Sorted by name, each name once.
    pub xattrs: Vec<Xattr>,
}

impl Attributes {
    /// Checks that the values are in the ranges of the format.
    pub fn check(&self) -> Result<(), InvalidObject> {
        let total: usize = self
            .xattrs
            .iter()
            .map(|xattr| xattr.name.len() + xattr.value.len())
            .sum();
        let allowed = self.mode <= 0o7777
            // `chown` takes this number as "leave unchanged".
            && self.uid != u32::MAX
            && self.gid != u32::MAX
            && self.mtime.nanoseconds < 1_000_000_000
            && self.xattrs.len() <= usize::from(u16::MAX)
            && total <= MAX_XATTRS_LENGTH
            && self.xattrs.iter().all(|xattr| {
                (1..=MAX_NAME_LENGTH).contains(&xattr.name.len()) && !xattr.name.contains(&0)
            })
            && self.xattrs.is_sorted_by(|a, b| a.name < b.name);
        if allowed {
            Ok(())
        } else {
            Err(InvalidObject::BadAttributes)
        }
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.mode.to_le_bytes());
        out.extend_from_slice(&self.uid.to_le_bytes());
        out.extend_from_slice(&self.gid.to_le_bytes());
        out.extend_from_slice(&self.mtime.seconds.to_le_bytes());
        out.extend_from_slice(&self.mtime.nanoseconds.to_le_bytes());
        let count = u16::try_from(self.xattrs.len()).expect("checked when the page was made");
        out.extend_from_slice(&count.to_le_bytes());
        for Xattr { name, value } in &self.xattrs {
            out.push(u8::try_from(name.len()).expect("checked when the page was made"));
            out.extend_from_slice(name);
            let length = u32::try_from(value.len()).expect("checked when the page was made");
            out.extend_from_slice(&length.to_le_bytes());
            out.extend_from_slice(value);
        }
    }

    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Self, InvalidObject> {
        let mode = reader.u16()?;
        let (uid, gid) = (reader.u32()?, reader.u32()?);
        let mtime = Timestamp {
            seconds: reader.i64()?,
            nanoseconds: reader.u32()?,
        };
        let count = reader.u16()?;
        // The vector grows with the items, so a false count allocates nothing.
        let mut xattrs = Vec::new();
        for _ in 0..count {
            let length = reader.u8()?;
            let name = reader.take(usize::from(length))?.into();
            let length = reader.u32()?;
            let length = usize::try_from(length).map_err(|_| InvalidObject::TooLarge)?;
            xattrs.push(Xattr {
                name,
                value: reader.take(length)?.into(),
            });
        }
        let attributes = Self {
            mode,
            uid,
            gid,
            mtime,
            xattrs,
        };
        attributes.check()?;
        Ok(attributes)
    }
}
