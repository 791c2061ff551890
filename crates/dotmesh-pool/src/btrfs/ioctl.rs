//! The few ioctls of btrfs and of loop devices that the driver needs, and `open_by_handle_at`.
//!
//! Layouts and numbers come from the kernel's `linux/btrfs.h` and `linux/loop.h`, which are stable interfaces. The crates
//! that wrap these calls need libclang to build, which is too much for so few calls.
#![expect(
    unsafe_code,
    reason = "these calls take pointers whose layout the compiler cannot check"
)]

use std::ffi::OsStr;
use std::fs::File;
use std::ops::Range;
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;

use rustix::io::{Errno, Result};
use rustix::ioctl::{Getter, NoArg, Setter, Updater, ioctl};

use super::items::ROOT_REF;

const SYNC: u32 = 0x9408;
const SUBVOL_CREATE: u32 = 0x5000_940e;
const SNAP_CREATE_V2: u32 = 0x5000_9417;
const SNAP_DESTROY: u32 = 0x5000_940f;
const SUBVOL_GETFLAGS: u32 = 0x8008_9419;
const SUBVOL_SETFLAGS: u32 = 0x4008_941a;
const RESIZE: u32 = 0x5000_9403;
const TREE_SEARCH_V2: u32 = 0xc070_9411;
const GET_SUBVOL_INFO: u32 = 0x81f8_943c;
const LOOP_SET_CAPACITY: u32 = 0x4c07;
const FS_INFO: u32 = 0x8400_941f;
const FITRIM: u32 = 0xc018_5879;

const FLAG_READ_ONLY: u64 = 1 << 1;

/// `struct btrfs_ioctl_vol_args`
#[repr(C)]
struct VolArgs {
    fd: i64,
    name: [u8; 4088],
}

/// `struct btrfs_ioctl_vol_args_v2`
#[repr(C)]
struct VolArgsV2 {
    fd: i64,
    transid: u64,
    flags: u64,
    unused: [u64; 4],
    name: [u8; 4040],
}

fn name<const N: usize>(text: &OsStr) -> Result<[u8; N]> {
    let bytes = text.as_bytes();
    // 255 bytes is the limit of a file name, and leaves space for the final zero byte.
    if bytes.is_empty() || bytes.len() > 255 || bytes.contains(&b'/') || bytes.contains(&0) {
        return Err(Errno::INVAL);
    }
    let mut name = [0; N];
    name[..bytes.len()].copy_from_slice(bytes);
    Ok(name)
}

pub(super) fn create_subvolume(parent: BorrowedFd<'_>, child: &OsStr) -> Result<()> {
    let args = VolArgs {
        fd: 0,
        name: name(child)?,
    };
    // SAFETY: this ioctl takes a `btrfs_ioctl_vol_args`, which the kernel only reads.
    unsafe { ioctl(parent, Setter::<SUBVOL_CREATE, _>::new(args)) }
}

pub(super) fn create_snapshot(
    parent: BorrowedFd<'_>,
    child: &OsStr,
    source: BorrowedFd<'_>,
    read_only: bool,
) -> Result<()> {
    let args = VolArgsV2 {
        fd: source.as_raw_fd().into(),
        transid: 0,
        flags: if read_only { FLAG_READ_ONLY } else { 0 },
        unused: [0; 4],
        name: name(child)?,
    };
    // SAFETY: this ioctl takes a `btrfs_ioctl_vol_args_v2`, which the kernel only reads.
    unsafe { ioctl(parent, Setter::<SNAP_CREATE_V2, _>::new(args)) }
}

pub(super) fn destroy_subvolume(parent: BorrowedFd<'_>, child: &OsStr) -> Result<()> {
    let args = VolArgs {
        fd: 0,
        name: name(child)?,
    };
    // SAFETY: as for `create_subvolume`.
    unsafe { ioctl(parent, Setter::<SNAP_DESTROY, _>::new(args)) }
}

fn flags(top: BorrowedFd<'_>) -> Result<u64> {
    // SAFETY: this ioctl writes a `__u64`, of which any bytes are valid.
    unsafe { ioctl(top, Getter::<SUBVOL_GETFLAGS, u64>::new()) }
}

