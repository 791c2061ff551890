//! The operations of the hub, one file each. Routes and pages call them. Periodic jobs, `dothub gc` and restores call
//! `collect_garbage`.

pub mod change_settings;
pub mod change_webhook;
pub mod collect_garbage;
pub mod commit_facts;
pub mod commit_graph;
pub mod complete_user;
mod connectivity;
pub mod create_branch;
pub mod create_tag;
pub mod create_webhook;
pub mod delete_branch;
pub mod delete_dot;
pub mod delete_tag;
pub mod deliver_again;
pub mod describe_commit;
pub mod finish_upload;
pub mod fork_dot;
mod frames;
pub mod grant_access;
pub mod objects_of_dot;
pub mod offer_dot;
mod packer;
pub mod protect_branch;
pub mod receive_pack;
pub mod rename_dot;
mod resolve_deltas;
pub mod resolve_ref;
pub mod restore_dot;
mod room_for_text;
pub mod search;
pub mod sending;
pub mod serve_objects;
pub mod size_history;
pub mod take_dot;
pub mod write_note;
