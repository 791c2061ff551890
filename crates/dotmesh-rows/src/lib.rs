//! Rows of databases: what is in a copy of a database's files, and what differs between two copies.
//!
//! [`model`] has the types that programs exchange. [`detect`] finds databases in a folder. An [`Adapter`] reads
//! one that a server has opened, through a [`Client`] that runs the database's own client program. [`compare`]
//! reads two of them side by side, in bounded memory. This crate starts no server, and knows nothing of Docker and HTTP.

pub mod compose;
pub mod model;
pub mod render;

#[cfg(feature = "adapters")]
mod adapter;
#[cfg(feature = "files")]
pub mod blocks;
#[cfg(feature = "adapters")]
mod client;
#[cfg(feature = "adapters")]
pub mod compare;
#[cfg(feature = "adapters")]
pub mod contents;
#[cfg(feature = "files")]
pub mod detect;
#[cfg(feature = "adapters")]
mod error;
#[cfg(feature = "adapters")]
mod lines;
#[cfg(feature = "adapters")]
mod merge;
#[cfg(feature = "adapters")]
mod mysql;
#[cfg(feature = "adapters")]
mod postgres;
#[cfg(feature = "adapters")]
mod redis;
#[cfg(feature = "adapters")]
mod schema;
#[cfg(feature = "adapters")]
mod sqlite;
#[cfg(feature = "adapters")]
pub mod sqlite_client;
#[cfg(feature = "files")]
pub mod wal;

#[cfg(feature = "adapters")]
pub use adapter::{Adapter, DATA, Recipe, Row, Rows, Scan, adapter, recipe};
#[cfg(feature = "adapters")]
pub use client::{Client, Run};
#[cfg(feature = "adapters")]
pub use error::RowsError;
