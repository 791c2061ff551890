//! Random directories: as a value, made on disk, and read back without the crate under test.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::{FileExt as _, FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use dotmesh_sync::limits::{MAX_TARGET_LENGTH, MAX_XATTR_LENGTH};
use proptest::prelude::*;
use rustix::fs::{AtFlags, CWD, FileType, Mode, Timespec, Timestamps};

/// One change to a directory. A sequence of them makes or changes a tree.
#[derive(Debug, Clone)]
pub(crate) enum Action {
    Write {
        at: u8,
        size: u32,
        seed: u8,
    },
    Patch {
        at: u8,
        offset: u32,
        length: u16,
        seed: u8,
    },
    Hole {
        at: u8,
        offset: u32,
        length: u32,
    },
    Truncate {
        at: u8,
        size: u32,
    },
    Directory {
        at: u8,
    },
    Symlink {
        at: u8,
        to: u8,
    },
    Fifo {
        at: u8,
    },
    Link {
        at: u8,
        to: u8,
    },
    Remove {
        at: u8,
    },
    Rename {
        at: u8,
        to: u8,
    },
    Attributes {
        at: u8,
        mode: u16,
        owner: u8,
        seconds: i32,
        nanoseconds: u32,
    },
    Xattr {
        at: u8,
        name: u8,
        value: u8,
    },
    /// Shares blocks with another file, or with another place in the same file.
    Clone {
        at: u8,
        from: u8,
        source: u8,
        target: u8,
        blocks: u8,
    },
    /// Reserves space without writing.
    Reserve {
        at: u8,
        offset: u32,
        length: u32,
    },
    Device {
        at: u8,
    },
    /// A symlink whose target is longer than every pool can store, or just short enough.
    LongLink {
        at: u8,
        beyond: bool,
    },
    /// An attribute that is larger than every pool can store, or just small enough.
    LargeXattr {
        at: u8,
        beyond: bool,
    },
    /// Nested directories, with a file in the last one.
    Deep {
        at: u8,
        levels: u16,
    },
    /// A file with one of several names that have the same hash.
    Colliding {
        at: u8,
        name: u8,
    },
}

pub(crate) fn actions(most: usize) -> impl Strategy<Value = Vec<Action>> {
    // Whether reserved space reads as a hole depends on the file system, and on some also on the cache.
    let everywhere = |action: &Action| !matches!(action, Action::Reserve { .. });
    let action = kept_action().prop_filter("what every filesystem does alike", everywhere);
    prop::collection::vec(action, 0..most)
}

/// Actions, including those that only btrfs always does the same way.
pub(crate) fn actions_on_btrfs(most: usize) -> impl Strategy<Value = Vec<Action>> {
    prop::collection::vec(action(), 0..most)
}

/// Actions, including some whose results are left out of a push.
fn action() -> impl Strategy<Value = Action> {
    use Action::*;
    let at = || 0..40u8;
    prop_oneof![
        20 => kept_action(),
        1 => at().prop_map(|at| Device { at }),
        1 => (at(), any::<bool>()).prop_map(|(at, beyond)| LongLink { at, beyond }),
        1 => (at(), any::<bool>()).prop_map(|(at, beyond)| LargeXattr { at, beyond }),
        1 => (at(), 250..258u16).prop_map(|(at, levels)| Deep { at, levels }),
        3 => (at(), 0..20u8).prop_map(|(at, name)| Colliding { at, name }),
    ]
}

fn kept_action() -> impl Strategy<Value = Action> {
    use Action::*;
    let at = || 0..40u8;
    // Files of whole pages are cut in their own way.
    let pages = || (1..400u32).prop_map(|pages| pages * 4096);
    let size = || {
        prop_oneof![
            0..3u32,
            1..9000u32,
            1..300_000u32,
            1..3_000_000u32,
            pages(),
            pages()
        ]
    };
    prop_oneof![
        6 => (at(), size(), any::<u8>()).prop_map(|(at, size, seed)| Write { at, size, seed }),
        3 => (at(), size(), any::<u16>(), any::<u8>())
            .prop_map(|(at, offset, length, seed)| Patch { at, offset, length, seed }),
        2 => (at(), size(), size()).prop_map(|(at, offset, length)| Hole { at, offset, length }),
        2 => (at(), size()).prop_map(|(at, size)| Truncate { at, size }),
        4 => at().prop_map(|at| Directory { at }),
        2 => (at(), at()).prop_map(|(at, to)| Symlink { at, to }),
        1 => at().prop_map(|at| Fifo { at }),
        3 => (at(), at()).prop_map(|(at, to)| Link { at, to }),
        2 => at().prop_map(|at| Remove { at }),
        2 => (at(), at()).prop_map(|(at, to)| Rename { at, to }),
        3 => (at(), 0..0o10000u16, 0..4u8, any::<i32>(), 0..1_000_000_000u32).prop_map(
            |(at, mode, owner, seconds, nanoseconds)| Attributes { at, mode, owner, seconds, nanoseconds }
        ),
        2 => (at(), 0..5u8, any::<u8>()).prop_map(|(at, name, value)| Xattr { at, name, value }),
        2 => (at(), at(), 0..100u8, 0..100u8, 0..50u8).prop_map(
            |(at, from, source, target, blocks)| Clone { at, from, source, target, blocks }
        ),
        1 => (at(), size(), size()).prop_map(|(at, offset, length)| Reserve { at, offset, length }),
    ]
}

