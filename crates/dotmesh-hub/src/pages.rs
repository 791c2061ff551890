//! The pages, one file each. A page's template has the same name in `templates/`, if the page has only one. `router.rs`
//! lists their addresses.

pub mod account;
pub mod activity;
pub mod admin;
pub mod admin_access;
pub mod admin_events;
pub mod api;
pub mod archive;
pub mod authorize;
pub mod branches;
pub mod commit;
pub mod commits;
pub mod compare;
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
pub mod raw;
pub mod search;
pub mod settings;
pub mod signup;
pub mod tags;
pub mod trash;
pub mod tree;
pub mod webhook;
pub mod webhooks;
