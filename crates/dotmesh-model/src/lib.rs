//! Dotmesh's vocabulary as types: names and their grammar, ids, commits, history, revisions.
//!
//! Pure: no I/O, and the clock and randomness are passed in (`ambient.rs`). A value of one of these types is always valid.

pub mod ambient;
pub mod branch_name;
pub mod branches;
mod code_address;
pub mod commit;
pub mod history;
pub mod ids;
pub mod launch;
pub mod left_out;
pub mod limits;
pub mod message;
pub mod names;
#[cfg(feature = "openapi")]
mod openapi;
pub mod revision;
pub mod secret_names;
pub mod size;
pub mod volume;

pub use code_address::CodeAddress;
pub use commit::{CodeVersion, CommitRecord, ImageUse, InvalidRecord};
pub use history::{History, Relation};
pub use ids::{CommitId, CommitPrefix, DotIdentity, ObjectHash, StashId};
pub use launch::Launch;
pub use left_out::{LeftOut, LeftOutItem};
pub use names::{BranchName, DotName, InvalidName, Namespace, SubdotName, UserName};
pub use revision::Revision;
pub use volume::VolumeName;
