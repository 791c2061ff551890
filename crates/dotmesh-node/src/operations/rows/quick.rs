//! Compares tables of PostgreSQL by their files first, so that it costs what changed.

use std::ops::Range;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;

use dotmesh_rows::blocks::{MayDiffer, Side};
use dotmesh_rows::model::Store;
use dotmesh_rows::{Adapter, RowsError};

use super::State;

/// Both copies of a server's data, recovered and written to their files. `None` if that tells nothing.
pub(super) fn sides(
    store: &Store,
    (old, of_old): (&State, &dyn Adapter),
    (new, of_new): (&State, &dyn Adapter),
) -> Result<Option<(Side, Side)>, RowsError> {
    let settled = std::thread::scope(|scope| {
        let other = scope.spawn(|| next(of_old));
        let next_new = next(of_new);
        let next_old = other.join().unwrap_or(Err(RowsError::Cancelled));
        Ok::<_, RowsError>((next_old?, next_new?))
    });
    let (Some(next_old), Some(next_new)) = settled? else {
        return Ok(None);
    };
    let side = |state: &State, next| {
        let folder = state.copy.open(&store.address());
        let folder = folder.map_err(std::io::Error::other)?;
        let folder: OwnedFd = folder.as_fd().try_clone_to_owned()?;
        Ok::<_, std::io::Error>(Side { folder, next })
    };
    Ok(Some((side(old, next_old)?, side(new, next_new)?)))
}

/// Asks the pool which ranges of files differ, so that not even the files are read.
pub(super) struct Extents {
    old: Arc<dotmesh_pool::Copy>,
    new: Arc<dotmesh_pool::Copy>,
    store: String,
}

impl Extents {
    pub(super) fn new(states: &(State, State), store: &Store) -> Self {
        Self {
            old: Arc::clone(&states.0.copy),
            new: Arc::clone(&states.1.copy),
            store: store.address(),
        }
    }
}

impl MayDiffer for Extents {
    fn ranges(&self, path: &str) -> Option<Vec<Range<u64>>> {
        self.old
            .differing(&self.new, &format!("{}/{path}", self.store))
    }
}

fn next(adapter: &dyn Adapter) -> Result<Option<u64>, RowsError> {
    let next = adapter.next_transaction()?;
    if next.is_some() {
        adapter.settle()?;
    }
    Ok(next)
}
