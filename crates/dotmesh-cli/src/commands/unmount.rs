//! `dm unmount`

use std::path::PathBuf;

use dotmesh_api::node::UnmountVolume;
use serde::Serialize;
use utoipa::ToSchema;

use super::mount::{absolute, text};
use crate::context::Context;
use crate::error::Result;
use crate::output::Human;
use crate::ui::Ui;

/// Remove a mount that 'dm mount' made
///
/// The folder stays, empty.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The folder that was given to 'dm mount'
    #[arg(value_name = "MOUNTPOINT")]
    mountpoint: PathBuf,
}

/// A folder where a dot was mounted.
#[derive(Debug, Serialize, ToSchema)]
pub struct Unmounted {
    /// The folder.
    #[schema(value_type = String)]
    pub place: PathBuf,
}

pub(super) async fn run(context: &Context, args: Args) -> Result<Unmounted> {
    let place = absolute(&args.mountpoint)?;
    let request = UnmountVolume {
        place: text(&place)?,
    };
    context.node()?.unmount(&request).await?;
    Ok(Unmounted { place })
}

impl Human for Unmounted {
    fn show(&self, ui: &Ui) -> Result<()> {
        ui.status(&format!("Unmounted {}", self.place.display()));
        Ok(())
    }
}
