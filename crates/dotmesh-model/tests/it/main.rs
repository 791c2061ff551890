//! The model's properties, through its public surface.

mod history;
mod names;
mod records;
mod revisions;
mod sizes;