/// Forty paths. Some are below others, and some have unusual bytes.
fn path(root: &Path, at: u8) -> PathBuf {
    let name = |n: u8| match n {
        0 => b"a".to_vec(),
        1 => b"with space\n".to_vec(),
        2 => vec![0xff, 0xfe, b'x'],
        3 => "\u{1f980}".as_bytes().to_vec(),
        4 => vec![b'l'; 255],
        n => format!("f{n}").into_bytes(),
    };
    let join = |path: PathBuf, name: Vec<u8>| path.join(std::ffi::OsString::from_vec(name));
    match at {
        0..10 => join(root.to_owned(), name(at)),
        10..25 => join(join(root.to_owned(), name(at % 3)), name(at % 10)),
        _ => join(
            join(join(root.to_owned(), name(at % 3)), name(at % 2)),
            name(at % 10),
        ),
    }
}

/// Runs actions. Those that are impossible are skipped.
pub(crate) fn run(root: &Path, actions: &[Action]) {
    for action in actions {
        let _ = try_run(root, action);
    }
}

fn noise(seed: u8, length: usize) -> Vec<u8> {
    let mut state = u64::from(seed).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

fn is_file(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_file())
}

fn try_run(root: &Path, action: &Action) -> std::io::Result<()> {
    match *action {
        Action::Write { at, size, seed } => {
            let path = path(root, at);
            let exists = fs::symlink_metadata(&path).is_ok();
            if exists && !is_file(&path) {
                return Ok(());
            }
            fs::write(path, noise(seed, size as usize))
        }
        Action::Patch {
            at,
            offset,
            length,
            seed,
        } => {
            let path = path(root, at);
            if !is_file(&path) {
                return Ok(());
            }
            let file = fs::OpenOptions::new().write(true).open(path)?;
            file.write_all_at(&noise(seed, usize::from(length)), u64::from(offset))
        }
        Action::Hole { at, offset, length } => {
            let path = path(root, at);
            if !is_file(&path) || length == 0 {
                return Ok(());
            }
            let file = fs::OpenOptions::new().write(true).open(path)?;
            let flags =
                rustix::fs::FallocateFlags::PUNCH_HOLE | rustix::fs::FallocateFlags::KEEP_SIZE;
            Ok(rustix::fs::fallocate(
                &file,
                flags,
                offset.into(),
                length.into(),
            )?)
        }
        Action::Truncate { at, size } => {
            let path = path(root, at);
            if !is_file(&path) {
                return Ok(());
            }
            fs::OpenOptions::new()
                .write(true)
                .open(path)?
                .set_len(size.into())
        }
        Action::Directory { at } => fs::create_dir(path(root, at)),
        Action::Symlink { at, to } => {
            let target = if to % 2 == 0 {
                PathBuf::from("/etc/passwd")
            } else {
                path(Path::new(".."), to)
            };
            std::os::unix::fs::symlink(target, path(root, at))
        }
        Action::Fifo { at } => Ok(rustix::fs::mknodat(
            CWD,
            path(root, at),
            FileType::Fifo,
            Mode::RUSR,
            0,
        )?),
        Action::Link { at, to } if is_file(&path(root, to)) => {
            fs::hard_link(path(root, to), path(root, at))
        }
        Action::Link { .. } => Ok(()),
        Action::Remove { at } => {
            let path = path(root, at);
            if fs::symlink_metadata(&path)?.is_dir() {
                fs::remove_dir_all(path)
            } else {
                fs::remove_file(path)
            }
        }
        Action::Rename { at, to } => fs::rename(path(root, at), path(root, to)),
        Action::Attributes {
            at,
            mode,
            owner,
            seconds,
            nanoseconds,
        } => {
            let path = path(root, at);
            let metadata = fs::symlink_metadata(&path)?;
            std::os::unix::fs::lchown(
                &path,
                Some(u32::from(owner)),
                Some(u32::from(owner) * 1000),
            )?;
            if !metadata.is_symlink() {
                fs::set_permissions(&path, fs::Permissions::from_mode(mode.into()))?;
            }
            let times = Timestamps {
                last_access: Timespec {
                    tv_sec: 0,
                    tv_nsec: rustix::fs::UTIME_OMIT,
                },
                last_modification: Timespec {
                    tv_sec: seconds.into(),
                    tv_nsec: nanoseconds.into(),
                },
            };
            Ok(rustix::fs::utimensat(
                CWD,
                path,
                &times,
                AtFlags::SYMLINK_NOFOLLOW,
            )?)
        }
        Action::Xattr { at, name, value } => set_xattr(&path(root, at), name, value),
        Action::Clone {
            at,
            from,
            source,
            target,
            blocks,
        } => {
            let (path, from) = (path(root, at), path(root, from));
            if !is_file(&path) || !is_file(&from) {
                return Ok(());
            }
            let from = fs::File::open(from)?;
            let into = fs::OpenOptions::new().write(true).open(path)?;
            let place = |block: u8| u64::from(block) * 4096;
            // On btrfs this shares the blocks.
            let (mut source, mut target) = (place(source), place(target));
            let length = usize::from(blocks) * 4096;
            rustix::fs::copy_file_range(&from, Some(&mut source), &into, Some(&mut target), length)
                .map(drop)
                .map_err(Into::into)
        }
        Action::Reserve { at, offset, length } => {
            let path = path(root, at);
            if !is_file(&path) || length == 0 {
                return Ok(());
            }
            let file = fs::OpenOptions::new().write(true).open(path)?;
            let flags = rustix::fs::FallocateFlags::empty();
            rustix::fs::fallocate(&file, flags, offset.into(), length.into())?;
            Ok(())
        }
        Action::Device { at } => make_device(&path(root, at)),
        Action::LongLink { at, beyond } => {
            let target = "t".repeat(MAX_TARGET_LENGTH + usize::from(beyond));
            std::os::unix::fs::symlink(target, path(root, at))
        }
        Action::LargeXattr { at, beyond } => {
            let name = "trusted.large";
            let value = vec![1; MAX_XATTR_LENGTH - name.len() + usize::from(beyond)];
            let flags = rustix::fs::XattrFlags::empty();
            Ok(rustix::fs::lsetxattr(path(root, at), name, &value, flags)?)
        }
        Action::Deep { at, levels } => {
            let path = path(root, at).join("d/".repeat(levels.into()));
            fs::create_dir_all(&path)?;
            fs::write(path.join("file"), "deep")
        }
        Action::Colliding { at, name } => fs::write(
            path(root, at).join(&colliding_names()[usize::from(name)]),
            "c",
        ),
    }
}

