//! Webhooks: the hub reports events of a dot to other servers. It signs each delivery as the Standard Webhooks
//! specification says.
//!
//! The transaction that writes an event also queues its deliveries (`dotmesh-hub-db/src/deliveries.rs`). The dispatcher of any
//! process delivers them, at least once.

pub mod dispatcher;
pub mod payload;
pub mod target;
