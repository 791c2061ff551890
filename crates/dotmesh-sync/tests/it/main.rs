//! Tests of sealing, pushing, pulling and materialising, through the crate's public interface.

mod compare;
mod fidelity;
mod fixtures;
mod history;
mod hostile;
mod hub;
mod incremental;
mod limits;
mod lost_writes;
mod resume;
mod retry;
mod round_trip;
mod shared;
mod trees;
