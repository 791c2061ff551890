//! Why a database cannot be read.

use std::io;

use crate::model::DatabaseKind;

/// A failure, in words for people.
#[derive(Debug, thiserror::Error)]
pub enum RowsError {
    /// The client program could not be run.
    #[error("cannot run the database's client: {0}")]
    Client(String),
    /// The client program, or the server through it, has failed.
    #[error("{message}")]
    Failed {
        /// What the program said.
        message: String,
    },
    /// The client's output is not of the expected form.
    #[error("{}'s client answers in a form that is not known: {what}", kind.name())]
    Output {
        /// The kind of database.
        kind: DatabaseKind,
        /// What was read.
        what: String,
    },
    /// The rows of a scan are not in the order of their keys.
    #[error("the rows do not come in the order of their keys")]
    Order,
    /// There is no such thing.
    #[error("there is no {0}")]
    Missing(String),
    /// Whoever asked has left, or the time is over.
    #[error("it was cancelled")]
    Cancelled,
    /// Reading or writing failed.
    #[error("{0}")]
    Io(io::Error),
}

impl From<io::Error> for RowsError {
    fn from(error: io::Error) -> Self {
        // A client's output ends with why the program failed.
        match error.downcast::<Self>() {
            Ok(own) => own,
            Err(error) => Self::Io(error),
        }
    }
}

impl From<RowsError> for io::Error {
    fn from(error: RowsError) -> Self {
        Self::other(error)
    }
}
