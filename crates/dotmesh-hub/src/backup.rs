//! A hub in a folder: all its records and packs, whatever database and store they were in.
//!
//! ```text
//! manifest.json          what is here; written last, as a whole
//! records-HASH.jsonl.zst the records, a line each (see `database::dump`), compressed
//! packs/PACK             the packs, each under its hash
//! ```
//!
//! Packs never change, so a later backup into the same folder adds what is new. The folder holds all secrets of the
//! hub: hashes of passwords and keys, and everybody's data.

mod folder;
mod restore;
mod take;
mod verify;

pub use folder::{BackupFolder, FolderError, Manifest};
pub use restore::{RestoreError, restore};
pub(crate) use take::LEASE;
pub use take::{BackupError, Taken, take};
pub use verify::{VerifyError, verify};
