//! `dothub`, the shared server: accounts, access, history, and the objects of everyone's dots.
//!
//! It knows nothing of pools or Docker. `router.rs` lists every route. The access rule is in `dotmesh-hub-model`, and all
//! SQL in `dotmesh-hub-db`. Objects are read and written only through `dotmesh_store::PackStore`.

pub mod audit;
pub mod auth;
pub mod background;
pub mod backup;
pub mod chain;
pub mod cli;
pub mod clock;
pub mod data_dir;
pub mod descriptors;
pub mod error;
pub mod extract;
pub mod gate;
pub mod intake;
pub mod jobs;
pub mod live;
pub mod metrics;
pub mod openapi;
pub mod operations;
pub mod pacer;
pub mod pages;
pub mod rate_limit;
mod readiness;
pub mod ref_updates;
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
mod written_today;

pub use state::Hub;
