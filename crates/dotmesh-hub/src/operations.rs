//! What the hub does beyond a look-up, one file for each: routes call them, and nothing else does.

pub mod chain;
pub mod closure;
pub mod commit_graph;
pub mod describe_commit;
pub mod finish_upload;
pub mod frames;
pub mod moves;
pub mod receive_pack;
pub mod resolve;
pub mod resolve_ref;
pub mod sending;
pub mod serve_objects;
pub mod tree;
