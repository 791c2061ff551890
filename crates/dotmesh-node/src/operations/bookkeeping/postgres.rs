//! What PostgreSQL writes without a change of any table.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use dotmesh_sync::EntryType;

use super::Side;

/// The file that every folder of a database cluster has.
pub(super) const MARK: &str = "PG_VERSION";

/// What is written without a change of any table: in the cluster's folder.
const BOOKKEEPING: [&str; 13] = [
    "pg_commit_ts",
    "pg_dynshmem",
    "pg_logical",
    "pg_multixact",
    "pg_notify",
    "pg_replslot",
    "pg_serial",
    "pg_snapshots",
    "pg_stat",
    "pg_stat_tmp",
    "pg_subtrans",
    "pg_wal",
    "pg_xact",
];

/// The same: files beside these folders.
const FILES: [&str; 3] = ["logfile", "postmaster.opts", "postmaster.pid"];

const CONTROL_FILE: &str = "global/pg_control";

/// Where the control file says the state of the server, and the number that says that it was stopped in order.
const STATE_AT: u64 = 16;
const SHUT_DOWN: u32 = 1;

/// Whether the change of a path in a cluster's folder is bookkeeping. A new or a missing table is none, nor is a changed one.
pub(super) fn is_bookkeeping(path: &[u8], kind: EntryType) -> bool {
    if path.is_empty() {
        // The folder itself, whose times change with its files.
        return kind == EntryType::Directory;
    }
    let mut names = path.split(|byte| *byte == b'/');
    let first = names.next().unwrap_or_default();
    let last = names.next_back();
    let is_one_of = |names: &[&str]| names.iter().any(|name| name.as_bytes() == first);
    match last {
        None => is_one_of(&FILES) || is_one_of(&BOOKKEEPING) || first == b"global",
        // Caches of the catalogue are removed and written at a start. Beside the control file are tables.
        Some(b"pg_internal.init") => true,
        Some(b"pg_control") => first == b"global",
        Some(last) if is_relation(path) => last.ends_with(b"_fsm") || last.ends_with(b"_vm"),
        Some(_) => is_one_of(&BOOKKEEPING),
    }
}

/// Whether a path in a cluster's folder is a file of a table or of an index. Their maps of free space and of visible rows
/// end with `_fsm` and `_vm`.
pub(super) fn is_relation(path: &[u8]) -> bool {
    let mut names = path.split(|byte| *byte == b'/');
    let first = names.next().unwrap_or_default();
    let last = names.next_back().unwrap_or_default();
    [&b"base"[..], b"global", b"pg_tblspc"].contains(&first)
        && last.first().is_some_and(u8::is_ascii_digit)
}

/// The size of a page, if PostgreSQL was built as usual.
const PAGE: usize = 8192;
const PAGE_HEADER: usize = 24;

/// The bits of a row by which a reader notes whether the transactions that made and deleted it were committed.
const HINTS: u16 = 0x0F00;

/// Whether two states of a file have the same rows. Whoever reads a row first notes in it that its transaction was committed,
/// so a table is also written when it is read.
pub(super) fn same_rows(old: &File, new: &File) -> io::Result<bool> {
    let length = old.metadata()?.len();
    if length != new.metadata()?.len() || length % PAGE as u64 != 0 {
        return Ok(false);
    }
    let (mut one, mut two) = (vec![0; PAGE], vec![0; PAGE]);
    for at in (0..length).step_by(PAGE) {
        old.read_exact_at(&mut one, at)?;
        new.read_exact_at(&mut two, at)?;
        if one != two {
            clear_hints(&mut one);
            clear_hints(&mut two);
            if one != two {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

/// Clears what a reader may have noted in a page of a table. A page of an index has a trailer, and is left as it is.
fn clear_hints(page: &mut [u8]) {
    let number = |page: &[u8], at: usize| usize::from(u16::from_ne_bytes([page[at], page[at + 1]]));
    let (lower, special) = (number(page, 12), number(page, 16));
    if special != PAGE || !(PAGE_HEADER..=PAGE).contains(&lower) {
        return;
    }
    // The position in the log, the checksum, the flags, and which transaction's rows could be removed.
    for noted in [0..12, 20..24] {
        page[noted].fill(0);
    }
    for at in (PAGE_HEADER..lower).step_by(4) {
        let pointer = u32::from_ne_bytes(page[at..at + 4].try_into().expect("four bytes"));
        // 15 bits of the place, 2 bits of flags, 15 bits of the length.
        let (place, is_row) = (pointer as usize & 0x7FFF, pointer >> 15 & 3 == 1);
        let mask = place + 20;
        if is_row && mask + 2 <= PAGE {
            let bits = u16::from_ne_bytes([page[mask], page[mask + 1]]) & !HINTS;
            page[mask..mask + 2].copy_from_slice(&bits.to_ne_bytes());
        }
    }
}

/// Whether the server was stopped in order. Otherwise the write-ahead log may have rows that no table has yet.
pub(super) fn is_shut_down(side: &Side<'_>) -> bool {
    let mut state = [0; 4];
    side.open(CONTROL_FILE)
        .is_some_and(|file| file.read_exact_at(&mut state, STATE_AT).is_ok())
        && u32::from_ne_bytes(state) == SHUT_DOWN
}
