//! The messages between `dm`, `dotmeshd` and `dothub`: wire types and typed clients.
//!
//! The crate knows nothing of servers, databases or disks. `docs/protocol.md` describes the hub's protocol.

pub mod bundle;
pub mod client;
pub mod dots;
pub mod error;
pub mod foreign;
pub mod hub;
pub mod hub_address;
pub mod hub_client;
pub mod hub_visitor;
pub mod identity;
pub mod network;
pub mod node;
pub mod node_client;
pub mod page;
pub mod webhooks;

pub use bundle::Bundle;
pub use client::ClientError;
pub use error::{ErrorBody, ErrorCode, PROBLEM_TYPE, Problem};
pub use foreign::Foreign;
pub use hub_address::{HubAddress, HubHost};
pub use hub_client::HubClient;
pub use hub_visitor::HubVisitor;
pub use network::Network;
pub use node_client::NodeClient;
