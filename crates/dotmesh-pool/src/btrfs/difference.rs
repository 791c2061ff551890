//! Finds the changes between two snapshots in the trees of the filesystem.
//!
//! Each tree block contains the number of the transaction that wrote it, so a search by that number finds the changed
//! inodes and skips the rest. Each change to an inode's data, attributes, names or directory entries updates the
//! transaction number in its inode item. The number of an extent is not enough: a reflink to data of another file keeps
//! the old number. So the changed ranges of a file come from a comparison of the addresses in its two extent lists.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::ops::Range;
use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Mutex;

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Result;

use super::SUBVOLUME_INODE;
use super::ioctl::{self, Item, Search};
use super::items::{
    EXTENT_DATA, Extent, INODE_EXTREF, INODE_ITEM, INODE_REF, InodeItem, Name, data_length,
    extended_names, names,
};
use crate::driver::{self, Touch};
use crate::error::{During as _, PoolError};

pub(super) struct Difference {
    base: File,
    snapshot: File,
    /// The inode of the compared folder in the base.
    base_top: u64,
    touched: HashMap<u64, Touched>,
    below: HashMap<u64, BTreeMap<Box<[u8]>, u64>>,
    /// A cache of the names of inodes in the base.
    before: Mutex<HashMap<u64, Option<Name>>>,
    bytes: u64,
    links: bool,
}

#[derive(Debug, Clone, Copy)]
struct Touched {
    changed: bool,
    /// The generation of the inode if it is changed, otherwise 0.
    generation: u64,
}

impl Difference {
    /// Compares the same folder of two snapshots. The newer one must be derived from the older one.
    pub(super) fn new(
        base: &Path,
        snapshot: &Path,
        folder: &str,
        base_links: bool,
    ) -> std::result::Result<Self, PoolError> {
        let open = |path: &Path| File::open(path).during("open", path);
        let base_file = open(base)?;
        let created = |file: &File, path: &Path| {
            ioctl::subvolume_info(file.as_fd())
                .during("look at", path)
                .map(|info| info.created)
        };
        let snapshot_file = open(snapshot)?;
        let since = created(&base_file, base)?;
        if since > created(&snapshot_file, snapshot)? {
            return Err(PoolError::NotALine {
                base: base.to_owned(),
                snapshot: snapshot.to_owned(),
            });
        }
        let top = |path: &Path| {
            let path = path.join(folder);
            std::fs::symlink_metadata(&path)
                .during("look at", &path)
                .map(|folder| folder.ino())
        };
        let mut difference = Self {
            base: base_file,
            snapshot: snapshot_file,
            base_top: top(base)?,
            touched: HashMap::new(),
            below: HashMap::new(),
            before: Mutex::default(),
            bytes: 0,
            links: false,
        };
        difference
            .read(since, base_links)
            .during("compare", snapshot)?;
        Ok(difference)
    }

    fn read(&mut self, since: u64, base_links: bool) -> Result<()> {
        let mut found: HashMap<u64, InodeItem> = HashMap::new();
        let mut known: HashMap<u64, Vec<Name>> = HashMap::new();
        let mut bytes = 0_u64;
        let snapshot = self.snapshot.as_fd();
        ioctl::search(snapshot, Search::since(since + 1), |item| match item.kind {
            INODE_ITEM => {
                let inode = InodeItem::read(item.body);
                if inode.changed > since {
                    found.insert(item.inode, inode);
                }
            }
            INODE_REF | INODE_EXTREF => {
                known.entry(item.inode).or_default().extend(names_of(&item));
            }
            EXTENT_DATA if ioctl::u64_at(item.body, 0) > since => {
                bytes = bytes.saturating_add(data_length(item.body));
            }
            _ => {}
        })?;
        self.bytes = bytes;
        let linked = |inode: &InodeItem| inode.is_file() && inode.links > 1;
        if base_links || found.values().any(linked) {
            // A hard link's encoding depends on the file's other names, so all files with hard links count as changed.
            ioctl::search(snapshot, Search::since(0), |item| {
                if item.kind == INODE_ITEM {
                    let inode = InodeItem::read(item.body);
                    if linked(&inode) {
                        found.insert(item.inode, inode);
                    }
                }
            })?;
            self.links = found.values().any(linked);
        }
        for (inode, item) in &found {
            let touched = Touched {
                changed: true,
                generation: item.generation,
            };
            self.touched.insert(*inode, touched);
        }
        for (inode, item) in found {
            // Other blocks may contain more names of a file with hard links.
            let names = match known.remove(&inode) {
                Some(names) if item.links == 1 => names,
                _ => all_names(&self.snapshot, inode)?,
            };
            for name in names {
                self.climb(inode, name, &mut known)?;
            }
        }
        Ok(())
    }

