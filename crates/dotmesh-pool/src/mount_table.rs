//! The kernel's table of mounts, as `/proc/PID/mountinfo` shows it (see proc_pid_mountinfo(5)).

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use crate::error::{During as _, PoolError};

/// One mount.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MountEntry {
    /// The filesystem, as `MAJOR:MINOR`.
    pub filesystem: String,
    /// The folder of the filesystem that is mounted, by its path there now. One that was deleted ends in `//deleted`.
    pub root: PathBuf,
    /// Where it is mounted, as the processes of the table's namespace see it.
    pub point: PathBuf,
    /// What was mounted, for instance a device.
    pub source: PathBuf,
    /// The groups of mounts that it is a copy of, or has copies in: one that is mounted there appears in all of the group.
    pub peers: Vec<u64>,
}

/// Reads the table of a process; `self` is this one's. The order is that of mounting.
pub fn read_mount_table(process: &str) -> Result<Vec<MountEntry>, PoolError> {
    let path = PathBuf::from(format!("/proc/{process}/mountinfo"));
    let table = std::fs::read(&path).during("read", &path)?;
    Ok(table
        .split(|byte| *byte == b'\n')
        .filter_map(entry)
        .collect())
}

/// `36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue`
fn entry(line: &[u8]) -> Option<MountEntry> {
    let mut words = line.split(|byte| *byte == b' ');
    let filesystem = words.nth(2)?;
    let (root, point) = (words.next()?, words.next()?);
    // Optional fields come up to a dash, then the kind of filesystem and its source.
    let peers = words.by_ref().skip(1).take_while(|word| *word != b"-");
    let peers: Vec<u64> = peers.filter_map(peer).collect();
    let source = words.nth(1)?;
    Some(MountEntry {
        filesystem: String::from_utf8_lossy(filesystem).into_owned(),
        root: path(root),
        point: path(point),
        source: path(source),
        peers,
    })
}

/// The number in `shared:1` or `master:1`.
fn peer(field: &[u8]) -> Option<u64> {
    let field = std::str::from_utf8(field).ok()?;
    let number = field
        .strip_prefix("shared:")
        .or_else(|| field.strip_prefix("master:"));
    number?.parse().ok()
}

/// The kernel writes white space and backslashes as three octal digits.
fn path(text: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        let octal = match (first, after) {
            (b'\\', [a, b, c, ..]) => std::str::from_utf8(&[*a, *b, *c])
                .ok()
                .and_then(|digits| u8::from_str_radix(digits, 8).ok()),
            _ => None,
        };
        bytes.push(octal.unwrap_or(*first));
        rest = if octal.is_some() { &after[3..] } else { after };
    }
    OsString::from_vec(bytes).into()
}

/// The mount that a path of this process is on, and the path from that mount's root.
pub(crate) fn mount_of(path: &Path) -> Result<Option<(MountEntry, PathBuf)>, PoolError> {
    let path = path.canonicalize().during("look at", path)?;
    let entries = read_mount_table("self")?;
    let containing = entries
        .into_iter()
        .filter(|entry| path.starts_with(&entry.point))
        // Of several at one place, the last one covers the others.
        .max_by_key(|entry| entry.point.components().count());
    Ok(containing.map(|entry| {
        let below = path.strip_prefix(&entry.point).unwrap_or(Path::new(""));
        let below = below.to_owned();
        (entry, below)
    }))
}

#[cfg(test)]
mod tests {
    use super::{MountEntry, entry, read_mount_table};

    #[test]
    fn a_line_is_read_whatever_its_paths_are() {
        let line = br"36 35 0:42 /a\040b/c\134d /mnt/e\011f rw,noatime shared:1 master:2 - btrfs /dev/loop0 rw";
        let expected = MountEntry {
            filesystem: "0:42".to_owned(),
            root: "/a b/c\\d".into(),
            point: "/mnt/e\tf".into(),
            source: "/dev/loop0".into(),
            peers: vec![1, 2],
        };
        assert_eq!(entry(line), Some(expected));
        assert_eq!(entry(b""), None);
        assert_eq!(entry(b"36 35 0:42 /a"), None);
    }

    #[test]
    fn this_process_has_mounts() {
        let table = read_mount_table("self").unwrap();
        assert!(table.iter().any(|entry| entry.point.as_os_str() == "/"));
    }
}
