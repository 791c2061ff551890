//! Webhooks: the hub reports events of a dot to other servers. It signs each delivery as the Standard Webhooks
//! specification says.
//!
//! The transaction that writes an event also queues its deliveries (`database/deliveries.rs`). The dispatcher of any
//! process delivers them, at least once.

pub mod dispatcher;
pub mod payload;
mod secret;
pub mod target;

pub use secret::SigningSecret;