    /// Marks the directories above a name as touched.
    fn climb(
        &mut self,
        mut inode: u64,
        mut name: Name,
        known: &mut HashMap<u64, Vec<Name>>,
    ) -> Result<()> {
        loop {
            let parent = name.parent;
            let names = self.below.entry(parent).or_default();
            let is_first = names.is_empty();
            names.insert(name.name, inode);
            let touched = Touched {
                changed: false,
                generation: 0,
            };
            self.touched.entry(parent).or_insert(touched);
            // At the top, or the directories above are marked already.
            if parent == SUBVOLUME_INODE || !is_first {
                return Ok(());
            }
            let mut above = match known.remove(&parent) {
                Some(names) => names,
                None => all_names(&self.snapshot, parent)?,
            };
            // A directory has one name, or none if it was deleted while it was open.
            let Some(next) = above.pop() else {
                return Ok(());
            };
            (inode, name) = (parent, next);
        }
    }

    /// The name of an inode in the base. `None` if the number belonged to another inode there, or to none.
    fn name_before(&self, inode: u64, generation: Option<u64>) -> Result<Option<Name>> {
        let known = self.lock().get(&inode).cloned();
        if let Some(known) = known {
            return Ok(known);
        }
        let mut same = generation.is_none();
        let mut first = None;
        let search = Search::inode(inode, INODE_ITEM, INODE_EXTREF);
        ioctl::search(self.base.as_fd(), search, |item| match item.kind {
            INODE_ITEM => same |= Some(InodeItem::read(item.body).generation) == generation,
            INODE_REF | INODE_EXTREF if first.is_none() => {
                first = names_of(&item).into_iter().next();
            }
            _ => {}
        })?;
        let name = first.filter(|_| same);
        self.lock().insert(inode, name.clone());
        Ok(name)
    }

    fn path_before(&self, inode: u64) -> Result<Option<Vec<u8>>> {
        let generation = match self.touched.get(&inode) {
            Some(touched) if touched.changed => Some(touched.generation),
            _ => None,
        };
        if inode == self.base_top {
            return Ok(Some(Vec::new()));
        }
        let mut names = Vec::new();
        let mut next = self.name_before(inode, generation)?;
        while let Some(name) = next {
            names.push(name.name);
            if name.parent == self.base_top {
                names.reverse();
                return Ok(Some(names.join(&b'/')));
            }
            // The inode was outside the compared folder.
            if name.parent == SUBVOLUME_INODE {
                break;
            }
            next = self.name_before(name.parent, None)?;
        }
        Ok(None)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<u64, Option<Name>>> {
        self.before
            .lock()
            .expect("nothing panics while it holds the lock")
    }

    fn differing_ranges(&self, inode: u64) -> Result<Vec<Range<u64>>> {
        let (old_size, old) = extents(&self.base, inode)?;
        let (new_size, new) = extents(&self.snapshot, inode)?;
        Ok(compare(&old, old_size, &new, new_size))
    }
}

impl driver::Difference for Difference {
    fn touch(&self, inode: u64) -> Option<Touch> {
        self.touched
            .get(&inode)
            .map(|touched| match touched.changed {
                true => Touch::Changed,
                false => Touch::Below,
            })
    }

    fn touched_in(&self, directory: u64) -> Vec<(Box<[u8]>, u64)> {
        let names = self.below.get(&directory).into_iter().flatten();
        names.map(|(name, inode)| (name.clone(), *inode)).collect()
    }

    fn before(&self, inode: u64) -> std::result::Result<Option<Vec<u8>>, PoolError> {
        self.path_before(inode)
            .during("compare", Path::new("a file"))
    }

    fn ranges(&self, inode: u64) -> std::result::Result<Vec<Range<u64>>, PoolError> {
        self.differing_ranges(inode)
            .during("compare", Path::new("a file"))
    }

    fn bytes(&self) -> u64 {
        self.bytes
    }

