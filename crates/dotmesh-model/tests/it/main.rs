//! Properties of the model, through the crate's public interface.

mod branch_names;
mod history;
mod launch;
mod names;
mod records;
mod revisions;
mod sizes;
