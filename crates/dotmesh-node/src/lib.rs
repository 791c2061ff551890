//! `dotmeshd`: the daemon of a machine that runs apps.
//!
//! It owns the machine's pool, the registry that indexes it, the Docker volume driver and the local API. Every
//! operation is one file in `operations/`; the Docker plugin, the API and recovery after a crash call the same ones.

mod api;
mod archives;
pub mod config;
mod copies;
mod engine;
mod error;
mod events;
mod hub_history;
mod leftovers;
mod locks;
pub mod memory;
mod mounts;
mod node;
mod operations;
mod plugin;
mod problems;
mod registry;
mod remount;
mod rootless;
mod running;
mod serve;
mod sockets;
mod sqlite;
mod stored_pages;
mod timing;
mod view;

pub use error::{CopyError, NodeError};
pub use node::Node;
pub use operations::rows::helper::{HELPER, help};
pub use serve::run;