pub(crate) fn make_device(path: &Path) -> std::io::Result<()> {
    let null = rustix::fs::makedev(1, 3);
    Ok(rustix::fs::mknodat(
        CWD,
        path,
        FileType::CharacterDevice,
        Mode::RUSR,
        null,
    )?)
}

/// Names of 255 bytes to which btrfs gives the same hash, sorted. A btrfs node of 4 KiB has room for 13 of them in a
/// directory.
pub(crate) fn colliding_names() -> &'static [String] {
    static NAMES: LazyLock<Vec<String>> = LazyLock::new(|| {
        // The checksum is linear, so some sets of bytes can change together without changing it.
        let changed = |place: usize| {
            let mut bytes = [0_u8; 255];
            bytes[place] = 1;
            bytes.iter().fold(0_u32, |crc, byte| {
                (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
                    (crc >> 1) ^ (0x82f6_3b78 * (crc & 1))
                })
            })
        };
        let mut reduced: Vec<(u32, u64)> = Vec::new();
        let mut sets = Vec::new();
        for place in 0..60 {
            let (mut crc, mut set) = (changed(place), 1_u64 << place);
            for (other, places) in &reduced {
                if crc & (1 << other.ilog2()) != 0 {
                    (crc, set) = (crc ^ other, set ^ places);
                }
            }
            match crc {
                0 => sets.push(set),
                _ => reduced.push((crc, set)),
            }
        }
        let mut names: Vec<String> = sets[..20]
            .iter()
            .map(|set| {
                let letter = |place: usize| if (*set >> place) & 1 == 1 { 'c' } else { 'b' };
                (0..60).map(letter).collect::<String>() + &"b".repeat(195)
            })
            .collect();
        names.sort();
        names
    });
    &NAMES
}

