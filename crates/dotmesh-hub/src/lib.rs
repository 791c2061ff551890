//! `dothub`, the shared server: accounts, access, history, and the objects of everyone's dots.
//!
//! It knows nothing of pools or Docker. `router.rs` lists every route. `access.rs` has the access rule. `database/` has
//! all SQL. Objects are read and written only through `dotmesh_store::PackStore`.

pub mod access;
pub mod audit;
pub mod auth;
pub mod background;
pub mod backup;
pub mod cli;
pub mod clock;
pub mod credentials;
pub mod data_dir;
pub mod database;
pub mod descriptors;
pub mod error;
pub mod extract;
pub mod gate;
pub mod intake;
pub mod jobs;
pub mod limits;
pub mod live;
pub mod metrics;
pub mod openapi;
pub mod operations;
pub mod pacer;
pub mod pages;
pub mod quota;
pub mod rate_limit;
pub mod router;
pub mod routes;
pub mod server;
pub mod settings;
pub mod state;
pub mod store_url;
pub mod tls;
pub mod turns;
pub mod web;
pub mod webhooks;

pub use state::Hub;