/// Whether a subvolume is read-only. Fails for any folder but the top directory of a subvolume.
pub(super) fn is_read_only(top: BorrowedFd<'_>) -> Result<bool> {
    Ok(flags(top)? & FLAG_READ_ONLY != 0)
}

/// Makes a read-only subvolume writable. `top` is its top directory.
pub(super) fn make_writable(top: BorrowedFd<'_>) -> Result<()> {
    let flags = flags(top)?;
    if flags & FLAG_READ_ONLY == 0 {
        return Ok(());
    }
    // SAFETY: this ioctl takes a `__u64`, which the kernel only reads.
    unsafe {
        ioctl(
            top,
            Setter::<SUBVOL_SETFLAGS, u64>::new(flags & !FLAG_READ_ONLY),
        )
    }
}

/// `FILEID_BTRFS_WITHOUT_PARENT` of `linux/exportfs.h`.
const HANDLE_TYPE: libc::c_int = 0x4d;

/// The part of the kernel's `struct btrfs_fid` that a handle without a parent has: five words of four bytes.
#[repr(C, packed)]
struct FileId {
    inode: u64,
    subvolume: u64,
    /// If it is zero, the kernel does not check the generation of the inode.
    generation: u32,
}

/// `struct file_handle`, followed by the handle.
#[repr(C)]
struct FileHandle {
    handle_bytes: libc::c_uint,
    handle_type: libc::c_int,
    id: FileId,
}

const _: () = assert!(size_of::<FileId>() == 20 && size_of::<FileHandle>() == 28);

/// Opens a directory by subvolume id and inode number, at any depth. `filesystem` is any open file of the filesystem.
/// `ESTALE` and `ENOENT` mean that there is no such directory.
pub(super) fn open_directory(
    filesystem: BorrowedFd<'_>,
    subvolume: u64,
    inode: u64,
) -> Result<OwnedFd> {
    let mut handle = FileHandle {
        handle_bytes: 20,
        handle_type: HANDLE_TYPE,
        id: FileId {
            inode,
            subvolume,
            generation: 0,
        },
    };
    let flags = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_NOFOLLOW | libc::O_CLOEXEC;
    let handle = std::ptr::from_mut(&mut handle).cast();
    // SAFETY: the pointer is to a `struct file_handle`, followed by `handle_bytes` bytes.
    let opened = unsafe { libc::open_by_handle_at(filesystem.as_raw_fd(), handle, flags) };
    if opened < 0 {
        let error = std::io::Error::last_os_error();
        return Err(Errno::from_io_error(&error).unwrap_or(Errno::IO));
    }
    // SAFETY: the kernel just opened this descriptor for us, so nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(opened) })
}

/// Commits the transaction, and wakes the kernel thread that cleans up deleted subvolumes. That thread otherwise wakes up
/// only every 30 s, and syncfs(2) does not wake it.
pub(super) fn sync(root: BorrowedFd<'_>) -> Result<()> {
    // SAFETY: this ioctl takes no argument.
    unsafe { ioctl(root, NoArg::<SYNC>::new()) }
}

/// Makes the mounted filesystem as large as its device.
pub(super) fn resize_to_device(root: BorrowedFd<'_>) -> Result<()> {
    let args = VolArgs {
        fd: 0,
        name: name(OsStr::new("max"))?,
    };
    // SAFETY: as for `create_subvolume`.
    unsafe { ioctl(root, Setter::<RESIZE, _>::new(args)) }
}

/// Makes a loop device as large as its file.
pub(super) fn reread_loop_size(device: &File) -> Result<()> {
    // SAFETY: this ioctl takes no argument.
    unsafe { ioctl(device, NoArg::<LOOP_SET_CAPACITY>::new()) }
}

/// The first fields of `struct btrfs_ioctl_fs_info_args`, padded to its length.
#[repr(C)]
struct FsInfo {
    max_id: u64,
    num_devices: u64,
    id: [u8; 16],
    rest: [u64; 124],
}

const _: () = assert!(size_of::<FsInfo>() == 1024);

