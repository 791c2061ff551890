//! Switches, pulls and clones on the scripted Engine.

mod api;
mod bench;
mod cases;
mod failures;
mod first_steps;
mod forcing;
mod forks;
mod fsck;
mod identity;
mod imports;
mod naming;
mod paths;
mod random;
mod running;
mod stash;
mod tags;
mod transfers;
mod trips;
mod undo_model;
mod undoing;
mod without_data;
