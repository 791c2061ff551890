//! The operation log of a dot. It keeps the data that operations replaced, for undo and redo.
//!
//! An operation is a folder `operations/NUMBER` of the dot. It contains `operation.json`, and the working copies that its
//! steps swap with those of the dot. The description is written before the first step. If the daemon dies during an
//! operation, [`Inner::settle`] completes it or rolls it back, depending on the state of the pool.

use std::path::{Path, PathBuf};

use dotmesh_model::{BranchName, CommitId, DotName, StashId};

use super::inner::{Inner, names_in};
use super::stashes::forget_note;
use super::{ForksFile, PathInDot, Pool, Start, StoredDot, StoredTag};
use crate::driver::Mode;
use crate::durable;
use crate::error::{During as _, PoolError};
use crate::layout::{DotFile, read_json, write_json};
use crate::operation::{DeletedWith, Operation, State, Step};

/// The description of an operation, in its folder.
const OPERATION: &str = "operation.json";

/// A planned step of a new operation.
#[derive(Debug, Clone)]
pub enum NewStep {
    /// Changes the head of the branch. [`Pool::commit`] does that.
    Head {
        branch: BranchName,
        before: CommitId,
        after: CommitId,
    },
    /// Gives the branch a new working copy.
    Replace { branch: BranchName, start: Start },
    /// Creates the branch.
    Create { branch: BranchName, start: Start },
    /// Deletes the branch.
    Delete { branch: BranchName },
    /// Swaps the working copies of two branches. `one` must exist before the operation.
    Swap { one: BranchName, other: BranchName },
    /// Replaces the description of the dot.
    Describe(DotFile),
    /// Renames the branch to an unused name.
    RenameBranch { from: BranchName, to: BranchName },
    /// Renames the dot. [`Pool::rename_dot`] does that. `volumes` are its Docker volumes.
    RenameDot { to: DotName, volumes: Vec<String> },
    /// Creates, moves or deletes a tag.
    Tag {
        name: BranchName,
        before: Option<StoredTag>,
        after: Option<StoredTag>,
    },
    /// Drops the stash.
    DropStash { stash: StashId },
    /// Restores files and folders of a commit.
    Restore {
        branch: BranchName,
        commit: CommitId,
        paths: Vec<PathInDot>,
    },
    /// Deletes the dot. [`Pool::set_dot_aside`] does that.
    DeleteDot(DeletedWith),
}

impl Pool {
    /// The operations of a dot, in order. One of them may be in progress.
    pub async fn operations(&self, dot: &DotName) -> Result<Vec<Operation>, PoolError> {
        let folder = self.inner.layout.dot(dot);
        self.run(move |inner| inner.operations_in(&folder)).await
    }

    /// Writes a new operation to the log, and creates the working copies that its steps need. Returns its number. The caller
    /// holds the dot's lock until [`Self::settle`].
    pub async fn begin_operation(
        &self,
        dot: &DotName,
        what: String,
        steps: Vec<NewStep>,
    ) -> Result<u64, PoolError> {
        let dot = dot.clone();
        self.run(move |inner| {
            let begun = inner.begin_operation(&dot, &what, steps);
            if begun.is_err() {
                inner.settle(&dot)?;
            }
            begun
        })
        .await
    }

    /// Makes the remaining steps of an operation. If one fails, it reverts those that it made.
    pub async fn carry_out(&self, dot: &DotName, number: u64) -> Result<(), PoolError> {
        let dot = dot.clone();
        self.run(move |inner| {
            let operation = inner.operation(&dot, number)?;
            inner.forward(&dot, &operation)
        })
        .await
    }

    /// Reverts the steps of an operation that were made. If one fails, it makes the reverted ones again.
    pub async fn roll_back(&self, dot: &DotName, number: u64) -> Result<(), PoolError> {
        let dot = dot.clone();
        self.run(move |inner| {
            let operation = inner.operation(&dot, number)?;
            inner.backward(&dot, &operation)
        })
        .await
    }

    /// Undoes an operation. Fails and changes nothing if the dot has changed since the operation.
    pub async fn undo(&self, dot: &DotName, number: u64) -> Result<(), PoolError> {
        let dot = dot.clone();
        self.run(move |inner| {
            let operation = inner.operation(&dot, number)?;
            inner.require(&dot, &operation, true)?;
            inner.mark(&dot, &operation, State::Undoing)?;
            inner.backward(&dot, &operation)
        })
        .await
    }

