//! Finds the mounts at and below a node's root, and the mounts of its pool elsewhere. Tells which ones Dotmesh made.

use dotmesh_api::ErrorCode;
use std::path::{Path, PathBuf};

use crate::error::{CliError, Result};

/// Where the pool's filesystem is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PoolPlace {
    /// In `pool.img`, or on a block device, mounted at `pool` in the root.
    Mounted,
    /// In a folder of the user's own btrfs filesystem.
    Folder(PathBuf),
    /// Unknown: it is not in the root, and no daemon tells where.
    Unknown,
}

/// The mounts that matter for a reset of a node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Places {
    /// The mounts that Dotmesh made, in the order in which to unmount them.
    pub own: Vec<PathBuf>,
    /// Other mounts below the root.
    pub foreign: Vec<PathBuf>,
    /// Whether the root itself is a mount point.
    pub root_is_mount: bool,
}

/// One line of a mount table.
#[derive(Debug)]
struct Mount {
    device: String,
    /// The path inside the filesystem that is mounted.
    inside: PathBuf,
    place: PathBuf,
}

impl Places {
    /// Reads this process's mount table. The path of the root must not contain symlinks.
    pub fn read(root: &Path, pool: &PoolPlace) -> Result<Self> {
        // The paths of other mounts need not be UTF-8.
        let table = std::fs::read("/proc/self/mountinfo")
            .map_err(|error| CliError::io("cannot read /proc/self/mountinfo").caused_by(error))?;
        Ok(Self::of(&String::from_utf8_lossy(&table), root, pool))
    }

    /// Parses a mount table.
    pub fn of(table: &str, root: &Path, pool: &PoolPlace) -> Self {
        let mounts: Vec<Mount> = table.lines().filter_map(parse).collect();
        let shown = shown_of_pool(&mounts, root, pool);
        let mut places = Self::default();
        for mount in mounts {
            let of_pool = shown.as_ref().is_some_and(|(device, inside)| {
                mount.device == *device && mount.inside.starts_with(inside)
            });
            if mount.place == root {
                places.root_is_mount = true;
            } else if of_pool || is_own_place(root, &mount.place, pool) {
                places.own.push(mount.place);
            } else if mount.place.starts_with(root) {
                places.foreign.push(mount.place);
            }
        }
        places.own.reverse();
        places
    }

    /// Refuses mounts that Dotmesh did not make: deleting the root would delete what is on them.
    pub fn refuse_foreign(&self, root: &Path) -> Result<()> {
        if self.foreign.is_empty() {
            return Ok(());
        }
        let foreign = list(&self.foreign);
        Err(CliError::new(
            ErrorCode::InUse,
            format!(
                "these mounts below {} are not Dotmesh's: {foreign}",
                root.display()
            ),
        )
        .hint("Unmount them with 'umount', then try again."))
    }

    /// Unmounts what Dotmesh mounted.
    pub fn unmount(&self) -> Result<()> {
        for place in &self.own {
            let flags = rustix::mount::UnmountFlags::NOFOLLOW;
            rustix::mount::unmount(place, flags).map_err(|error| {
                CliError::io(format!("cannot unmount {}", place.display()))
                    .caused_by(error)
                    .hint("Find what uses it with 'fuser -vm', then try again. Dotmesh was stopped, and nothing was deleted.")
            })?;
        }
        Ok(())
    }
}

/// The filesystem that the pool is on, and the pool's folder in it.
fn shown_of_pool(mounts: &[Mount], root: &Path, pool: &PoolPlace) -> Option<(String, PathBuf)> {
    // If several mounts are at one place, the last one is visible.
    let last = |holds: &dyn Fn(&Mount) -> bool| mounts.iter().rev().find(|mount| holds(mount));
    match pool {
        PoolPlace::Mounted => {
            let place = root.join("pool");
            let mount = last(&|mount| mount.place == place)?;
            Some((mount.device.clone(), PathBuf::from("/")))
        }
        PoolPlace::Folder(folder) => {
            let mut above = folder.ancestors();
            let mount = above.find_map(|above| last(&|mount| mount.place == above))?;
            let rest = folder.strip_prefix(&mount.place).ok()?;
            // Only dots are mounted from such a pool.
            Some((mount.device.clone(), mount.inside.join(rest).join("dots")))
        }
        PoolPlace::Unknown => None,
    }
}

/// Whether this is one of the daemon's own mount points, for itself or for Docker.
fn is_own_place(root: &Path, place: &Path, pool: &PoolPlace) -> bool {
    let Ok(rest) = place.strip_prefix(root) else {
        return false;
    };
    let mut words = rest.iter().map(|word| word.to_string_lossy());
    match (words.next().as_deref(), words.next(), words.next()) {
        (Some("pool"), None, None) => *pool == PoolPlace::Mounted,
        (Some("mounts"), Some(place), None) => {
            place == "user" || place.bytes().all(|b| b.is_ascii_digit())
        }
        _ => false,
    }
}

fn parse(line: &str) -> Option<Mount> {
    let mut fields = line.split(' ').skip(2);
    Some(Mount {
        device: fields.next()?.to_owned(),
        inside: unescape(fields.next()?).into(),
        place: unescape(fields.next()?).into(),
    })
}

/// Decodes the octal escapes of whitespace and backslashes in mount tables.
fn unescape(place: &str) -> String {
    [
        ("\\040", " "),
        ("\\011", "\t"),
        ("\\012", "\n"),
        ("\\134", "\\"),
    ]
    .iter()
    .fold(place.to_owned(), |place, (code, text)| {
        place.replace(code, text)
    })
}

/// Joins paths for a message.
pub fn list(places: &[PathBuf]) -> String {
    let places = places.iter().map(|place| place.display().to_string());
    places.collect::<Vec<_>>().join(", ")
}
