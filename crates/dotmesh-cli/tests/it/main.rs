//! The tests of `dm` that need no node: what is rendered, what is kept, and the program itself where nothing answers.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod binary;
mod config;
mod daily;
mod given;
mod hubs;
mod messages;
mod operations;
mod reference;
mod rendering;
mod start;
