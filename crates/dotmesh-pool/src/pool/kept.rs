//! Data that is kept for undo and redo: deleted dots, and the working copies that operations replaced.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use dotmesh_model::{CommitId, CommitRecord, DotName, Namespace};
use jiff::{SignedDuration, Timestamp};

use super::inner::{Inner, names_in, temporary};
use super::{Pool, StoredDot};
use crate::durable;
use crate::error::{During as _, PoolError};
use crate::layout::{DotFile, RECORD, read_json};
use crate::operation::{Operation, State};

/// After this time, the kernel has written dirty pages to disk.
const WRITTEN_OUT: SignedDuration = SignedDuration::from_mins(2);

/// A deleted dot that can be restored.
#[derive(Debug, Clone)]
pub struct RestorableDot {
    /// Its description.
    pub file: DotFile,
    /// Its operation log. The last operation is the deletion.
    pub operations: Vec<Operation>,
    folder: PathBuf,
}

/// An item that is kept for undo or redo.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// The dot, or the former name of a deleted dot.
    pub dot: DotName,
    /// The place of the item.
    pub place: KeptWhere,
    /// When the pool began to keep it.
    pub since: Timestamp,
    /// An estimate of the bytes that its deletion frees. See [`Pool::kept`].
    pub bytes: u64,
}

/// The place of a kept item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeptWhere {
    /// An operation in a dot's log.
    Operation {
        /// The number of the operation.
        number: u64,
        /// Whether it is done or undone.
        state: State,
    },
    /// The folder of a deleted dot, with its log.
    Deleted(PathBuf),
}

/// A cache of the sizes of kept items, by folder and start time.
#[derive(Debug, Default)]
pub(super) struct KeptSizes(Mutex<HashMap<(PathBuf, Timestamp), u64>>);

impl RestorableDot {
    /// Its place.
    pub fn place(&self) -> KeptWhere {
        KeptWhere::Deleted(self.folder.clone())
    }

    /// The operation that deleted it.
    pub fn deletion(&self) -> Option<&Operation> {
        self.operations.last().filter(|one| one.deleted().is_some())
    }
}

impl Pool {
    /// Moves a dot to the deleted dots, in one step, where [`Self::bring_dot_back`] finds it. Its name is free at once. `number`
    /// is the number of the deletion in its log.
    pub async fn set_dot_aside(&self, dot: &DotName, number: u64) -> Result<(), PoolError> {
        let dot = dot.clone();
        self.run(move |inner| {
            let log = inner.operations_in(&inner.layout.dot(&dot))?;
            if let Some(again) = log.iter().find(|one| one.number == number)
                && again.state == State::Undone
            {
                inner.mark(&dot, again, State::Redoing)?;
            }
            let deleted = inner.layout.deleted_of(&dot);
            std::fs::create_dir_all(&deleted).during("create", &deleted)?;
            durable::rename_new(&inner.layout.dot(&dot), &temporary(&deleted))
        })
        .await
    }

    /// The deleted dots that had this name, the most recently deleted first.
    pub async fn deleted_dots(&self, dot: &DotName) -> Result<Vec<RestorableDot>, PoolError> {
        let dot = dot.clone();
        self.run(move |inner| inner.deleted_dots(&dot)).await
    }

    /// Restores a deleted dot under its name, in one step, and returns it.
    pub async fn bring_dot_back(
        &self,
        dot: &DotName,
        deleted: &RestorableDot,
    ) -> Result<Option<StoredDot>, PoolError> {
        let (dot, deleted) = (dot.clone(), deleted.clone());
        self.run(move |inner| inner.bring_dot_back(&dot, &deleted))
            .await
    }

    /// All kept items, the oldest first.
    ///
    /// The sizes are estimates: the uncommitted changes of each working copy, plus the changes of all commits of a deleted dot.
    /// An estimate is too high if another working copy shares the data.
    pub async fn kept(&self) -> Result<Vec<Kept>, PoolError> {
        self.run(Inner::all_kept).await
    }

    /// Deletes a kept item, unless it has changed since it was listed. Also deletes what undo and redo can no longer reach: the
    /// done operations before a done one, and the undone operations after an undone one. The caller holds the dot's lock.
    pub async fn drop_kept(&self, kept: Kept) -> Result<(), PoolError> {
        self.run(move |inner| inner.drop_kept(&kept)).await
    }
}

