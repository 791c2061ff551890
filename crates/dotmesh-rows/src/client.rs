//! How an adapter runs the client program of a database.

use std::io::Read;

use crate::error::RowsError;

/// A program to run beside the database's server.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Run {
    /// The program and its arguments.
    pub command: Vec<String>,
    /// Variables of its environment.
    pub environment: Vec<(String, String)>,
    /// Its standard input.
    pub input: Vec<u8>,
}

impl Run {
    /// A program with its arguments.
    pub fn new<T: Into<String>>(command: impl IntoIterator<Item = T>) -> Self {
        Self {
            command: command.into_iter().map(Into::into).collect(),
            ..Self::default()
        }
    }

    /// Sets a variable.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.environment.push((name.to_owned(), value.into()));
        self
    }

    /// For a program that a person types at. The terminal understands no commands, since what is in a database could be some.
    #[must_use]
    pub(crate) fn on_terminal(mut self) -> Self {
        self.environment.retain(|(name, _)| name != "LC_ALL");
        self.with("TERM", "dumb").with("LC_ALL", "C.UTF-8")
    }

    /// Sets the standard input.
    #[must_use]
    pub fn input(mut self, input: impl Into<Vec<u8>>) -> Self {
        self.input = input.into();
        self
    }
}

/// Runs programs where the database's server runs.
pub trait Client: Send + Sync {
    /// Runs a program, and returns its standard output as it comes. The output ends with an error if the program fails.
    fn run(&self, run: Run) -> Result<Box<dyn Read + Send>, RowsError>;
}

/// Runs a program, and returns its whole output, up to a limit.
pub(crate) fn whole(client: &dyn Client, run: Run) -> Result<Vec<u8>, RowsError> {
    const MOST: u64 = 64 << 20;
    let mut output = Vec::new();
    client.run(run)?.take(MOST).read_to_end(&mut output)?;
    if output.len() as u64 == MOST {
        return Err(RowsError::Failed {
            message: "the description of the database is larger than 64 MiB".to_owned(),
        });
    }
    Ok(output)
}
