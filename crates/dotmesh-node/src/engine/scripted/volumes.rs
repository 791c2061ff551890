//! The local volumes of the simulated machine.

use super::{World, lock};
use crate::engine::EngineVolume;

impl World {
    /// Sets a volume of another driver.
    pub(crate) fn put_volume(&self, name: &str, volume: EngineVolume) {
        lock(&self.inner).volumes.insert(name.to_owned(), volume);
    }
}
