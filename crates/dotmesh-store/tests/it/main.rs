//! Tests of the object format and of the pack store, through the crate's public surface.

mod arbitrary;
mod nodes;
mod packs;
mod vectors;
