//! Tests of the pool through its public interface, on real btrfs.

mod crashes;
mod deletion;
mod disk;
mod imports;
mod log;
mod nasty;
mod places;
mod world;
