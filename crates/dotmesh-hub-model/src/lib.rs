//! The hub's model: what a hub knows of users, access, quotas and limits, without a database and without HTTP.

pub mod access;
pub mod commit_summary;
pub mod credentials;
pub mod database_summary;
pub mod event_kind;
pub mod limits;
pub mod quota;
pub mod search;
pub mod show;
mod signing_secret;

pub use signing_secret::SigningSecret;
