//! The header of a tar entry: the fixed block of POSIX 1988. If a value does not fit into it, a block of pax records
//! comes first.

use crate::attributes::{InodeAttributes, Time};
use crate::records::Records;

pub(crate) const BLOCK: usize = 512;

/// The end of an archive.
pub static END: [u8; 2 * BLOCK] = [0; 2 * BLOCK];

/// The kind of an entry.
#[derive(Debug, Clone, Copy)]
pub enum EntryKind<'a> {
    /// A regular file of this size in bytes. Its bytes follow the header.
    File(u64),
    /// A file with holes. `stored` bytes follow the header: a list of the file's parts, and the parts.
    Sparse {
        /// The size of the file in bytes.
        size: u64,
        /// What follows the header, in bytes.
        stored: u64,
    },
    Folder,
    /// A symlink to this target.
    Symlink(&'a [u8]),
    Fifo,
    /// Another name of the file with this name in the archive.
    HardLink(&'a [u8]),
}

impl EntryKind<'_> {
    fn flag(self) -> u8 {
        match self {
            Self::File(_) | Self::Sparse { .. } => b'0',
            Self::HardLink(_) => b'1',
            Self::Symlink(_) => b'2',
            Self::Folder => b'5',
            Self::Fifo => b'6',
        }
    }
}

/// Returns the padding after a file's bytes, up to the end of the block.
pub fn padding(size: u64) -> &'static [u8] {
    let over = (size % BLOCK as u64) as usize;
    &END[..(BLOCK - over) % BLOCK]
}

/// Returns the header blocks of an entry.
pub fn header(mut name: Vec<u8>, kind: EntryKind<'_>, attributes: &InodeAttributes) -> Vec<u8> {
    let mut records = Records::default();
    if let EntryKind::Folder = kind {
        name.push(b'/');
    }
    if let EntryKind::Sparse { size, .. } = kind {
        records.add(b"GNU.sparse.major", b"1");
        records.add(b"GNU.sparse.minor", b"0");
        records.add(b"GNU.sparse.name", &name);
        records.add(b"GNU.sparse.realsize", size.to_string().as_bytes());
        // What programs see that do not know the format. The name above is the real one.
        name = b"GNUSparseFile.0".to_vec();
    } else if name.len() > 100 || !name.is_ascii() {
        records.add(b"path", &name);
    }
    let (size, target) = match kind {
        EntryKind::File(size) => (size, &b""[..]),
        EntryKind::Sparse { stored, .. } => (stored, &b""[..]),
        EntryKind::Symlink(target) | EntryKind::HardLink(target) => (0, target),
        EntryKind::Folder | EntryKind::Fifo => (0, &b""[..]),
    };
    if target.len() > 100 || !target.is_ascii() {
        records.add(b"linkpath", target);
    }
    let mut number = |name: &[u8], number: u64, digits: u32| {
        if number >> (3 * digits) == 0 {
            return number;
        }
        records.add(name, number.to_string().as_bytes());
        0
    };
    let size = number(b"size", size, 11);
    let uid = number(b"uid", u64::from(attributes.uid), 7);
    let gid = number(b"gid", u64::from(attributes.gid), 7);
    let mtime = attributes.mtime;
    let whole = u64::try_from(mtime.seconds).ok();
    let whole = whole.filter(|seconds| seconds >> 33 == 0 && mtime.nanoseconds == 0);
    if whole.is_none() {
        records.add(b"mtime", time(mtime).as_bytes());
    }
    for xattr in &attributes.xattrs {
        // Leave out a name with `=`, because a reader could not tell where it ends.
        if !xattr.name.contains(&b'=') {
            records.add(&[b"SCHILY.xattr.", &*xattr.name].concat(), &xattr.value);
        }
    }

    let mut out = Vec::new();
    let records = records.into_bytes();
    if !records.is_empty() {
        let fields = Fields {
            name: b"records",
            flag: b'x',
            mode: 0o644,
            uid: 0,
            gid: 0,
            size: records.len() as u64,
            mtime: 0,
            target: b"",
        };
        out.extend_from_slice(&fields.block());
        out.extend_from_slice(&records);
        out.extend_from_slice(padding(records.len() as u64));
    }
    let fields = Fields {
        name: &name,
        flag: kind.flag(),
        mode: attributes.mode,
        uid,
        gid,
        size,
        mtime: whole.unwrap_or(0),
        target,
    };
    out.extend_from_slice(&fields.block());
    out
}

/// Returns the time in seconds with a fraction. `nanoseconds` counts forward, also before 1970.
fn time(time: Time) -> String {
    let (seconds, nanoseconds) = (i128::from(time.seconds), i128::from(time.nanoseconds));
    let all = seconds * 1_000_000_000 + nanoseconds;
    let sign = if all < 0 { "-" } else { "" };
    let (seconds, fraction) = (all.abs() / 1_000_000_000, all.abs() % 1_000_000_000);
    format!("{sign}{seconds}.{fraction:09}")
}

/// The fixed block. All numbers must fit into their fields.
struct Fields<'a> {
    name: &'a [u8],
    flag: u8,
    mode: u16,
    uid: u64,
    gid: u64,
    size: u64,
    mtime: u64,
    target: &'a [u8],
}

impl Fields<'_> {
    fn block(&self) -> [u8; BLOCK] {
        let mut block = [0; BLOCK];
        let mut put = |at: usize, width: usize, bytes: &[u8]| {
            let length = bytes.len().min(width);
            block[at..at + length].copy_from_slice(&bytes[..length]);
        };
        put(0, 100, self.name);
        put(100, 8, format!("{:07o}", self.mode).as_bytes());
        put(108, 8, format!("{:07o}", self.uid).as_bytes());
        put(116, 8, format!("{:07o}", self.gid).as_bytes());
        put(124, 12, format!("{:011o}", self.size).as_bytes());
        put(136, 12, format!("{:011o}", self.mtime).as_bytes());
        // The checksum is computed with spaces in its own field.
        put(148, 8, b"        ");
        put(156, 1, &[self.flag]);
        put(157, 100, self.target);
        put(257, 8, b"ustar\x0000");
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        block
    }
}
