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
    /// The current path of the mounted folder in its filesystem. The path of a deleted folder ends in `//deleted`.
    pub root: PathBuf,
    /// The mount point, as processes in the table's namespace see it.
    pub point: PathBuf,
    /// The mounted source, for instance a device.
    pub source: PathBuf,
    /// The peer groups that it shares mounts with or receives mounts from. See mount_namespaces(7).
    pub peers: Vec<u64>,
}

/// Reads the mount table of a process, in the order of mounting. `self` is this process.
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
    // Optional fields end with a dash. Then come the type of the filesystem and its source.
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

/// Decodes a path. The kernel writes white space and backslashes as a backslash and three octal digits.
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

/// The mount that contains a path of this process, and the path relative to the mount point.
pub(crate) fn mount_of(path: &Path) -> Result<Option<(MountEntry, PathBuf)>, PoolError> {
    let path = path.canonicalize().during("look at", path)?;
    let entries = read_mount_table("self")?;
    let containing = entries
        .into_iter()
        .filter(|entry| path.starts_with(&entry.point))
        // If several are mounted at one place, the last one hides the others.
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
