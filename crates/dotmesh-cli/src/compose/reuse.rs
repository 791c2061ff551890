//! Decides whether a fork can use an image that the app built: if the files and the arguments of the build are the same.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use super::document::{Build, Document};

/// The most bytes to compare. Beyond them, Compose builds, with the help of its cache.
const MOST: u64 = 256 << 20;

/// The images that the fork in one folder can use, by service. `app` is the same app, in the folder from which it was built.
pub fn images(
    fork: &Document,
    app: &Document,
    exists: impl Fn(&str) -> bool,
) -> BTreeMap<String, String> {
    let built = app.builds();
    let mut images = BTreeMap::new();
    for build in fork.builds() {
        let same = built.iter().find(|one| one.service == build.service);
        if let Some(same) = same.filter(|same| is_same(&build, same) && exists(&same.image)) {
            images.insert(build.service, same.image.clone());
        }
    }
    images
}

fn is_same(one: &Build, other: &Build) -> bool {
    if one.inputs != other.inputs {
        return false;
    }
    match (&one.context, &other.context) {
        (Some(one), Some(other)) => {
            let mut room = MOST;
            one == other || same_folders(one, other, &mut room).unwrap_or(false)
        }
        // A URL is among the inputs.
        (None, None) => true,
        _ => false,
    }
}

/// Whether two folders have the same files. `room` is how many bytes may still be read.
fn same_folders(one: &Path, other: &Path, room: &mut u64) -> std::io::Result<bool> {
    let (names, others) = (names(one)?, names(other)?);
    if names != others {
        return Ok(false);
    }
    for name in names {
        let (one, other) = (one.join(&name), other.join(&name));
        let (kind, other_kind) = (one.symlink_metadata()?, other.symlink_metadata()?);
        if kind.file_type() != other_kind.file_type() {
            return Ok(false);
        }
        use std::os::unix::fs::PermissionsExt as _;
        let is_executable = |mode: u32| mode & 0o111 != 0;
        let same = if kind.is_dir() {
            same_folders(&one, &other, room)?
        } else if kind.is_symlink() {
            std::fs::read_link(&one)? == std::fs::read_link(&other)?
        } else {
            kind.len() == other_kind.len()
                && is_executable(kind.permissions().mode())
                    == is_executable(other_kind.permissions().mode())
                && kind.len() <= *room
                && {
                    *room -= kind.len();
                    same_bytes(&one, &other)?
                }
        };
        if !same {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The names in a folder, without what git and Dotmesh keep there.
fn names(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let name = PathBuf::from(entry?.file_name());
        if name != Path::new(".git") {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

fn same_bytes(one: &Path, other: &Path) -> std::io::Result<bool> {
    let (mut one, mut other) = (std::fs::File::open(one)?, std::fs::File::open(other)?);
    let (mut first, mut second) = (vec![0; 64 << 10], vec![0; 64 << 10]);
    loop {
        let count = one.read(&mut first)?;
        if count == 0 {
            return Ok(other.read(&mut second)? == 0);
        }
        if other.read_exact(&mut second[..count]).is_err() || first[..count] != second[..count] {
            return Ok(false);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_the_same_if_their_files_are() {
        let folder = tempfile::tempdir().expect("a folder");
        let [one, other] = ["one", "other"].map(|name| folder.path().join(name));
        for top in [&one, &other] {
            std::fs::create_dir_all(top.join("src/.git")).expect("a folder");
            std::fs::write(top.join("src/main.js"), "1").expect("a file");
        }
        // What git keeps does not count.
        std::fs::write(one.join("src/.git/HEAD"), "a").expect("a file");
        let same = || {
            let mut room = MOST;
            same_folders(&one, &other, &mut room).expect("a comparison")
        };
        assert!(same());
        std::fs::write(one.join("src/main.js"), "2").expect("a file");
        assert!(!same(), "the content differs");
        std::fs::write(other.join("src/main.js"), "2").expect("a file");
        std::fs::write(other.join("new"), "").expect("a file");
        assert!(!same(), "a file is new");
    }
}
