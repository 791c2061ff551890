//! The result of a command: a typed value, which is printed as JSON or as text for people.

use serde::Serialize;
use utoipa::ToSchema;

use crate::error::{CliError, Result};
use crate::ui::Ui;

/// How people read a result.
pub trait Human {
    /// Prints it: data to stdout, messages to stderr.
    fn show(&self, ui: &Ui) -> Result<()>;

    /// What is wrong although the command did its work. Its exit code is that of the command.
    fn failure(&self) -> Option<CliError> {
        None
    }
}

/// A result for people and for programs. Each has a schema, which `docs/cli-json.md` shows.
pub trait Output: Human {
    /// The JSON document for `--json`.
    fn json(&self) -> serde_json::Result<String>;
}

impl<T: Human + Serialize + ToSchema> Output for T {
    fn json(&self) -> serde_json::Result<String> {
        serde_json::to_string_pretty(self)
    }
}

/// The result of any command.
pub type Answer = Box<dyn Output>;

/// Makes a command's result one of any command.
pub fn answer(output: impl Output + 'static) -> Answer {
    Box::new(output)
}
