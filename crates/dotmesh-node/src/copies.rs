//! Copies of data that throwaway containers mount, as volumes of this daemon's driver. Nobody else gets them.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dotmesh_pool::OpenFolder;

use crate::error::NodeError;
use crate::mounts::Mounts;
use crate::rootless::Rootless;

/// Begins the names of their volumes. No volume of a dot can have such a name, since its subdot would have a `.` in it.
const PREFIX: &str = "dotmesh.rows.";

/// Whether a volume's name is one of a copy, perhaps of a former run of the daemon.
pub(crate) fn is_volume(name: &str) -> bool {
    name.starts_with(PREFIX)
}

/// The copies by the names of their volumes.
#[derive(Default)]
pub(crate) struct Copies {
    shown: Mutex<HashMap<String, Shown>>,
}

struct Shown {
    folder: Arc<OpenFolder>,
    place: Option<PathBuf>,
}

impl Copies {
    fn shown(&self) -> MutexGuard<'_, HashMap<String, Shown>> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets Docker mount a folder, under the name that is returned.
    pub(crate) fn offer(&self, folder: OpenFolder) -> String {
        let name = format!("{PREFIX}{}", crate::node::random_hex::<8>());
        let (folder, place) = (Arc::new(folder), None);
        self.shown().insert(name.clone(), Shown { folder, place });
        name
    }

    /// Whether it was offered.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.shown().contains_key(name)
    }

    /// Where it is mounted.
    pub(crate) fn place(&self, name: &str) -> Option<PathBuf> {
        self.shown().get(name)?.place.clone()
    }

    /// Mounts it for its container.
    pub(crate) async fn mount(
        &self,
        mounts: &Mounts,
        name: &str,
        engine: Option<Rootless>,
    ) -> Result<PathBuf, NodeError> {
        let folder = self
            .shown()
            .get(name)
            .map(|shown| Arc::clone(&shown.folder));
        let folder = folder.ok_or_else(|| NodeError::NoVolume {
            name: name.to_owned(),
        })?;
        let place = mounts.show_copy(folder, engine).await?;
        let before = match self.shown().get_mut(name) {
            Some(shown) => shown.place.replace(place.clone()),
            None => Some(place.clone()),
        };
        if let Some(before) = before {
            mounts.hide_copy(&before);
        }
        Ok(place)
    }

    /// Unmounts it.
    pub(crate) fn unmount(&self, mounts: &Mounts, name: &str) {
        let place = self
            .shown()
            .get_mut(name)
            .and_then(|shown| shown.place.take());
        if let Some(place) = place {
            mounts.hide_copy(&place);
        }
    }

    /// Unmounts and forgets it.
    pub(crate) fn withdraw(&self, mounts: &Mounts, name: &str) {
        self.unmount(mounts, name);
        self.shown().remove(name);
    }
}
