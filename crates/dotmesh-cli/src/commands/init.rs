//! `dm init`

use std::path::PathBuf;

use dotmesh_model::DotName;
use serde::Serialize;
use utoipa::ToSchema;

use crate::context::Context;
use crate::error::Result;
use crate::output::Human;
use crate::ui::Ui;

/// Make an empty dot and select it
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The new dot's name
    #[arg(value_name = "DOT")]
    dot: DotName,
}

/// A new dot.
#[derive(Debug, Serialize, ToSchema)]
pub struct Made {
    /// The dot.
    pub dot: DotName,
    /// The folder for which the dot is the current one. `null` means all folders without a choice of their own.
    #[schema(value_type = Option<String>)]
    pub place: Option<PathBuf>,
}

pub(super) async fn run(context: &Context, args: Args) -> Result<Made> {
    let dot = args.dot;
    context.node()?.create_dot(&dot).await?;
    let place = context.select(&dot)?;
    Ok(Made { dot, place })
}

impl Human for Made {
    fn show(&self, ui: &Ui) -> Result<()> {
        ui.status(&format!("Made dot '{}' and selected it", self.dot));
        Ok(())
    }
}
