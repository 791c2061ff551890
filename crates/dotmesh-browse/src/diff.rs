//! Compares two commits. It reads only the parts of the trees that differ.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::iter::Peekable;
use std::sync::Arc;

use dotmesh_model::ObjectHash;
use dotmesh_store::{Attributes, Entry, EntryName, EntryValue, Inode, InodeKind, TreePage};

use crate::content::FileBytes;
use crate::entries::{Part, follow};
use crate::{ReadError, TreeError, TreePath, TreeReader, TreeSource};

/// Folders whose top pages are read together.
const FOLDERS_AT_ONCE: usize = 32;

/// Leaf pages of a long folder that are read together.
const LEAVES_AT_ONCE: usize = 8;

/// The most folders that wait to be compared.
const MAX_WAITING: usize = 200_000;

/// The limits of a comparison.
#[derive(Debug, Clone, Copy)]
pub struct DiffLimits {
    /// The most changes that are listed. The others are counted.
    pub changes: usize,
    /// The most tree pages that are read.
    pub pages: usize,
}

/// The kind of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TreeChangeKind {
    /// The name is new.
    Added,
    /// The name is gone.
    Removed,
    /// The entry has another kind or other content.
    Changed,
    /// The content is the same, but the mode, owner, time or extended attributes differ.
    Attributes,
}

/// A name whose entry differs between the commits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeChange {
    pub path: TreePath,
    pub kind: TreeChangeKind,
    /// The inode before.
    pub before: Option<Inode>,
    /// The inode after.
    pub after: Option<Inode>,
}

/// The number and total size of regular files. A file with several hard links counts once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct Tally {
    /// The number of files.
    pub files: u64,
    /// Their total size, in bytes.
    pub bytes: u64,
}

impl Tally {
    fn count(&mut self, value: Option<&EntryValue>) {
        if let Some(EntryValue::Inode(inode)) = value
            && let Some(file) = FileBytes::of(inode)
        {
            self.files += 1;
            // Pushed sizes are not verified, so their sum may overflow.
            self.bytes = self.bytes.saturating_add(file.size);
        }
    }

    /// Returns this tally without the removed files and with the added ones.
    pub fn after(self, removed: Self, added: Self) -> Self {
        let change =
            |all: u64, removed: u64, added: u64| all.saturating_sub(removed).saturating_add(added);
        Self {
            files: change(self.files, removed.files, added.files),
            bytes: change(self.bytes, removed.bytes, added.bytes),
        }
    }

    /// Returns the sum of two tallies.
    pub fn and(self, other: Self) -> Self {
        self.after(Self::default(), other)
    }
}

/// The changes below one name of the root, which is usually a subdot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct SubdotChange {
    /// The number of new names, without folders.
    pub added: u64,
    /// The number of removed names, without folders.
    pub removed: u64,
    /// The number of names with other content than before.
    pub changed: u64,
    /// The number of names, including folders, of which only the attributes differ.
    pub attributes: u64,
    /// The files that are removed or changed, before the change.
    pub before: Tally,
    /// The files that are new or changed, after the change.
    pub after: Tally,
    /// Bytes of files that the old version of the file, if any, does not have. This is an upper bound: bytes count as
    /// new if the comparison would be too expensive.
    pub new_bytes: u64,
}

/// The difference between two commits.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TreeDiff {
    /// The listed changes, sorted by path.
    pub changes: Vec<TreeChange>,
    /// The number of changes that are not listed.
    pub unlisted: u64,
    /// The changes by the first name of the path. A subdot in which nothing differs is absent. A subdot in which only
    /// ignored attributes differ has an entry without changes.
    pub subdots: BTreeMap<EntryName, SubdotChange>,
    /// Whether the comparison is complete. If not, every number is a lower bound.
    pub complete: bool,
}

/// Why a comparison ends early.
enum Stop<E> {
    /// It has reached its limit.
    Limit,
    Failed(ReadError<E>),
}

impl<E> From<ReadError<E>> for Stop<E> {
    fn from(error: ReadError<E>) -> Self {
        Self::Failed(error)
    }
}

impl<E> From<TreeError> for Stop<E> {
    fn from(error: TreeError) -> Self {
        Self::Failed(error.into())
    }
}

