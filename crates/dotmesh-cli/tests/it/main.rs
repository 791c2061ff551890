//! The tests of `dm` that need no node: the rendered output, the config file, and the program where nothing answers.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod binary;
mod checks;
mod config;
mod daily;
mod examples;
mod fork_examples;
mod given;
mod hubs;
mod json;
mod messages;
mod operations;
mod programs;
mod reference;
mod rendering;
mod row_examples;
mod start;
