//! The pool through its public surface, on real btrfs: what a crash leaves, and where a pool may be.

mod crashes;
mod deletion;
mod disk;
mod log;
mod nasty;
mod places;
mod world;