impl Inner {
    fn deleted_dots(&self, dot: &DotName) -> Result<Vec<RestorableDot>, PoolError> {
        let deleted = self.layout.deleted_of(dot);
        let mut dots = Vec::new();
        for name in names_in(&deleted)?.into_iter().rev() {
            let folder = deleted.join(name);
            // A dot with a damaged description cannot be restored.
            let Ok(Some(file)) = read_json(&folder.join("dot.json")) else {
                continue;
            };
            let mut operations = self.operations_in(&folder)?;
            // The place of the folder shows that the deletion is done, whatever its description says.
            if let Some(last) = operations.last_mut().filter(|one| one.deleted().is_some()) {
                last.state = State::Done;
            }
            // The deletion made it impossible to redo these.
            operations.retain(|one| one.state != State::Undone);
            dots.push(RestorableDot {
                file,
                operations,
                folder,
            });
        }
        Ok(dots)
    }

    fn bring_dot_back(
        &self,
        dot: &DotName,
        deleted: &RestorableDot,
    ) -> Result<Option<StoredDot>, PoolError> {
        let path = self.layout.dot(dot);
        if self.layout.dot_file(dot).exists() {
            let dot = dot.to_string();
            return Err(PoolError::NameTaken { dot });
        }
        if let Some(deletion) = deleted.deletion() {
            let folder = self.layout.operations_in(&deleted.folder);
            let folder = folder.join(deletion.number.to_string());
            self.mark_in(&folder, deletion, State::Undoing)?;
        }
        let last = deleted.deletion().map_or(0, |deletion| deletion.number);
        let operations = self.layout.operations_in(&deleted.folder);
        for operation in self.operations_in(&deleted.folder)? {
            if operation.state == State::Undone && operation.number < last {
                self.throw_away(&operations.join(operation.number.to_string()));
            }
        }
        if path.exists() {
            // The remains of an interrupted clone.
            self.discard(&path)?;
        }
        let namespace = path.parent().expect("a dot's folder is in its namespace's");
        std::fs::create_dir_all(namespace).during("create", namespace)?;
        durable::rename_new(&deleted.folder, &path)?;
        self.settle(dot)?;
        self.read_dot(dot)
    }

    fn all_kept(&self) -> Result<Vec<Kept>, PoolError> {
        let mut kept = Vec::new();
        for dot in dots_in(&self.layout.dots())? {
            for operation in self.operations_in(&self.layout.dot(&dot))? {
                if operation.state.is_passing() {
                    continue;
                }
                let folder = self.layout.operation(&dot, operation.number);
                let commits = self.layout.commits(&dot);
                let bytes = self.size_of(&folder, operation.since, |inner| {
                    inner.dirty_in_operation(&folder, &commits)
                });
                kept.push(Kept {
                    dot: dot.clone(),
                    place: KeptWhere::Operation {
                        number: operation.number,
                        state: operation.state,
                    },
                    since: operation.since,
                    bytes,
                });
            }
        }
        for dot in dots_in(&self.layout.deleted())? {
            for deleted in self.deleted_dots(&dot)? {
                let since = deleted.deletion().map(|deletion| deletion.since);
                let since = since.unwrap_or(Timestamp::UNIX_EPOCH);
                let bytes = self.size_of(&deleted.folder, since, |inner| {
                    inner.whole_dot(&deleted.folder)
                });
                kept.push(Kept {
                    dot: dot.clone(),
                    place: KeptWhere::Deleted(deleted.folder),
                    since,
                    bytes,
                });
            }
        }
        kept.sort_by_key(|kept| kept.since);
        Ok(kept)
    }

    /// The size of a kept item. Kept items do not change, so the size is cached once the item is on disk.
    fn size_of(
        &self,
        folder: &Path,
        since: Timestamp,
        measure: impl FnOnce(&Self) -> Result<u64, PoolError>,
    ) -> u64 {
        let key = (folder.to_owned(), since);
        let known = self.kept_sizes.0.lock().ok();
        if let Some(bytes) = known.and_then(|known| known.get(&key).copied()) {
            return bytes;
        }
        // An item that is damaged or is being deleted must not prevent the others from being measured.
        let Ok(bytes) = measure(self) else { return 0 };
        // Dirty pages are not counted yet, so this size may be too small.
        if self.clock.now().duration_since(since) < WRITTEN_OUT {
            return bytes;
        }
        if let Ok(mut known) = self.kept_sizes.0.lock() {
            known.retain(|(path, _), _| path != folder && path.exists());
            known.insert(key, bytes);
        }
        bytes
    }

