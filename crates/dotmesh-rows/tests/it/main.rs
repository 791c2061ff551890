//! Adapters on real servers of this machine.

mod migrations;
mod quick;
mod redis;
mod server;
mod sqlite;
mod wal;
