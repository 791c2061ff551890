//! What is mounted at a node's root, below it, and elsewhere from its pool: which mounts are Dotmesh's, and which are not.

use std::path::{Path, PathBuf};

use crate::error::{CliError, Result};

/// Where a pool's filesystem is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PoolPlace {
    /// In `pool.img`, or on a block device, mounted at `pool` in the root.
    Mounted,
    /// In a folder of a btrfs filesystem that is the user's.
    Folder(PathBuf),
    /// Not known: it is not in the root, and no daemon says where.
    Unknown,
}

/// The mounts that a reset of a node is about.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Places {
    /// Those that Dotmesh made, in the order to take them away.
    pub own: Vec<PathBuf>,
    /// Others below the root.
    pub foreign: Vec<PathBuf>,
    /// Whether the root itself is a place where something is mounted.
    pub root_is_mount: bool,
}

/// One line of a mount table.
#[derive(Debug)]
struct Mount {
    device: String,
    /// What of the filesystem is shown.
    inside: PathBuf,
    place: PathBuf,
}

impl Places {
    /// Reads this process's mount table. The root's path has no symlinks.
    pub fn read(root: &Path, pool: &PoolPlace) -> Result<Self> {
        // The paths of others' mounts need not be UTF-8.
        let table = std::fs::read("/proc/self/mountinfo").map_err(|error| {
            CliError::failed("cannot read /proc/self/mountinfo").caused_by(error)
        })?;
        Ok(Self::of(&String::from_utf8_lossy(&table), root, pool))
    }

    /// The same, from a table.
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
        Err(CliError::failed(format!(
            "something that Dotmesh did not mount is mounted below {}: {foreign}",
            root.display()
        ))
        .hint("Unmount it with 'umount', then try again."))
    }

    /// Takes Dotmesh's mounts away.
    pub fn unmount(&self) -> Result<()> {
        for place in &self.own {
            let flags = rustix::mount::UnmountFlags::NOFOLLOW;
            rustix::mount::unmount(place, flags).map_err(|error| {
                CliError::failed(format!("cannot unmount {}", place.display()))
                    .caused_by(error)
                    .hint("Find what uses it with 'fuser -vm', then try again. Dotmesh was stopped, and nothing was deleted.")
            })?;
        }
        Ok(())
    }
}

/// The filesystem that the pool is on, and the pool's folder in it.
fn shown_of_pool(mounts: &[Mount], root: &Path, pool: &PoolPlace) -> Option<(String, PathBuf)> {
    // A later mount hides those before it.
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
            // Nothing but dots is mounted from such a pool.
            Some((mount.device.clone(), mount.inside.join(rest).join("dots")))
        }
        PoolPlace::Unknown => None,
    }
}

/// Whether it is where the daemon mounts things for itself and for Docker.
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

/// Blanks are octal numbers in the table.
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

/// Paths, to be shown.
pub fn list(places: &[PathBuf]) -> String {
    let places = places.iter().map(|place| place.display().to_string());
    places.collect::<Vec<_>>().join(", ")
}
