//! The pages: one file each, its template in `templates/` under the same name. `router.rs` says where they are.

pub mod account;
pub mod activity;
pub mod admin;
pub mod admin_events;
pub mod archive;
pub mod authorize;
pub mod commit;
pub mod commits;
pub mod compare;
pub mod dot;
pub mod graph;
pub mod home;
pub mod keys;
pub mod login;
pub mod logout;
pub mod owner;
pub mod password;
pub mod raw;
pub mod signup;
pub mod tree;
