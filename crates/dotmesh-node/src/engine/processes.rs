//! Reads the mounts of this machine's processes from `/proc`.

use std::collections::HashSet;

use dotmesh_pool::read_mount_table;

use super::Namespace;

/// The mount namespace of a process: the number in `mnt:[4026531841]`.
pub(super) fn namespace_of(process: &str) -> Option<u64> {
    let link = std::fs::read_link(format!("/proc/{process}/ns/mnt")).ok()?;
    let text = link.to_str()?;
    text.strip_prefix("mnt:[")?.strip_suffix(']')?.parse().ok()
}

/// All mount namespaces except this process's own.
pub(super) fn namespaces() -> std::io::Result<Vec<Namespace>> {
    let mut seen: HashSet<u64> = namespace_of("self").into_iter().collect();
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(process) = name.to_str().filter(|name| name.parse::<u32>().is_ok()) else {
            continue;
        };
        // A process may end at any time between these calls.
        let Some(id) = namespace_of(process).filter(|id| !seen.contains(id)) else {
            continue;
        };
        let Ok(mounts) = read_mount_table(process) else {
            continue;
        };
        seen.insert(id);
        let command = std::fs::read_to_string(format!("/proc/{process}/comm")).unwrap_or_default();
        found.push(Namespace {
            id,
            process: format!("{} ({process})", command.trim()),
            mounts,
        });
    }
    Ok(found)
}
