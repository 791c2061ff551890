//! Tests of the object format and of the pack store, through the crate's public surface.

mod arbitrary;
mod nodes;
mod pack_store;
mod packs;
mod s3;
mod vectors;