    /// Redoes an undone operation. Fails and changes nothing if the dot has changed since the undo.
    pub async fn redo(&self, dot: &DotName, number: u64) -> Result<(), PoolError> {
        let dot = dot.clone();
        self.run(move |inner| {
            let operation = inner.operation(&dot, number)?;
            inner.require(&dot, &operation, false)?;
            inner.mark(&dot, &operation, State::Redoing)?;
            inner.forward(&dot, &operation)
        })
        .await
    }

    /// Takes back an operation that was made and is not the last one any more, and forgets it.
    pub async fn retract(&self, dot: &DotName, number: u64) -> Result<(), PoolError> {
        let dot = dot.clone();
        self.run(move |inner| {
            let operation = inner.operation(&dot, number)?;
            inner.mark(&dot, &operation, State::Undoing)?;
            inner.backward(&dot, &operation)?;
            inner.forget_operation(&dot, number)
        })
        .await
    }

    /// Completes or rolls back operations in progress, and deletes those that a later operation made impossible to redo.
    pub async fn settle(&self, dot: &DotName) -> Result<(), PoolError> {
        let dot = dot.clone();
        self.run(move |inner| inner.settle(&dot)).await
    }

    /// A dot, as read from its folder. `None` if it does not exist.
    pub async fn stored_dot(&self, dot: &DotName) -> Result<Option<StoredDot>, PoolError> {
        let dot = dot.clone();
        self.run(move |inner| inner.read_dot(&dot)).await
    }
}

