//! Places for which a dot can be chosen: git work trees, and folders with a Compose file.

use std::path::{Path, PathBuf};

/// What makes a folder a place.
const MARKS: [&str; 5] = [
    ".git",
    "compose.yaml",
    "compose.yml",
    "docker-compose.yaml",
    "docker-compose.yml",
];

/// The folder that `dm` runs in, without symbolic links. `None` when it is deleted.
pub fn here() -> Option<PathBuf> {
    std::env::current_dir().ok()?.canonicalize().ok()
}

/// The nearest place around a folder, the folder included.
pub fn around(folder: &Path) -> Option<&Path> {
    let is_place = |folder: &&Path| MARKS.iter().any(|mark| folder.join(mark).exists());
    // The configuration is JSON, which has no other names.
    let place = folder.ancestors().find(is_place)?;
    place.to_str().map(|_| place)
}
