//! Finds out what there is to do, before anything is written. It compares base and target level by level, counts the
//! bytes, and notes what the base has where it differs.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use dotmesh_model::ObjectHash;
use dotmesh_store::tree::MAX_DEPTH;
use dotmesh_store::{EntryValue, FileContent, Kind};

use super::apply::data_in;
use super::content::{Contents, Edits};
use super::local::Local;
use super::pages::Pages;
use super::shared::Repeats;
use super::trees::{Comparison, EntryChange, Pair, file_of, tree_of};
use super::{MAX_ENTRIES, MaterialiseError};
use crate::objects::ObjectSource;

/// The number of directories that are compared together.
const DIRECTORIES: usize = 256;

/// The number of files whose lists are looked up together.
const FILES: usize = 256;

/// The total size of files, in bytes, above which their lists are looked up even if they are few.
const FILES_LENGTH: u64 = 1 << 40;

/// Limits how much of the base's removed files is indexed: their lists are read as long as the files have at most this
/// many times the bytes to write. A list has about 1/500 of the bytes of its file, and not all of these bytes would be
/// found in the target.
const WORTH: u64 = 32;

pub(super) struct Survey<'a, S> {
    source: &'a Arc<S>,
    pages: &'a mut Pages,
    pub(super) total: u64,
    pub(super) has_links: bool,
    entries: u64,
    pub(super) local: Local,
    pub(super) repeats: Repeats,
    files: Vec<File>,
    gone: Vec<Gone>,
}

/// A directory of a level, which the tree may have several times.
struct Visit {
    pair: Pair,
    times: u64,
    /// The path in the base of one of them.
    path: Box<[u8]>,
}

/// A changed file.
struct File {
    contents: Contents,
    times: u64,
    path: Box<[u8]>,
}

/// An entry that the base has, and the target does not have in this place.
enum Gone {
    File {
        path: Box<[u8]>,
        size: u64,
        content: FileContent,
    },
    Directory {
        path: Box<[u8]>,
        tree: ObjectHash,
    },
}

impl<'a, S: ObjectSource> Survey<'a, S> {
    /// Fetches every page that is needed to turn one tree into the other.
    pub(super) async fn make(
        source: &'a Arc<S>,
        pages: &'a mut Pages,
        pair: Pair,
        base: Option<OwnedFd>,
    ) -> Result<Self, MaterialiseError> {
        let mut survey = Self {
            source,
            pages,
            total: 0,
            has_links: false,
            entries: 0,
            local: Local::new(base),
            repeats: Repeats::default(),
            files: Vec::new(),
            gone: Vec::new(),
        };
        let mut level = vec![Visit {
            pair,
            times: 1,
            path: Box::default(),
        }];
        let mut depth = 0;
        while !level.is_empty() {
            depth += 1;
            if depth > MAX_DEPTH {
                return Err(MaterialiseError::TooDeep);
            }
            level = survey.level(level).await?;
        }
        survey.look_up().await?;
        survey.note_gone().await?;
        Ok(survey)
    }

    /// Compares the directories of a level, and returns those of the next. If a tree contains a directory many times,
    /// it is counted as often, but visited once.
    async fn level(&mut self, level: Vec<Visit>) -> Result<Vec<Visit>, MaterialiseError> {
        let mut below: Vec<Visit> = Vec::new();
        let mut known: HashMap<Pair, usize> = HashMap::new();
        for group in level.chunks(DIRECTORIES) {
            let pairs = group
                .iter()
                .map(|visit| Comparison::new(visit.pair.base, Some(visit.pair.target)));
            let comparisons = self.compare(pairs.collect()).await?;
            for (visit, comparison) in group.iter().zip(comparisons) {
                let mut changes = comparison.changes();
                while let Some(change) = changes.next(self.pages)? {
                    self.entries = self.entries.saturating_add(visit.times);
                    if let Some(pair) = self.change(visit, &change) {
                        let index = *known.entry(pair).or_insert(below.len());
                        let times = visit.times;
                        if let Some(same) = below.get_mut(index) {
                            same.times = same.times.saturating_add(times);
                        } else {
                            let path = self.path(&visit.path, &change);
                            below.push(Visit { pair, times, path });
                        }
                    }
                    if self.entries > MAX_ENTRIES {
                        return Err(MaterialiseError::TooManyEntries);
                    }
                    self.look_up_many().await?;
                }
            }
        }
        Ok(below)
    }

