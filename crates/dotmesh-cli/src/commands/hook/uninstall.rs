//! `dm hook uninstall`

use std::path::PathBuf;

use serde::Serialize;
use utoipa::ToSchema;

use super::{HookFile, script};
use crate::context::Context;
use crate::error::{CliError, Result};
use crate::output::Human;
use crate::ui::Ui;

/// Remove the lines that 'dm hook install' added to git's hook
///
/// The other lines of the hook stay. If there are none, the file is deleted.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// A hook of git without the lines of `dm`.
#[derive(Debug, Serialize, ToSchema)]
pub struct Uninstalled {
    /// The hook's file.
    #[schema(value_type = String)]
    pub file: PathBuf,
    /// Whether the file had the lines.
    pub changed: bool,
}

pub(super) async fn run(context: &Context, _: Args) -> Result<Uninstalled> {
    let hook = HookFile::find().await?;
    let left = match &hook.text {
        Some(text) => script::without(text).map_err(|problem| hook.refused(problem))?,
        None => None,
    };
    let changed = left.is_some();
    if let Some(left) = left {
        hook.confirm(context, "Remove lines from the hook there?")
            .await?;
        match left.is_empty() {
            true => std::fs::remove_file(&hook.path).map_err(|error| {
                CliError::io(format!("cannot delete {}", hook.path.display())).caused_by(error)
            })?,
            false => hook.write(&left)?,
        }
    }
    Ok(Uninstalled {
        file: hook.path,
        changed,
    })
}

impl Human for Uninstalled {
    fn show(&self, ui: &Ui) -> Result<()> {
        let file = self.file.display();
        ui.status(&match self.changed {
            true => format!("Removed from {file}: the dot no longer follows git's branch"),
            false => format!("{file} has no lines of dm"),
        });
        Ok(())
    }
}
