//! What a finished command left behind, and the assertion on how it ended.

use std::fmt;
use std::process::ExitStatus;

/// The result of a command that ran to its end.
#[must_use = "assert with .success() or .failure(), or look at the status"]
#[derive(Clone, Debug)]
pub struct Output {
    pub command: String,
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

/// What a command printed, once its success or failure was asserted.
#[derive(Clone, Debug)]
pub struct Printed {
    pub stdout: String,
    pub stderr: String,
}

impl Output {
    /// The output of a command that must have succeeded.
    ///
    /// # Panics
    /// With a full report, when it failed.
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

    /// The output of a command that must have failed.
    ///
    /// # Panics
    /// With a full report, when it succeeded.
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
