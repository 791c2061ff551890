//! Adapters on real servers of this machine.

mod quick;
mod redis;
mod server;
mod sqlite;
