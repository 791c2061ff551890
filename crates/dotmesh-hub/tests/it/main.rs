//! The hub through its public surface: a real server, called by the client that everyone uses.

mod accounts;
mod branches;
mod capability;
mod cli;
mod damage;
mod full_disk;
mod limits;
mod push;
mod restart;
mod roles;
mod support;
