//! Switches, pulls and clones on the scripted Engine.

mod bench;
mod cases;
mod failures;
mod random;
mod transfers;
