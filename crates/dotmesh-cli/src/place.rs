//! Places: folders for which a current dot can be chosen. They are git work trees, and folders with a Compose file.

use std::path::{Path, PathBuf};

/// A folder that contains one of these is a place.
const MARKS: [&str; 5] = [
    ".git",
    "compose.yaml",
    "compose.yml",
    "docker-compose.yaml",
    "docker-compose.yml",
];

/// The folder that `dm` runs in, without symbolic links. `None` if it was deleted.
pub fn here() -> Option<PathBuf> {
    std::env::current_dir().ok()?.canonicalize().ok()
}

/// The nearest place: the folder itself, or one of its ancestors. `None` if its path is not UTF-8.
pub fn around(folder: &Path) -> Option<&Path> {
    let is_place = |folder: &&Path| MARKS.iter().any(|mark| folder.join(mark).exists());
    // The configuration is JSON, so it can only store paths that are UTF-8.
    let place = folder.ancestors().find(is_place)?;
    place.to_str().map(|_| place)
}
