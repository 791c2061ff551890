//! The model's properties, through its public surface.

mod branch_names;
mod history;
mod launch;
mod names;
mod records;
mod revisions;
mod sizes;