/// The filesystem's UUID, as `/sys/fs/btrfs` names it.
pub(super) fn filesystem_id(root: BorrowedFd<'_>) -> Result<String> {
    // SAFETY: this ioctl writes a `btrfs_ioctl_fs_info_args`, of which any bytes are valid.
    let info = unsafe { ioctl(root, Getter::<FS_INFO, FsInfo>::new()) }?;
    let hex = |bytes: &[u8]| -> String { bytes.iter().map(|byte| format!("{byte:02x}")).collect() };
    let parts = [0..4, 4..6, 6..8, 8..10, 10..16].map(|range| hex(&info.id[range]));
    Ok(parts.join("-"))
}

/// `struct fstrim_range`
#[repr(C)]
struct TrimRange {
    start: u64,
    length: u64,
    shortest: u64,
}

/// Discards free space in a range of logical addresses, and space of the device that belongs to no chunk. Pieces shorter
/// than `shortest` bytes are skipped.
pub(super) fn trim(root: BorrowedFd<'_>, range: Range<u64>, shortest: u64) -> Result<()> {
    let mut args = TrimRange {
        start: range.start,
        length: range.end - range.start,
        shortest,
    };
    // SAFETY: this ioctl updates a `fstrim_range`, of which any bytes are valid.
    unsafe { ioctl(root, Updater::<FITRIM, _>::new(&mut args)) }
}

/// A subvolume's id, and the transactions that created it and last changed it.
#[derive(Debug, Clone, Copy)]
pub(super) struct SubvolumeInfo {
    pub(super) id: u64,
    pub(super) created: u64,
    pub(super) changed: u64,
}

/// The first fields of `struct btrfs_ioctl_get_subvol_info_args`, padded to its length.
#[repr(C)]
struct SubvolInfoArgs {
    treeid: u64,
    name: [u8; 256],
    parent_id: u64,
    dirid: u64,
    generation: u64,
    flags: u64,
    uuids: [[u8; 16]; 3],
    ctransid: u64,
    otransid: u64,
    rest: [u64; 18],
}

const _: () = assert!(size_of::<SubvolInfoArgs>() == 504);

pub(super) fn subvolume_info(folder: BorrowedFd<'_>) -> Result<SubvolumeInfo> {
    let mut args = SubvolInfoArgs {
        treeid: 0,
        name: [0; 256],
        parent_id: 0,
        dirid: 0,
        generation: 0,
        flags: 0,
        uuids: [[0; 16]; 3],
        ctransid: 0,
        otransid: 0,
        rest: [0; 18],
    };
    // SAFETY: this ioctl writes a `btrfs_ioctl_get_subvol_info_args`, of which any bytes are valid.
    unsafe { ioctl(folder, Updater::<GET_SUBVOL_INFO, _>::new(&mut args)) }?;
    Ok(SubvolumeInfo {
        id: args.treeid,
        created: args.otransid,
        changed: args.generation,
    })
}

const SEARCH_BUFFER: usize = 64 << 10;

/// `struct btrfs_ioctl_search_args_v2` with its buffer.
#[repr(C)]
struct SearchArgs {
    tree_id: u64,
    min_objectid: u64,
    max_objectid: u64,
    min_offset: u64,
    max_offset: u64,
    min_transid: u64,
    max_transid: u64,
    min_type: u32,
    max_type: u32,
    nr_items: u32,
    unused: u32,
    unused_words: [u64; 4],
    buf_size: u64,
    buf: [u8; SEARCH_BUFFER],
}

/// An item of a tree.
pub(super) struct Item<'a> {
    pub(super) inode: u64,
    pub(super) kind: u32,
    pub(super) offset: u64,
    pub(super) body: &'a [u8],
}

/// The root tree, which lists the subvolumes.
const ROOT_TREE: u64 = 1;
/// The chunk tree.
const CHUNK_TREE: u64 = 3;
/// The object id of all chunk items.
const FIRST_CHUNK_TREE: u64 = 256;
const CHUNK_ITEM: u32 = 228;

/// Selects items of a tree.
#[derive(Debug, Clone, Copy)]
pub(super) struct Search {
    /// The id of the tree. 0 is the tree of the open subvolume.
    tree: u64,
    /// The first and the last inode.
    inodes: (u64, u64),
    /// The first kind of the first inode, and the last kind of the last inode. Inodes in between match with every kind.
    kinds: (u32, u32),
    since: u64,
}

