//! The tests of `dm` that need no node: what is rendered, what is kept, and the program itself where nothing answers.

mod binary;
mod config;
mod given;
mod messages;
mod reference;
mod rendering;
