//! The output and exit status of a finished command, and assertions on them.

use std::fmt;
use std::process::ExitStatus;

/// The result of a finished command.
#[must_use = "assert with .success() or .failure(), or look at the status"]
#[derive(Clone, Debug)]
pub struct Output {
    pub command: String,
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

/// The output of a command whose success or failure was asserted.
#[derive(Clone, Debug)]
pub struct Printed {
    pub stdout: String,
    pub stderr: String,
}

impl Output {
    /// Returns the output of a command that must have succeeded.
    ///
    /// # Panics
    /// Panics with a full report if it failed.
    #[track_caller]
    pub fn success(self) -> Printed {
        assert!(
            self.status.success(),
            "this command should have succeeded\n{self}"
        );
        Printed {
            stdout: self.stdout,
            stderr: self.stderr,
        }
    }

    /// Returns the output of a command that must have failed.
    ///
    /// # Panics
    /// Panics with a full report if it succeeded.
    #[track_caller]
    pub fn failure(self) -> Printed {
        assert!(
            !self.status.success(),
            "this command should have failed\n{self}"
        );
        Printed {
            stdout: self.stdout,
            stderr: self.stderr,
        }
    }
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "$ {}\n{}", self.command, self.status)?;
        for (name, text) in [("stdout", &self.stdout), ("stderr", &self.stderr)] {
            writeln!(f, "--- {name}\n{}", text.trim_end())?;
        }
        Ok(())
    }
}