impl Search {
    /// All items in tree blocks that were written in transaction `since` or later. Such blocks also contain older items, so
    /// the caller must check the age of each item.
    pub(super) fn since(since: u64) -> Self {
        Self {
            tree: 0,
            inodes: (0, u64::MAX),
            kinds: (0, u32::MAX),
            since,
        }
    }

    /// The items of an inode, of a range of kinds.
    pub(super) fn inode(inode: u64, first: u32, last: u32) -> Self {
        Self {
            tree: 0,
            inodes: (inode, inode),
            kinds: (first, last),
            since: 0,
        }
    }

    /// The items of an inode of another subvolume, of a range of kinds.
    pub(super) fn inode_of(subvolume: u64, inode: u64, first: u32, last: u32) -> Self {
        Self {
            tree: subvolume,
            ..Self::inode(inode, first, last)
        }
    }

    /// All chunk items.
    pub(super) fn chunks() -> Self {
        Self::inode_of(CHUNK_TREE, FIRST_CHUNK_TREE, CHUNK_ITEM, CHUNK_ITEM)
    }

    /// The items that list the subvolumes directly inside a subvolume.
    pub(super) fn children(subvolume: u64) -> Self {
        Self::inode_of(ROOT_TREE, subvolume, ROOT_REF, ROOT_REF)
    }
}

/// Calls `visit` with every selected item, in the order of the keys.
pub(super) fn search(
    subvolume: BorrowedFd<'_>,
    search: Search,
    mut visit: impl FnMut(Item<'_>),
) -> Result<()> {
    let mut args = Box::new(SearchArgs {
        tree_id: search.tree,
        min_objectid: search.inodes.0,
        max_objectid: search.inodes.1,
        min_offset: 0,
        max_offset: u64::MAX,
        min_transid: search.since,
        max_transid: u64::MAX,
        min_type: search.kinds.0,
        max_type: search.kinds.1,
        nr_items: u32::MAX,
        unused: 0,
        unused_words: [0; 4],
        buf_size: SEARCH_BUFFER as u64,
        buf: [0; SEARCH_BUFFER],
    });
    loop {
        args.nr_items = u32::MAX;
        // SAFETY: this ioctl updates a `btrfs_ioctl_search_args_v2` followed by a buffer of `buf_size` bytes.
        unsafe { ioctl(subvolume, Updater::<TREE_SEARCH_V2, _>::new(&mut *args)) }?;
        if args.nr_items == 0 {
            return Ok(());
        }
        let mut rest: &[u8] = &args.buf;
        let mut last = (0, 0, 0);
        for _ in 0..args.nr_items {
            let Some((header, after)) = rest.split_at_checked(32) else {
                break;
            };
            let (inode, offset) = (u64_at(header, 8), u64_at(header, 16));
            let (kind, length) = (u32_at(header, 24), u32_at(header, 28) as usize);
            let Some((body, after)) = after.split_at_checked(length) else {
                break;
            };
            visit(Item {
                inode,
                kind,
                offset,
                body,
            });
            last = (inode, kind, offset);
            rest = after;
        }
        // Continue with the key after the last one.
        let (inode, kind, offset) = last;
        (args.min_objectid, args.min_type, args.min_offset) = match offset.checked_add(1) {
            Some(next) => (inode, kind, next),
            None if kind < u32::from(u8::MAX) => (inode, kind + 1, 0),
            None if inode < args.max_objectid => (inode + 1, 0, 0),
            None => return Ok(()),
        };
    }
}

/// A little-endian number in an item. 0 if the item is too short.
pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes
        .get(at..at + 8)
        .map_or(0, |b| u64::from_le_bytes(b.try_into().expect("8 bytes")))
}

/// A little-endian number in an item. 0 if the item is too short.
pub(super) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    bytes
        .get(at..at + 2)
        .map_or(0, |b| u16::from_le_bytes(b.try_into().expect("2 bytes")))
}

/// A little-endian number in an item. 0 if the item is too short.
pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes
        .get(at..at + 4)
        .map_or(0, |b| u32::from_le_bytes(b.try_into().expect("4 bytes")))
}