impl<S: TreeSource> TreeReader<S> {
    /// Compares the commits with these roots. Without `before`, everything is new.
    ///
    /// It compares names. If a hard-linked file changes, only its first name is listed. Its other names are listed only
    /// if its first name is another one.
    pub async fn diff(
        &self,
        before: Option<ObjectHash>,
        after: ObjectHash,
        limits: DiffLimits,
    ) -> Result<TreeDiff, ReadError<S::Error>> {
        let mut walk = Walk {
            reader: self,
            before_root: before,
            after_root: after,
            limits,
            read: 0,
            known: HashMap::new(),
            waiting: VecDeque::new(),
            diff: TreeDiff::default(),
        };
        if before != Some(after) {
            let before = match before {
                Some(before) => Some(self.root(before).await?.tree),
                None => None,
            };
            let after = Some(self.root(after).await?.tree);
            walk.wait(TreePath::default(), before, after);
        }
        walk.diff.complete = match walk.run().await {
            Ok(()) => true,
            Err(Stop::Limit) => false,
            Err(Stop::Failed(error)) => return Err(error),
        };
        let mut diff = walk.diff;
        diff.subdots
            .retain(|_, change| *change != SubdotChange::default());
        diff.changes.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(diff)
    }
}

/// A folder that differs between the commits.
struct Folder {
    path: TreePath,
    before: Option<ObjectHash>,
    after: Option<ObjectHash>,
}

struct Walk<'a, S> {
    reader: &'a TreeReader<S>,
    before_root: Option<ObjectHash>,
    after_root: ObjectHash,
    limits: DiffLimits,
    /// The number of tree pages read so far.
    read: usize,
    /// The top pages of the folders that are being compared.
    known: HashMap<ObjectHash, Arc<TreePage>>,
    waiting: VecDeque<Folder>,
    diff: TreeDiff,
}

