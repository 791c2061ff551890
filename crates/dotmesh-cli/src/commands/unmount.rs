//! `dm unmount`

use std::path::PathBuf;

use dotmesh_api::node::UnmountVolume;

use super::mount::{absolute, text};
use crate::context::Context;
use crate::error::Result;

/// Remove a mount that 'dm mount' made
///
/// The folder stays, empty.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The folder that was given to 'dm mount'
    #[arg(value_name = "MOUNTPOINT")]
    mountpoint: PathBuf,
}

pub(super) async fn run(context: &Context, args: Args) -> Result<()> {
    let place = absolute(&args.mountpoint)?;
    let request = UnmountVolume {
        place: text(&place)?,
    };
    context.node()?.unmount(&request).await?;
    context.ui.status(&format!("Unmounted {}", place.display()));
    Ok(())
}