    /// Fetches the pages that are needed to read the changes of some directories.
    async fn compare(
        &mut self,
        mut comparisons: Vec<Comparison>,
    ) -> Result<Vec<Comparison>, MaterialiseError> {
        loop {
            let mut missing = Vec::new();
            for comparison in &mut comparisons {
                missing.extend(comparison.descend(self.pages)?);
            }
            if missing.is_empty() {
                return Ok(comparisons);
            }
            self.pages
                .fetch(self.source, Kind::TreePage, missing)
                .await?;
        }
    }

    /// Notes a change, and returns the directory below that must be compared.
    fn change(&mut self, visit: &Visit, change: &EntryChange) -> Option<Pair> {
        self.has_links |= matches!(change.target, Some(EntryValue::HardLink { .. }));
        let in_place = change.in_place();
        let (base, target) = (change.base.as_ref(), change.target.as_ref());
        if !in_place && self.local.has_room() {
            let path = || self.path(&visit.path, change);
            if let Some((size, content)) = file_of(base) {
                let path = path();
                self.gone.push(Gone::File {
                    path,
                    size,
                    content,
                });
            } else if let Some(tree) = tree_of(base) {
                let path = path();
                self.gone.push(Gone::Directory { path, tree });
            }
        }
        if let Some(target) = file_of(target) {
            self.files.push(File {
                contents: Contents {
                    base: file_of(base).filter(|_| in_place),
                    target: Some(target),
                },
                times: visit.times,
                path: self.path(&visit.path, change),
            });
        }
        tree_of(target).map(|target| Pair {
            base: tree_of(base),
            target,
        })
    }

    /// The path of a name. It is needed only to find the name in the base, so otherwise it is empty.
    fn path(&self, above: &[u8], change: &EntryChange) -> Box<[u8]> {
        if change.base.is_some() && self.local.has_room() {
            join(above, change.name.as_bytes())
        } else {
            Box::default()
        }
    }

    async fn look_up_many(&mut self) -> Result<(), MaterialiseError> {
        let sizes = self.files.iter().filter_map(|file| file.contents.target);
        let length = sizes.fold(0, |sum: u64, (size, _)| sum.saturating_add(size));
        if self.files.len() >= FILES || length >= FILES_LENGTH {
            self.look_up().await?;
        }
        Ok(())
    }

    /// Looks up the lists of the files that were met.
    async fn look_up(&mut self) -> Result<(), MaterialiseError> {
        let files = std::mem::take(&mut self.files);
        let contents = files.iter().map(|file| file.contents);
        let contents: Vec<_> = contents.collect();
        let mut edits = Edits::look_up(self.source, self.pages, &contents).await?;
        for (index, file) in files.iter().enumerate() {
            if let Some((size, content)) = file.contents.base
                && let Some(number) = self.local.add_file(&file.path, size, content)
            {
                for segments in edits.base(self.pages, index) {
                    self.local.add_chunks(number, &segments?);
                }
            }
            while let Some(some) = edits.next(self.pages, index)? {
                let bytes = data_in(&some).saturating_mul(file.times);
                self.total = self.total.saturating_add(bytes);
                self.repeats.note(&some, file.times);
            }
        }
        Ok(())
    }

    /// Indexes removed files of the base, as long as that may save more than it costs.
    async fn note_gone(&mut self) -> Result<(), MaterialiseError> {
        let mut left = self.total.saturating_mul(WORTH);
        let mut gone = std::mem::take(&mut self.gone);
        while left > 0
            && self.local.has_room()
            && let Some(next) = gone.pop()
        {
            match next {
                Gone::Directory { path, tree } => {
                    let comparison = Comparison::new(Some(tree), None);
                    for comparison in self.compare(vec![comparison]).await? {
                        let mut changes = comparison.changes();
                        while let Some(change) = changes.next(self.pages)? {
                            let path = join(&path, change.name.as_bytes());
                            if let Some((size, content)) = file_of(change.base.as_ref()) {
                                gone.push(Gone::File {
                                    path,
                                    size,
                                    content,
                                });
                            } else if let Some(tree) = tree_of(change.base.as_ref()) {
                                gone.push(Gone::Directory { path, tree });
                            }
                        }
                    }
                }
                Gone::File {
                    path,
                    size,
                    content,
                } => {
                    let Some(number) = self.local.add_file(&path, size, content) else {
                        continue;
                    };
                    left = left.saturating_sub(size);
                    let contents = Contents {
                        base: Some((size, content)),
                        target: None,
                    };
                    let edits = Edits::look_up(self.source, self.pages, &[contents]).await?;
                    for segments in edits.base(self.pages, 0) {
                        self.local.add_chunks(number, &segments?);
                    }
                }
            }
        }
        Ok(())
    }
}

fn join(above: &[u8], name: &[u8]) -> Box<[u8]> {
    if above.is_empty() {
        name.into()
    } else {
        [above, name].join(&b'/').into()
    }
}