fn set_xattr(path: &Path, name: u8, value: u8) -> std::io::Result<()> {
    let flags = rustix::fs::XattrFlags::empty();
    let metadata = fs::symlink_metadata(path)?;
    // Version 2, then the tag, permissions and id of each entry: owner, user 1000, group, mask, other.
    let acl: Vec<u8> = [2, 0, 0, 0]
        .into_iter()
        .chain(
            [
                (1u16, 6u16, u32::MAX),
                (2, value.into(), 1000),
                (4, 4, u32::MAX),
                (16, 7, u32::MAX),
                (32, 4, u32::MAX),
            ]
            .into_iter()
            .flat_map(|(tag, mode, id)| {
                [
                    &tag.to_le_bytes()[..],
                    &(mode & 7).to_le_bytes()[..],
                    &id.to_le_bytes()[..],
                ]
                .concat()
            }),
        )
        .collect();
    match name {
        0 => rustix::fs::lsetxattr(path, "user.note", &vec![value; usize::from(value)], flags)?,
        1 => rustix::fs::lsetxattr(path, "trusted.note", &[value], flags)?,
        2 if metadata.is_file() => {
            let capability = [
                0, 0, 0, 2, value, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
            ];
            rustix::fs::lsetxattr(path, "security.capability", &capability, flags)?;
        }
        3 if !metadata.is_symlink() => {
            rustix::fs::lsetxattr(path, "system.posix_acl_access", &acl, flags)?;
        }
        4 if metadata.is_dir() => {
            rustix::fs::lsetxattr(path, "system.posix_acl_default", &acl, flags)?;
        }
        _ => {}
    }
    Ok(())
}

/// Describes everything about a tree that must be stored, one line for each path.
pub(crate) fn describe(root: &Path) -> BTreeMap<Vec<u8>, String> {
    let mut lines = BTreeMap::new();
    let mut links = BTreeMap::new();
    describe_below(root, root, &mut lines, &mut links);
    lines
}

fn describe_below(
    root: &Path,
    path: &Path,
    lines: &mut BTreeMap<Vec<u8>, String>,
    links: &mut BTreeMap<u64, Vec<u8>>,
) {
    let metadata = fs::symlink_metadata(path).expect("stat");
    let name = path
        .strip_prefix(root)
        .expect("below the root")
        .as_os_str()
        .as_bytes()
        .to_vec();
    let kind = metadata.file_type();
    let content = if kind.is_symlink() {
        format!("-> {:?}", fs::read_link(path).expect("readlink"))
    } else if kind.is_file() {
        let first = links.entry(metadata.ino()).or_insert_with(|| name.clone());
        let bytes = fs::read(path).expect("read");
        format!(
            "{} bytes {:?} {:?} as {first:?}",
            bytes.len(),
            checksum(&bytes),
            holes(path)
        )
    } else if kind.is_fifo() {
        "fifo".to_owned()
    } else {
        "directory".to_owned()
    };
    let line = format!(
        "{content} {:o} {}:{} {}.{:09} {:?}",
        metadata.mode(),
        metadata.uid(),
        metadata.gid(),
        metadata.mtime(),
        metadata.mtime_nsec(),
        xattrs(path),
    );
    lines.insert(name, line);
    if kind.is_dir() {
        let mut below: Vec<_> = fs::read_dir(path)
            .expect("list")
            .map(|entry| entry.expect("list").path())
            .collect();
        below.sort();
        below
            .iter()
            .for_each(|below| describe_below(root, below, lines, links));
    }
}

fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |sum, byte| {
        (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

fn holes(path: &Path) -> Vec<(u64, u64)> {
    use rustix::fs::{SeekFrom, seek};
    let file = fs::File::open(path).expect("open");
    let mut data = Vec::new();
    let mut at = 0;
    while let Ok(start) = seek(&file, SeekFrom::Data(at)) {
        at = seek(&file, SeekFrom::Hole(start)).expect("seek");
        data.push((start, at));
    }
    data
}

fn xattrs(path: &Path) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut list = vec![0; 65536];
    let length = match rustix::fs::llistxattr(path, &mut list[..]) {
        // There are more names than Linux lists.
        Err(rustix::io::Errno::TOOBIG) => 0,
        length => length.expect("list xattrs"),
    };
    let names = list[..length]
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty());
    names
        .map(|name| {
            let mut value = vec![0; 65536];
            let length = rustix::fs::lgetxattr(path, name, &mut value[..]).expect("get xattr");
            value.truncate(length);
            (name.to_vec(), value)
        })
        .collect()
}
