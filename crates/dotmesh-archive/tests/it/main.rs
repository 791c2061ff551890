//! Archives and folders, against GNU tar and against those who mean harm.

mod hostile;
mod round_trip;

use std::fs::File;
use std::os::fd::AsFd as _;
use std::path::Path;

use dotmesh_archive::{ArchiveError, Counters, Omitted, Rights, finish, pack, unpack};

/// The archive of a folder.
fn packed(folder: &Path) -> Vec<u8> {
    let open = File::open(folder).expect("a folder");
    let mut bytes = Vec::new();
    pack(open.as_fd(), b".", &mut bytes, &Counters::default()).expect("an archive");
    finish(&mut bytes).expect("its end");
    bytes
}

fn unpacked(bytes: &[u8], folder: &Path) -> Result<Omitted, ArchiveError> {
    let open = File::open(folder).expect("a folder");
    let rights = match rustix::process::geteuid().is_root() {
        true => Rights::All,
        false => Rights::Own,
    };
    unpack(bytes, open.as_fd(), rights, &Counters::default())
}
