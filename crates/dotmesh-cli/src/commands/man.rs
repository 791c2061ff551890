//! `dm man`: writes the man pages. For `make install` only.

use std::path::PathBuf;

use clap::CommandFactory as _;
use serde::Serialize;
use utoipa::ToSchema;

use crate::cli::Cli;
use crate::error::{CliError, Result};
use crate::output::Human;
use crate::ui::Ui;

/// Write the man pages into a folder
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The folder
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

/// The man pages.
#[derive(Debug, Serialize, ToSchema)]
pub struct Written {
    /// The folder that they are in.
    #[schema(value_type = String)]
    pub folder: PathBuf,
}

pub(super) fn run(args: Args) -> Result<Written> {
    let folder = args.folder;
    clap_mangen::generate_to(Cli::command(), &folder).map_err(|error| {
        CliError::io(format!("cannot write to {}", folder.display())).caused_by(error)
    })?;
    Ok(Written { folder })
}

impl Human for Written {
    fn show(&self, _: &Ui) -> Result<()> {
        Ok(())
    }
}
