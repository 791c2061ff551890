//! The pages: one file each, its template in `templates/` under the same name. `router.rs` says where they are.

pub mod account;
pub mod activity;
pub mod admin;
pub mod admin_events;
pub mod authorize;
pub mod branches;
pub mod commit;
pub mod commits;
pub mod dot;
pub mod fork;
pub mod graph;
pub mod home;
pub mod keys;
pub mod live;
pub mod login;
pub mod logout;
pub mod notes;
pub mod offers;
pub mod owner;
pub mod password;
pub mod search;
pub mod settings;
pub mod signup;
pub mod tags;
pub mod trash;
