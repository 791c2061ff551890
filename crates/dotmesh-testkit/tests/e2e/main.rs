//! Dotmesh end to end: the real `dm`, `dotmeshd` and `dothub`, with Docker, Compose, Redis and PostgreSQL.
//!
//! Each test has machines of its own. `world` says what they have in common.

mod addresses;
mod bad_input;
mod branches;
mod browser;
mod closed_pool;
mod deletion;
mod demo;
mod history;
mod hub_pages;
mod managed_plugin;
mod one_instant;
mod screenshots;
mod survival;
mod switching;
mod transfers;
mod tutorial;
mod volumes;
mod world;
