//! Tests of the object format and of the pack store, through the crate's public interface.

#![expect(
    clippy::unwrap_used,
    reason = "in a test it says where the test failed"
)]

mod arbitrary;
mod groups;
mod pack_store;
mod packs;
mod pages;
mod promises;
mod second_reader;
mod vectors;
