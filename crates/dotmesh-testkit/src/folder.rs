//! A machine's folder on the host's disk: its copy of the prepared Docker data, its private parts of the file system,
//! and its logs. It also removes the folders that killed test runs left behind.

use std::env;
use std::fs::{self, File, TryLockError};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::Context;

use crate::engine::{self, Engine};
use crate::host;

/// The folder of one machine, deleted on drop. A lock shows others that it is in use.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    _lock: File,
}

static COUNT: AtomicU32 = AtomicU32::new(0);

impl Folder {
    /// Makes the folder. Before that, it removes the folders whose owners are gone.
    pub(crate) fn create(machine: &str) -> anyhow::Result<Folder> {
        let all = cache().join("machines");
        fs::create_dir_all(&all)?;
        let census = File::create(all.join("lock"))?;
        census.lock()?;
        sweep(&all)?;
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = all.join(format!("{machine}-{}-{count}", process::id()));
        fs::create_dir(&path).with_context(|| format!("create {}", path.display()))?;
        let lock = File::create(path.join("lock"))?;
        lock.lock()?;
        Ok(Folder { path, _lock: lock })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The parent of the control groups of this machine's containers.
    pub(crate) fn cgroup(&self) -> String {
        let name = self.path.file_name().unwrap_or_default().to_string_lossy();
        format!("/{CGROUPS}/{name}")
    }

    /// Gives the machine's Engine the images. Nobody writes to image layers, so hard links to them are enough.
    pub(crate) fn prepare_images(&self, engine: Engine) -> anyhow::Result<()> {
        let (prepared, data, layers) = if engine.is_podman() {
            let storage = engine::from_script("engines.sh", "--storage")?;
            (storage, self.path.join("containers/storage"), "overlay")
        } else {
            let docker = engine::from_script("images.sh", "--prepared")?;
            (docker, self.path.join("docker"), "overlay2")
        };
        fs::create_dir_all(&data)?;
        for entry in fs::read_dir(&prepared)? {
            let entry = entry?.path();
            let how = if entry.ends_with(layers) { "-al" } else { "-a" };
            host::run(&[
                "cp".as_ref(),
                how.as_ref(),
                entry.as_os_str(),
                data.as_os_str(),
            ])?;
        }
        Ok(())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = remove(&self.path);
    }
}

const CGROUPS: &str = "dotmesh-test";

fn cache() -> PathBuf {
    let home = || PathBuf::from(env::var_os("HOME").unwrap_or_else(|| "/root".into()));
    let cache = env::var_os("XDG_CACHE_HOME").map_or_else(|| home().join(".cache"), PathBuf::from);
    cache.join("dotmesh")
}

/// Removes the folders that nobody has locked.
fn sweep(all: &Path) -> anyhow::Result<()> {
    for entry in fs::read_dir(all)? {
        let path = entry?.path();
        if !path.is_dir() {
            continue;
        }
        // If a folder has no lock, its owner was killed while it deleted the folder.
        match File::open(path.join("lock")).map(|lock| lock.try_lock().map(|()| lock)) {
            Ok(Err(TryLockError::WouldBlock)) => {}
            _ => remove(&path)?,
        }
    }
    Ok(())
}

/// Removes a machine's folder, its loop devices and its control groups.
fn remove(path: &Path) -> anyhow::Result<()> {
    let loops = host::run_words("losetup --list --noheadings --output NAME,BACK-INO,BACK-MAJ:MIN")?;
    for part in ["dotmesh", "home"] {
        detach_disk_images(&path.join(part), &loops)?;
    }
    if let Some(machine) = path.file_name() {
        let single = Path::new("/sys/fs/cgroup").to_owned();
        let controllers = fs::read_dir(&single)
            .into_iter()
            .flatten()
            .flatten()
            .map(|e| e.path());
        for root in controllers.chain([single]) {
            remove_cgroup(&root.join(CGROUPS).join(machine));
        }
    }
    // The lock is removed last, so that the next run continues an interrupted removal.
    for entry in fs::read_dir(path)? {
        let entry = entry?.path();
        if entry.is_dir() {
            fs::remove_dir_all(&entry).with_context(|| format!("remove {}", entry.display()))?;
        }
    }
    fs::remove_dir_all(path).with_context(|| format!("remove {}", path.display()))
}

/// Detaches the loop devices of the files in a folder. It finds them by inode, because the kernel shows paths as seen
/// inside the machine.
fn detach_disk_images(folder: &Path, loops: &str) -> anyhow::Result<()> {
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let entry = entry?;
        let file = entry.metadata()?;
        if file.is_dir() {
            detach_disk_images(&entry.path(), loops)?;
            continue;
        }
        let inode = file.ino().to_string();
        let disk = format!(
            "{}:{}",
            rustix::fs::major(file.dev()),
            rustix::fs::minor(file.dev())
        );
        for line in loops.lines() {
            let words: Vec<_> = line.split_whitespace().collect();
            if let [device, backing @ ..] = &words[..]
                && *backing == [inode.as_str(), disk.as_str()]
            {
                // The device may be gone meanwhile.
                let _ = host::run(&["losetup", "--detach", device]);
            }
        }
    }
    Ok(())
}

/// Removes an empty control group and those below it.
fn remove_cgroup(path: &Path) {
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_cgroup(&entry.path());
        }
    }
    let _ = fs::remove_dir(path);
}