impl<S: TreeSource> Walk<'_, S> {
    async fn run(&mut self) -> Result<(), Stop<S::Error>> {
        while !self.waiting.is_empty() {
            let together = self.waiting.len().min(FOLDERS_AT_ONCE);
            let folders: Vec<Folder> = self.waiting.drain(..together).collect();
            let tops: HashSet<ObjectHash> = folders
                .iter()
                .flat_map(|folder| [folder.before, folder.after])
                .flatten()
                .collect();
            let tops: Vec<ObjectHash> = tops.into_iter().collect();
            self.known.clear();
            let pages = self.pages(&tops).await?;
            self.known = tops.into_iter().zip(pages).collect();
            for folder in folders {
                self.folder(&folder).await?;
            }
        }
        Ok(())
    }

    fn wait(&mut self, path: TreePath, before: Option<ObjectHash>, after: Option<ObjectHash>) {
        if before != after {
            self.waiting.push_back(Folder {
                path,
                before,
                after,
            });
        }
    }

    fn spend(&mut self, pages: usize) -> Result<(), Stop<S::Error>> {
        self.read += pages;
        if self.read > self.limits.pages || self.waiting.len() > MAX_WAITING {
            Err(Stop::Limit)
        } else {
            Ok(())
        }
    }

    async fn pages(&mut self, hashes: &[ObjectHash]) -> Result<Vec<Arc<TreePage>>, Stop<S::Error>> {
        let unknown = |hash: &&ObjectHash| !self.known.contains_key(hash);
        let missing: Vec<ObjectHash> = hashes.iter().filter(unknown).copied().collect();
        self.spend(missing.len())?;
        let mut read = self.reader.tree_pages(&missing).await?.into_iter();
        let pages = hashes.iter().map(|hash| {
            let known = self.known.get(hash).cloned();
            let page = known.or_else(|| read.next().map(Arc::new));
            page.ok_or(Stop::from(TreeError::Missing { hash: *hash }))
        });
        pages.collect()
    }

    async fn folder(&mut self, folder: &Folder) -> Result<(), Stop<S::Error>> {
        let (before, after) = self.descend(folder).await?;
        let (mut before, mut after) = (Side::new(before), Side::new(after));
        loop {
            self.fill(&mut before).await?;
            self.fill(&mut after).await?;
            let (old, new) = match (before.name(), after.name()) {
                (None, None) => return Ok(()),
                (Some(old), Some(new)) => (old <= new, new <= old),
                (old, new) => (old.is_some(), new.is_some()),
            };
            let old = old.then(|| before.take()).flatten();
            let new = new.then(|| after.take()).flatten();
            if old != new {
                self.entry(&folder.path, old, new).await?;
            }
        }
    }

    /// Descends to the leaf pages of a folder, without the pages that both sides have.
    async fn descend(&mut self, folder: &Folder) -> Result<(Vec<Part>, Vec<Part>), Stop<S::Error>> {
        let mut sides = [folder.before, folder.after].map(|top| {
            let top = top.map(|hash| (Part::top(hash), None));
            top.into_iter().collect::<Vec<(Part, Option<u8>)>>()
        });
        let tops: Vec<ObjectHash> = sides.iter().flatten().map(|(part, _)| part.hash).collect();
        let pages = self.pages(&tops).await?;
        for ((_, level), page) in sides.iter_mut().flatten().zip(pages) {
            *level = Some(page.level());
        }
        loop {
            let highest = sides.iter().flatten().filter_map(|(_, level)| *level).max();
            let Some(highest) = highest.filter(|level| *level > 0) else {
                let [before, after] =
                    sides.map(|side| side.into_iter().map(|(part, _)| part).collect());
                return Ok((before, after));
            };
            for side in &mut sides {
                let mut below = Vec::with_capacity(side.len());
                for (part, level) in side.drain(..) {
                    // Only a top page can have a lower level than the others.
                    if level != Some(highest) {
                        below.push((part, level));
                        continue;
                    }
                    let page = self.pages(&[part.hash]).await?.pop();
                    let page = page.ok_or(TreeError::Missing { hash: part.hash })?;
                    part.check(&page)?;
                    let TreePage::Inner { level, children } = &*page else {
                        return Err(TreeError::Inconsistent { hash: part.hash }.into());
                    };
                    let parts = Part::below(*level, children.clone());
                    below.extend(parts.map(|part| (part, level.checked_sub(1))));
                }
                *side = below;
            }
            let [before, after] = &mut sides;
            drop_common(before, after, |(part, _)| part.hash);
        }
    }

    async fn fill(&mut self, side: &mut Side) -> Result<(), Stop<S::Error>> {
        while side.entries.peek().is_none() {
            if side.leaves.is_empty() {
                let together = side.parts.len().min(LEAVES_AT_ONCE);
                let parts: Vec<Part> = side.parts.drain(..together).collect();
                let hashes: Vec<ObjectHash> = parts.iter().map(|part| part.hash).collect();
                let pages = self.pages(&hashes).await?;
                side.leaves = parts.into_iter().zip(pages).collect();
            }
            let Some((part, page)) = side.leaves.pop_front() else {
                return Ok(());
            };
            part.check(&page)?;
            let TreePage::Leaf(entries) = &*page else {
                return Err(TreeError::Inconsistent { hash: part.hash }.into());
            };
            follow(&mut side.last, entries, part.hash)?;
            side.entries = entries.clone().into_iter().peekable();
        }
        Ok(())
    }

    /// Records a name whose entry differs.
    async fn entry(
        &mut self,
        folder: &TreePath,
        before: Option<Entry>,
        after: Option<Entry>,
    ) -> Result<(), Stop<S::Error>> {
        let Some(name) = before.as_ref().or(after.as_ref()).map(|entry| &entry.name) else {
            return Ok(());
        };
        let path = folder.join(name);
        let (before, after) = (
            before.map(|entry| entry.value),
            after.map(|entry| entry.value),
        );
        self.wait(
            path.clone(),
            tree_of(before.as_ref()),
            tree_of(after.as_ref()),
        );

        let subdot = self.subdot(&path);
        subdot.before.count(before.as_ref());
        subdot.after.count(after.as_ref());

        let before = self.inode_of(self.before_root, before).await?;
        let after = self.inode_of(Some(self.after_root), after).await?;
        let Some(kind) = judge(before.as_ref(), after.as_ref()) else {
            return Ok(());
        };
        let new_bytes = match (
            before.as_ref().and_then(FileBytes::of),
            after.as_ref().and_then(FileBytes::of),
        ) {
            (_, None) => 0,
            (None, Some(file)) => file.size,
            (Some(old), Some(new)) => self.reader.growth(old, new).await?,
        };
        let subdot = self.subdot(&path);
        let is_folder = |inode: &Option<Inode>| {
            matches!(
                inode,
                Some(Inode {
                    kind: InodeKind::Directory { .. },
                    ..
                })
            )
        };
        match kind {
            TreeChangeKind::Added => subdot.added += u64::from(!is_folder(&after)),
            TreeChangeKind::Removed => subdot.removed += u64::from(!is_folder(&before)),
            TreeChangeKind::Changed => subdot.changed += 1,
            TreeChangeKind::Attributes => subdot.attributes += 1,
        }
        subdot.new_bytes = subdot.new_bytes.saturating_add(new_bytes);
        if self.diff.changes.len() < self.limits.changes {
            self.diff.changes.push(TreeChange {
                path,
                kind,
                before,
                after,
            });
        } else {
            self.diff.unlisted += 1;
        }
        Ok(())
    }

    fn subdot(&mut self, path: &TreePath) -> &mut SubdotChange {
        // The path is never the root.
        let name = path.names()[0].clone();
        self.diff.subdots.entry(name).or_default()
    }

    async fn inode_of(
        &mut self,
        root: Option<ObjectHash>,
        value: Option<EntryValue>,
    ) -> Result<Option<Inode>, Stop<S::Error>> {
        let (Some(root), Some(value)) = (root, value) else {
            return Ok(None);
        };
        if let EntryValue::HardLink { .. } = value {
            // An estimate: one page for each name in the file's path.
            self.spend(4)?;
        }
        Ok(self.reader.inode_of(root, value).await?.0)
    }
}

