//! Dotmesh end to end: the real `dm`, `dotmeshd` and `dothub`, with Docker, Compose, Redis and PostgreSQL.
//!
//! Each test has machines of its own. `world` says what they have in common.

mod branches;
mod one_instant;
mod tutorial;
mod volumes;
mod world;