impl Inner {
    /// The log of the dot in a folder. Skips operations that cannot be read, since undo checks the dot before it changes it.
    pub(super) fn operations_in(&self, dot: &Path) -> Result<Vec<Operation>, PoolError> {
        let folder = self.layout.operations_in(dot);
        let mut numbers: Vec<u64> = names_in(&folder)?
            .iter()
            .filter_map(|name| name.parse().ok())
            .collect();
        numbers.sort_unstable();
        let mut log = Vec::with_capacity(numbers.len());
        for number in numbers {
            match read_json::<Operation>(&folder.join(number.to_string()).join(OPERATION)) {
                Ok(Some(operation)) => log.push(Operation {
                    number,
                    ..operation
                }),
                // A crash happened before the description was written.
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(%error, "an operation of a dot's log cannot be read");
                }
            }
        }
        Ok(log)
    }

    fn operation(&self, dot: &DotName, number: u64) -> Result<Operation, PoolError> {
        let folder = self.layout.operation(dot, number);
        let operation = read_json::<Operation>(&folder.join(OPERATION))?;
        let operation = operation.ok_or(PoolError::Forgotten { number })?;
        Ok(Operation {
            number,
            ..operation
        })
    }

    /// The path at which the log keeps a working copy.
    pub(super) fn kept(&self, dot: &DotName, number: u64, branch: &BranchName) -> PathBuf {
        let kept = self.layout.operation(dot, number).join("branches");
        kept.join(&*branch.spelling())
    }

    fn begin_operation(
        &self,
        dot: &DotName,
        what: &str,
        steps: Vec<NewStep>,
    ) -> Result<u64, PoolError> {
        // A deleted dot has no log to write to.
        self.description(dot)?;
        self.settle(dot)?;
        let folder = self.layout.operations_in(&self.layout.dot(dot));
        // Folders without a description count, too.
        let numbers = names_in(&folder)?.into_iter();
        let last = numbers.filter_map(|name| name.parse::<u64>().ok()).max();
        let number = last.unwrap_or(0) + 1;
        let mut copies = Vec::new();
        let mut planned = Vec::with_capacity(steps.len());
        for step in steps {
            planned.extend(self.plan(dot, step, &mut copies)?);
        }
        let folder = self.layout.operation(dot, number);
        let branches = folder.join("branches");
        std::fs::create_dir_all(&branches).during("create", &branches)?;
        let now = self.clock.now();
        let operation = Operation {
            number,
            what: what.to_owned(),
            time: now,
            state: State::Begun,
            since: now,
            steps: planned,
        };
        if let Err(error) = self.write(&folder, &operation) {
            // The folder contains no working copies yet.
            let _ = std::fs::remove_dir_all(&folder);
            return Err(error);
        }
        for (branch, start) in copies {
            let from = match &start {
                Start::Commit(id) => self.layout.commit(dot, *id),
                Start::WorkingCopy(other) => self.layout.branch(dot, other),
                Start::Stash(id) => self.layout.stash(dot, *id),
            };
            let to = self.kept(dot, number, &branch);
            self.driver.snapshot(&from, &to, Mode::Writable)?;
            if matches!(start, Start::Stash(_)) {
                forget_note(&to)?;
            }
        }
        Ok(number)
    }

    /// A planned step as a step of the log. Adds the working copy that it needs to `copies`.
    fn plan(
        &self,
        dot: &DotName,
        step: NewStep,
        copies: &mut Vec<(BranchName, Start)>,
    ) -> Result<Option<Step>, PoolError> {
        Ok(Some(match step {
            NewStep::Head {
                branch,
                before,
                after,
            } => Step::Head {
                branch,
                before,
                after,
            },
            NewStep::Replace { branch, start } => {
                copies.push((branch.clone(), start));
                let copy = self.copy_id(&self.layout.branch(dot, &branch))?;
                Step::Replace { branch, copy }
            }
            NewStep::Create { branch, start } => {
                copies.push((branch.clone(), start));
                Step::Create { branch }
            }
            NewStep::Delete { branch } => Step::Delete { branch },
            NewStep::Swap { one, other } => Step::Swap {
                copy: self.copy_id(&self.layout.branch(dot, &one))?,
                one,
                other,
            },
            NewStep::Describe(after) => {
                let before = self.description(dot)?;
                if before == after {
                    return Ok(None);
                }
                Step::Describe { before, after }
            }
            NewStep::RenameBranch { from, to } => Step::RenameBranch { from, to },
            NewStep::RenameDot { to, volumes } => {
                let from = dot.clone();
                Step::RenameDot { from, to, volumes }
            }
            NewStep::Tag {
                name,
                before,
                after,
            } => Step::Tag {
                name,
                before,
                after,
            },
            NewStep::DropStash { stash } => Step::DropStash { stash },
            NewStep::Restore {
                branch,
                commit,
                paths,
            } => {
                copies.push((branch.clone(), Start::Commit(commit)));
                Step::Restore { branch, paths }
            }
            NewStep::DeleteDot(with) => Step::DeleteDot(with),
        }))
    }

    pub(super) fn description(&self, dot: &DotName) -> Result<DotFile, PoolError> {
        let path = self.layout.dot_file(dot);
        let problem = "it is missing".to_owned();
        read_json(&path)?.ok_or(PoolError::Damaged { path, problem })
    }

    /// The subvolume id of the working copy at a path.
    pub(super) fn copy_id(&self, path: &Path) -> Result<u64, PoolError> {
        use std::os::fd::AsFd as _;
        let folder = std::fs::File::open(path).during("open", path)?;
        self.driver
            .subvolume(folder.as_fd())
            .during("look at", path)
    }

    fn write(&self, folder: &Path, operation: &Operation) -> Result<(), PoolError> {
        let path = folder.join(OPERATION);
        // No fsync: the snapshot of the commit makes earlier writes durable. Until the next operation, the pool itself
        // shows whether the commit was made.
        let is_commit = matches!(operation.steps[..], [Step::Head { .. }]);
        if is_commit && matches!(operation.state, State::Begun | State::Done) {
            return durable::replace_soon(&path, operation);
        }
        write_json(&path, operation)
    }

    pub(super) fn mark(
        &self,
        dot: &DotName,
        operation: &Operation,
        state: State,
    ) -> Result<(), PoolError> {
        self.mark_in(
            &self.layout.operation(dot, operation.number),
            operation,
            state,
        )
    }

    pub(super) fn mark_in(
        &self,
        folder: &Path,
        operation: &Operation,
        state: State,
    ) -> Result<(), PoolError> {
        let marked = Operation {
            state,
            since: self.clock.now(),
            ..operation.clone()
        };
        self.write(folder, &marked)
    }

    /// Deletes an operation and the working copies that it keeps, durably. If it reappeared after a power cut, it would be
    /// taken for a completed one.
    fn forget_operation(&self, dot: &DotName, number: u64) -> Result<(), PoolError> {
        self.discard_now(&self.layout.operation(dot, number))
    }

    pub(super) fn settle(&self, dot: &DotName) -> Result<(), PoolError> {
        let log = self.operations_in(&self.layout.dot(dot))?;
        let mut is_last = true;
        for operation in log.iter().rev() {
            if operation.state.is_passing() {
                self.finish_swap(dot, operation)?;
            }
            match operation.state {
                // A later operation exists, so this one was done. A power cut lost the write of that state.
                State::Begun if !is_last => self.mark(dot, operation, State::Done)?,
                State::Begun if self.is_made(dot, operation)? => {
                    self.mark(dot, operation, State::Done)?;
                }
                State::Begun => {
                    self.backward(dot, operation)?;
                    self.forget_operation(dot, operation.number)?;
                    continue;
                }
                State::Undoing if self.is_taken_back(dot, operation)? => {
                    self.mark(dot, operation, State::Undone)?;
                }
                State::Undoing => {
                    self.forward(dot, operation)?;
                    self.mark(dot, operation, State::Done)?;
                }
                State::Redoing if self.is_made(dot, operation)? => {
                    self.mark(dot, operation, State::Done)?;
                }
                State::Redoing => {
                    self.backward(dot, operation)?;
                    self.mark(dot, operation, State::Undone)?;
                }
                State::Done | State::Undone => {}
            }
            is_last = false;
        }
        self.forget_superseded(dot, &log)
    }

    /// Deletes operations that were undone before a later operation was made.
    fn forget_superseded(&self, dot: &DotName, before: &[Operation]) -> Result<(), PoolError> {
        let log = match before.iter().any(|one| one.state.is_passing()) {
            true => self.operations_in(&self.layout.dot(dot))?,
            false => before.to_vec(),
        };
        let forks: ForksFile = read_json(&self.layout.forks(dot))
            .ok()
            .flatten()
            .unwrap_or_default();
        let superseded = |one: &&Operation| {
            let mut later = log.iter().filter(|later| later.number > one.number);
            one.state == State::Undone
                && later.any(|later| {
                    later.state == State::Done && later.fork(&forks.forks) == one.fork(&forks.forks)
                })
        };
        for operation in log.iter().filter(superseded) {
            self.throw_away(&self.layout.operation(dot, operation.number));
        }
        Ok(())
    }

    /// Fails unless the operation is done and all its steps are made, or undone and none is.
    fn require(&self, dot: &DotName, operation: &Operation, made: bool) -> Result<(), PoolError> {
        let is_as_left = match made {
            true => operation.state == State::Done && self.is_made(dot, operation)?,
            false => operation.state == State::Undone && self.is_taken_back(dot, operation)?,
        };
        match is_as_left {
            true => Ok(()),
            false => Err(PoolError::NotAsLeft {
                what: operation.what.clone(),
            }),
        }
    }

    /// Marks the rename of a dot as being undone or redone, whichever is possible.
    pub(super) fn mark_rename(&self, dot: &DotName, number: u64) -> Result<(), PoolError> {
        let operation = self.operation(dot, number)?;
        let is_done = operation.state == State::Done;
        self.require(dot, &operation, is_done)?;
        let passing = match is_done {
            true => State::Undoing,
            false => State::Redoing,
        };
        self.mark(dot, &operation, passing)
    }

    fn is_made(&self, dot: &DotName, operation: &Operation) -> Result<bool, PoolError> {
        for step in &operation.steps {
            if !self.is_after(dot, operation.number, step)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn is_taken_back(&self, dot: &DotName, operation: &Operation) -> Result<bool, PoolError> {
        for step in &operation.steps {
            if self.is_after(dot, operation.number, step)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn forward(&self, dot: &DotName, operation: &Operation) -> Result<(), PoolError> {
        let number = operation.number;
        let mut made = Vec::new();
        for step in &operation.steps {
            if self.is_after(dot, number, step)? {
                continue;
            }
            if let Err(error) = self.make(dot, number, step) {
                for step in made.into_iter().rev() {
                    self.unmake(dot, number, step)?;
                }
                return Err(error);
            }
            made.push(step);
        }
        Ok(())
    }

    fn backward(&self, dot: &DotName, operation: &Operation) -> Result<(), PoolError> {
        let number = operation.number;
        let mut unmade = Vec::new();
        for step in operation.steps.iter().rev() {
            if !self.is_after(dot, number, step)? {
                continue;
            }
            if let Err(error) = self.unmake(dot, number, step) {
                for step in unmade.into_iter().rev() {
                    self.make(dot, number, step)?;
                }
                return Err(error);
            }
            unmade.push(step);
        }
        Ok(())
    }
}