    /// The uncommitted changes of all working copies in a folder, in bytes.
    fn dirty_in(&self, branches: &Path, commits: &Path) -> Result<u64, PoolError> {
        let mut bytes = 0_u64;
        for name in names_in(branches)? {
            let copy = branches.join(name);
            let record = read_record(&copy)?;
            let head = record.as_ref().map(|record| [record.id, record.parent]);
            let base = self.first_of(head.into_iter().flatten(), commits);
            bytes = bytes.saturating_add(self.driver.dirty(&copy, &base, RECORD)?);
        }
        Ok(bytes)
    }

    /// The same of an operation: of working copies and of dropped stashes.
    fn dirty_in_operation(&self, folder: &Path, commits: &Path) -> Result<u64, PoolError> {
        let branches = self.dirty_in(&folder.join("branches"), commits)?;
        let stashes = self.dirty_in(&folder.join("stashes"), commits)?;
        Ok(branches.saturating_add(stashes))
    }

    /// All changes of a deleted dot, in bytes: those of its commits and of its working copies.
    fn whole_dot(&self, dot: &Path) -> Result<u64, PoolError> {
        let commits = dot.join("commits");
        let mut bytes = self.dirty_in(&dot.join("branches"), &commits)?;
        for name in names_in(&commits)? {
            let snapshot = commits.join(name);
            let parent = read_record(&snapshot)?.map(|record| record.parent);
            let base = self.first_of(parent.into_iter(), &commits);
            bytes = bytes.saturating_add(self.driver.dirty(&snapshot, &base, RECORD)?);
        }
        let operations = self.layout.operations_in(dot);
        for number in names_in(&operations)? {
            let kept = self.dirty_in_operation(&operations.join(number), &commits);
            bytes = bytes.saturating_add(kept?);
        }
        Ok(bytes)
    }

    /// The first snapshot that exists, or else the snapshot of the root commit.
    fn first_of(&self, mut ids: impl Iterator<Item = CommitId>, commits: &Path) -> PathBuf {
        let found = ids.find_map(|id| {
            let snapshot = commits.join(id.to_string());
            snapshot.exists().then_some(snapshot)
        });
        found.unwrap_or_else(|| self.layout.empty())
    }

    fn drop_kept(&self, kept: &Kept) -> Result<(), PoolError> {
        let (number, state) = match &kept.place {
            KeptWhere::Deleted(folder) => {
                self.throw_away(folder);
                // Fails while the folder contains other deleted dots of this name.
                let _ = folder.parent().map(std::fs::remove_dir);
                return Ok(());
            }
            KeptWhere::Operation { number, state } => (*number, *state),
        };
        let log = self.operations_in(&self.layout.dot(&kept.dot))?;
        let is_same = |one: &&Operation| one.number == number && one.since == kept.since;
        if !log.iter().any(|one| is_same(&one) && one.state == state) {
            return Ok(());
        }
        let goes = |one: &&Operation| {
            one.state == state
                && match state {
                    State::Done => one.number <= number,
                    _ => one.number >= number,
                }
        };
        for operation in log.iter().filter(goes) {
            self.throw_away(&self.layout.operation(&kept.dot, operation.number));
        }
        Ok(())
    }
}

/// The names of all dots in a folder that contains namespaces.
fn dots_in(folder: &Path) -> Result<Vec<DotName>, PoolError> {
    let mut dots = Vec::new();
    for namespace in names_in(folder)? {
        let Ok(namespace) = namespace.parse::<Namespace>() else {
            continue;
        };
        let names = names_in(&folder.join(namespace.as_str())).unwrap_or_default();
        let names = names.iter();
        dots.extend(names.filter_map(|name| DotName::new(namespace.clone(), name).ok()));
    }
    Ok(dots)
}

/// The record of a working copy or snapshot.
fn read_record(copy: &Path) -> Result<Option<CommitRecord>, PoolError> {
    match std::fs::read(copy.join(RECORD)) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        read => Ok(CommitRecord::decode(&read.during("read", copy)?).ok()),
    }
}
