//! Tests of sealing, pushing, pulling and materialising, through the crate's public surface.

mod fidelity;
mod fixtures;
mod history;
mod hostile;
mod hub;
mod incremental;
mod resume;
mod round_trip;
mod trees;
