//! What travels between `dm`, `dotmeshd` and `dothub`: the wire types and the two typed clients.
//!
//! Knows nothing of servers, databases or disks. The hub's protocol is described in
//! `docs/protocol.md`.

pub mod client;
pub mod error;
pub mod hub;
pub mod hub_client;
pub mod node;
pub mod node_client;

pub use client::ClientError;
pub use error::{ErrorBody, ErrorCode, ErrorEnvelope};
pub use hub_client::{HubAddress, HubClient};
pub use node_client::NodeClient;