/// Returns what happened to a name. `None` if nothing happened that a user would look for.
fn judge(before: Option<&Inode>, after: Option<&Inode>) -> Option<TreeChangeKind> {
    let (before, after) = match (before, after) {
        (None, None) => return None,
        (None, Some(_)) => return Some(TreeChangeKind::Added),
        (Some(_), None) => return Some(TreeChangeKind::Removed),
        (Some(before), Some(after)) => (before, after),
    };
    let (is_same, of) = match (&before.kind, &after.kind) {
        // Adding or removing an entry changes a folder's modification time, so it is ignored.
        (InodeKind::Directory { .. }, InodeKind::Directory { .. }) => {
            let timeless = |inode: &Inode| Attributes {
                mtime: Default::default(),
                ..inode.attributes.clone()
            };
            (true, timeless(before) != timeless(after))
        }
        (old, new) => (old == new, before.attributes != after.attributes),
    };
    match (is_same, of) {
        (false, _) => Some(TreeChangeKind::Changed),
        (true, true) => Some(TreeChangeKind::Attributes),
        (true, false) => None,
    }
}

fn tree_of(value: Option<&EntryValue>) -> Option<ObjectHash> {
    match value {
        Some(EntryValue::Inode(Inode {
            kind: InodeKind::Directory { tree },
            ..
        })) => Some(*tree),
        _ => None,
    }
}

/// Drops the parts that both sides have, because they are equal.
pub(crate) fn drop_common<T>(
    before: &mut Vec<T>,
    after: &mut Vec<T>,
    hash: impl Fn(&T) -> ObjectHash,
) {
    let old: HashSet<ObjectHash> = before.iter().map(&hash).collect();
    let common: HashSet<ObjectHash> = after
        .iter()
        .map(&hash)
        .filter(|hash| old.contains(hash))
        .collect();
    for side in [before, after] {
        side.retain(|item| !common.contains(&hash(item)));
    }
}

/// The entries of some leaf pages of one side.
struct Side {
    parts: VecDeque<Part>,
    leaves: VecDeque<(Part, Arc<TreePage>)>,
    entries: Peekable<std::vec::IntoIter<Entry>>,
    last: Option<EntryName>,
}

impl Side {
    fn new(parts: Vec<Part>) -> Self {
        Self {
            parts: parts.into(),
            leaves: VecDeque::new(),
            entries: Vec::new().into_iter().peekable(),
            last: None,
        }
    }

    fn name(&mut self) -> Option<&EntryName> {
        self.entries.peek().map(|entry| &entry.name)
    }

    fn take(&mut self) -> Option<Entry> {
        self.entries.next()
    }
}
