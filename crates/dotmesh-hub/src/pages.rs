//! The pages, one file each. A page's template has the same name in `templates/`, if the page has only one. `router.rs`
//! lists their addresses.

pub(crate) mod account;
pub(crate) mod activity;
pub(crate) mod admin;
pub(crate) mod admin_access;
pub(crate) mod admin_events;
pub(crate) mod api;
pub(crate) mod archive;
pub(crate) mod authorize;
pub(crate) mod branches;
pub(crate) mod commit;
pub(crate) mod commits;
pub(crate) mod compare;
pub(crate) mod dot;
pub(crate) mod fork;
pub(crate) mod graph;
pub(crate) mod home;
pub(crate) mod keys;
pub(crate) mod live;
pub(crate) mod login;
pub(crate) mod logout;
pub(crate) mod notes;
pub(crate) mod offers;
pub(crate) mod owner;
pub(crate) mod password;
pub(crate) mod raw;
pub(crate) mod search;
pub(crate) mod settings;
pub(crate) mod signup;
pub(crate) mod tags;
pub(crate) mod trash;
pub(crate) mod tree;
pub(crate) mod webhook;
pub(crate) mod webhooks;
