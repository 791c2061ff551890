//! Backups: all records and packs of a hub in a folder. The format is the same for every database and store.
//!
//! ```text
//! manifest.json          the list of contents, written atomically after all else
//! records-HASH.jsonl.zst the records, compressed, one per line (see `database::dump`)
//! packs/PACK             the packs, each under its hash
//! ```
//!
//! Packs never change, so a later backup into the same folder copies only new packs. The folder has all secrets of the
//! hub: hashes of passwords and keys, secrets of webhooks, and the data of all users.

mod folder;
mod restore;
mod take;
mod verify;

pub use folder::{BackupFolder, FolderError, Manifest};
pub use restore::{RestoreError, restore};
pub use take::{BackupError, Taken, take};
pub use verify::{VerifyError, verify};
