//! Switches, pulls and clones on the scripted Engine.

mod bench;
mod cases;
mod failures;
mod first_steps;
mod identity;
mod random;
mod transfers;
mod without_data;
