//! The hub's services: everything that the hub does, apart from HTTP, pages and the command line.
//!
//! The rules are in `dotmesh-hub-model`, and all SQL in `dotmesh-hub-db`. Objects are read and written only through
//! `dotmesh_store::PackStore`. The crate `dotmesh-hub` offers the services over HTTP, and turns their errors into responses.

pub mod address;
pub mod audit;
pub mod auth;
mod background;
pub mod backup;
mod chain;
pub mod data_dir;
pub mod descriptors;
mod error;
pub mod gate;
pub mod jobs;
pub mod live;
pub mod metrics;
pub mod operations;
pub mod rate_limit;
pub mod readiness;
mod ref_updates;
pub mod running_lease;
pub mod settings;
mod state;
pub mod store_url;
pub mod turns;
pub mod webhooks;
mod written_today;

pub use error::HubError;
pub use state::Hub;
