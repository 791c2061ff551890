//! What a node can do: one operation, one file.

pub(crate) mod checkout;
pub(crate) mod commit;
pub(crate) mod create_dot;
pub(crate) mod delete_dot;
pub(crate) mod housekeeping;
pub(crate) mod list;
pub(crate) mod log;
pub(crate) mod mount;
pub(crate) mod pull;
pub(crate) mod push;
pub(crate) mod reconcile;
pub(crate) mod recover;
pub(crate) mod reset;
pub(crate) mod show;
pub(crate) mod switch;
pub(crate) mod transfer;
pub(crate) mod volume;