    fn has_links(&self) -> bool {
        self.links
    }
}

fn names_of(item: &Item<'_>) -> Vec<Name> {
    match item.kind {
        INODE_REF => names(item.offset, item.body),
        _ => extended_names(item.body),
    }
}

fn all_names(subvolume: &File, inode: u64) -> Result<Vec<Name>> {
    let mut found = Vec::new();
    let search = Search::inode(inode, INODE_REF, INODE_EXTREF);
    ioctl::search(subvolume.as_fd(), search, |item| {
        found.extend(names_of(&item));
    })?;
    Ok(found)
}

/// The ranges in which the file at a path below two subvolumes may differ. Bytes at the same address are the same, whatever
/// the subvolumes have to do with each other: nothing writes to an address that two subvolumes share.
pub(super) fn differing(one: &Path, two: &Path, path: &str) -> Result<Vec<Range<u64>>> {
    let found = |subvolume: &Path| -> Result<(u64, Vec<Extent>)> {
        let top = File::open(subvolume).map_err(|_| rustix::io::Errno::NOENT)?;
        let beneath = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let file = rustix::fs::openat2(&top, path, flags, Mode::empty(), beneath)?;
        extents(&top, rustix::fs::fstat(&file)?.st_ino)
    };
    let ((old_size, old), (new_size, new)) = (found(one)?, found(two)?);
    Ok(compare(&old, old_size, &new, new_size))
}

/// The size of a file and its extents, in the order of their offsets.
fn extents(subvolume: &File, inode: u64) -> Result<(u64, Vec<Extent>)> {
    let mut size = 0;
    let mut found = Vec::new();
    let search = Search::inode(inode, INODE_ITEM, EXTENT_DATA);
    ioctl::search(subvolume.as_fd(), search, |item| match item.kind {
        INODE_ITEM => size = InodeItem::read(item.body).size,
        EXTENT_DATA => found.extend(Extent::read(item.offset, item.body)),
        _ => {}
    })?;
    Ok((size, found))
}

/// The ranges in which two files may differ, ascending and disjoint.
fn compare(old: &[Extent], old_size: u64, new: &[Extent], new_size: u64) -> Vec<Range<u64>> {
    let end = old_size.max(new_size);
    let mut ranges: Vec<Range<u64>> = Vec::new();
    let mut add = |start: u64, stop: u64| {
        let stop = stop.min(end);
        match ranges.last_mut() {
            _ if start >= stop => {}
            Some(last) if last.end >= start => last.end = last.end.max(stop),
            _ => ranges.push(start..stop),
        }
    };
    let shorter = old_size.min(new_size);
    let (mut old, mut new) = (old.iter().peekable(), new.iter().peekable());
    let mut at = 0;
    while at < shorter {
        while old.next_if(|extent| extent.end <= at).is_some() {}
        while new.next_if(|extent| extent.end <= at).is_some() {}
        let source = |extent: &Extent| (extent.start <= at).then(|| extent.source.clone());
        // The next offset at which an extent begins or ends in either list.
        let until = |extent: Option<&&Extent>| match extent {
            Some(extent) if extent.start > at => extent.start,
            Some(extent) => extent.end,
            None => u64::MAX,
        };
        let stop = until(old.peek()).min(until(new.peek())).min(shorter);
        if old.peek().copied().and_then(source) != new.peek().copied().and_then(source) {
            add(at, stop);
        }
        at = stop;
    }
    add(shorter, end);
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::btrfs::items::Source;

    fn disk(start: u64, end: u64, address: u64) -> Extent {
        let skew = 0;
        Extent {
            start,
            end,
            source: Source::Disk { address, skew },
        }
    }

    #[test]
    fn ranges_are_where_addresses_or_sizes_differ() {
        let old = [disk(0, 100, 1), disk(100, 200, 2), disk(300, 400, 3)];
        let changed = |new: &[Extent], size| -> Vec<(u64, u64)> {
            let ranges = compare(&old, 400, new, size);
            ranges
                .iter()
                .map(|range| (range.start, range.end))
                .collect()
        };
        assert_eq!(changed(&old, 400), []);
        let new = [
            disk(0, 50, 1),
            disk(50, 60, 9),
            disk(60, 100, 1),
            disk(300, 500, 3),
        ];
        assert_eq!(changed(&new, 450), [(50, 60), (100, 200), (400, 450)]);
        assert_eq!(changed(&old, 120), [(120, 400)]);
        assert_eq!(changed(&[], 400), [(0, 200), (300, 400)]);
        assert_eq!(compare(&[], 1000, &[], 1000), []);
    }
}
