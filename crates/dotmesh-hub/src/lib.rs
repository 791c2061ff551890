//! `dothub`, the shared server: its HTTP API, its pages and its command line.
//!
//! It knows nothing of pools, Docker or SQL. `router.rs` lists every route. What the hub does is in
//! `dotmesh-hub-service`.

mod authenticate;
pub mod cli;
mod error;
mod extract;
mod intake;
mod openapi;
mod pacer;
mod pages;
pub mod router;
mod router_state;
mod routes;
pub mod server;
mod tls;
mod web;
