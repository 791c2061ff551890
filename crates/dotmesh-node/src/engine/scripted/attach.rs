//! The mounts at the node's places.

use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};

use dotmesh_pool::OpenFolder;

use super::{World, lock};
use crate::mounts::Attach;
use crate::rootless::Rootless;

impl Attach for World {
    fn attach(&self, folder: &OpenFolder, place: &Path) -> std::io::Result<()> {
        let folder = folder.as_fd().try_clone_to_owned()?;
        lock(&self.places).insert(place.to_owned(), folder);
        Ok(())
    }

    fn attach_for_user(&self, folder: &OpenFolder, place: &Path, _: &Path) -> std::io::Result<()> {
        self.attach(folder, place)
    }

    fn attach_for_rootless(
        &self,
        folder: &OpenFolder,
        place: &Path,
        _: &Rootless,
    ) -> std::io::Result<()> {
        self.attach(folder, place)
    }

    fn detach(&self, place: &Path) -> std::io::Result<()> {
        lock(&self.places).remove(place);
        Ok(())
    }

    fn peers(&self) -> std::io::Result<Vec<u64>> {
        Ok(Vec::new())
    }

    fn attached(&self) -> std::io::Result<Vec<PathBuf>> {
        Ok(lock(&self.places).keys().cloned().collect())
    }
}
