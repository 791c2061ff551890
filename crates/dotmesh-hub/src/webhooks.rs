//! Webhooks: the hub tells other servers of what happens to a dot, signed as the Standard Webhooks specification says.
//!
//! What is to be told is queued by the transaction that does it (`database/deliveries.rs`); the dispatcher of any process
//! delivers it, at least once.

pub mod dispatcher;
pub mod payload;
mod secret;
pub mod target;

pub use secret::SigningSecret;
