//! The pages: one file each, its template in `templates/` under the same name. `router.rs` says where they are.

pub mod activity;
pub mod archive;
pub mod commit;
pub mod commits;
pub mod compare;
pub mod dot;
pub mod graph;
pub mod home;
pub mod login;
pub mod logout;
pub mod owner;
pub mod raw;
pub mod tree;
