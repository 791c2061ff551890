//! What is kept so that operations can be taken back: deleted dots as a whole, and what each operation replaced.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use dotmesh_model::{CommitId, CommitRecord, DotName, Namespace};
use jiff::Timestamp;

use super::inner::{Inner, names_in, temporary};
use super::{Pool, StoredDot};
use crate::durable;
use crate::error::{During as _, PoolError};
use crate::layout::{DotFile, RECORD, read_json};
use crate::operation::{Operation, State};

/// A dot that was deleted and can be had back.
#[derive(Debug, Clone)]
pub struct DeletedDot {
    /// Its description.
    pub file: DotFile,
    /// Its log. The last operation is its deletion.
    pub operations: Vec<Operation>,
    folder: PathBuf,
}

/// Something that is kept for an undo or a redo.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// The dot, or what it was called.
    pub dot: DotName,
    /// What it is.
    pub place: KeptWhere,
    /// Since when it is kept.
    pub since: Timestamp,
    /// About how many bytes its deletion gives back. See [`Pool::kept`].
    pub bytes: u64,
}

/// Where something is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeptWhere {
    /// By an operation of a dot's log.
    Operation {
        /// Its number.
        number: u64,
        /// Whether it is made or was taken back.
        state: State,
    },
    /// It is a deleted dot, with its log.
    Deleted(PathBuf),
}

/// The sizes of what is kept, by its folder and since when it is there.
#[derive(Debug, Default)]
pub(super) struct KeptSizes(Mutex<HashMap<(PathBuf, Timestamp), u64>>);

impl DeletedDot {
    /// Where it is kept.
    pub fn place(&self) -> KeptWhere {
        KeptWhere::Deleted(self.folder.clone())
    }

    /// Its deletion.
    pub fn deletion(&self) -> Option<&Operation> {
        self.operations.last().filter(|one| one.deleted().is_some())
    }
}

impl Pool {
    /// Moves a dot out of the way, in one step, so that [`Self::bring_dot_back`] finds it. `number` is that of its deletion
    /// in its log. Its name is free at once.
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

    /// The deleted dots that had a name, the last one first.
    pub async fn deleted_dots(&self, dot: &DotName) -> Result<Vec<DeletedDot>, PoolError> {
        let dot = dot.clone();
        self.run(move |inner| inner.deleted_dots(&dot)).await
    }

    /// Brings a deleted dot back under its name, in one step, and returns it as it is then.
    pub async fn bring_dot_back(
        &self,
        dot: &DotName,
        deleted: &DeletedDot,
    ) -> Result<Option<StoredDot>, PoolError> {
        let (dot, deleted) = (dot.clone(), deleted.clone());
        self.run(move |inner| inner.bring_dot_back(&dot, &deleted))
            .await
    }

    /// Everything that is kept, the oldest first.
    ///
    /// Its bytes are an estimate: what was written to a working copy since its head was committed, and all that was ever
    /// written to the commits of a deleted dot. It is too high where another working copy has the same data.
    pub async fn kept(&self) -> Result<Vec<Kept>, PoolError> {
        self.run(Inner::all_kept).await
    }

    /// Deletes something that was kept, unless it was used since it was listed. What cannot be reached without it goes, too:
    /// the operations before one that was made, and those after one that was taken back. The caller holds the dot's lock.
    pub async fn drop_kept(&self, kept: Kept) -> Result<(), PoolError> {
        self.run(move |inner| inner.drop_kept(&kept)).await
    }
}

impl Inner {
    fn deleted_dots(&self, dot: &DotName) -> Result<Vec<DeletedDot>, PoolError> {
        let deleted = self.layout.deleted_of(dot);
        let mut dots = Vec::new();
        for name in names_in(&deleted)?.into_iter().rev() {
            let folder = deleted.join(name);
            // Of one whose description is damaged, nothing can be had back by its name.
            let Ok(Some(file)) = read_json(&folder.join("dot.json")) else {
                continue;
            };
            let mut operations = self.operations_in(&folder)?;
            // Where the folder is says that. An earlier deletion was taken back.
            if let Some(last) = operations.last_mut().filter(|one| one.deleted().is_some()) {
                last.state = State::Done;
            }
            // The deletion has ended that these could be made again.
            operations.retain(|one| one.state != State::Undone);
            dots.push(DeletedDot {
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
        deleted: &DeletedDot,
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
            // What a clone left that ended early.
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
                    inner.dirty_in(&folder.join("branches"), &commits)
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

    /// What is kept does not change, so it is measured once.
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
        // One that is damaged or just going must not keep the others from being measured.
        let Ok(bytes) = measure(self) else { return 0 };
        if let Ok(mut known) = self.kept_sizes.0.lock() {
            known.retain(|(path, _), _| path != folder && path.exists());
            known.insert(key, bytes);
        }
        bytes
    }

    /// What was written to the working copies in a folder since the commits that they are at.
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

    /// What was ever written to a dot that is deleted.
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
            let kept = operations.join(number).join("branches");
            bytes = bytes.saturating_add(self.dirty_in(&kept, &commits)?);
        }
        Ok(bytes)
    }

    /// The first snapshot that is there; that of the root commit if none is.
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

/// The names of the dots in a folder of namespaces.
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
