//! `dm mount`

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use dotmesh_api::node::MountVolume;
use dotmesh_model::VolumeName;

use crate::context::Context;
use crate::error::{CliError, Result};

/// Link a dot's folder to a place of your choice, for programs outside containers
///
/// The link leads to the branch that is checked out now, or to the one named after '@'; run it again after a checkout.
/// Only a link that it made itself is replaced.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The dot, and what of it
    #[arg(value_name = "DOT[@BRANCH][.SUBDOT]")]
    volume: VolumeName,

    /// Where the link is made
    #[arg(value_name = "MOUNTPOINT")]
    mountpoint: PathBuf,

    /// Make the dot if there is none
    #[arg(short = 'r', long)]
    create: bool,
}

/// Runs it.
pub(super) async fn run(context: &Context, args: Args) -> Result<()> {
    let request = MountVolume {
        volume: args.volume.to_string(),
        create: args.create,
    };
    let dot = &args.volume.dot;
    let mounted = context.node()?.mount(&request).await.map_err(|error| {
        let error = CliError::from(error);
        if error.is_not_found() && !args.create && args.volume.pinned.is_none() {
            CliError::failed(format!("Dot {dot} does not exist."))
                .hint("If you want to create it - use the '--create' flag")
        } else {
            error
        }
    })?;
    let folder = Path::new(&mounted.path);
    let (name, place) = (dot.full(), args.mountpoint.display());
    context
        .ui
        .status(&format!("procured dot: {name} into {}", folder.display()));
    link(folder, &args.mountpoint)?;
    context.ui.status(&format!(
        "symlinked dot: {name} from {} to {place}",
        folder.display()
    ));
    Ok(())
}

/// Makes `place` a symbolic link to `folder`, in one step, unless there is something that is not ours.
pub fn link(folder: &Path, place: &Path) -> Result<()> {
    match place.symlink_metadata() {
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(failed(place, error)),
        Ok(_) if is_ours(folder, place) => {}
        Ok(_) => {
            let message = format!("{} exists and is no link to a dot", place.display());
            return Err(CliError::failed(message).hint("Remove it, or choose another place."));
        }
    }
    let parent = place
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    // Made beside the place and renamed over it, so that a link is there all the time.
    tempfile::Builder::new()
        .prefix(".dm-mount-")
        .make_in(parent.unwrap_or(Path::new(".")), |path| {
            std::os::unix::fs::symlink(folder, path)
        })
        .map_err(|error| failed(place, error))?
        .into_temp_path()
        .persist(place)
        .map_err(|error| failed(place, error.error))
}

/// Whether a link leads to the folder, or to another one of the same node's dots.
fn is_ours(folder: &Path, place: &Path) -> bool {
    let Ok(target) = std::fs::read_link(place) else {
        return false;
    };
    target == folder || dots_folder(folder).is_some_and(|dots| target.starts_with(dots))
}

/// The folder of all dots: `…/dots` of `…/dots/NAMESPACE/DOT/branches/…`.
fn dots_folder(folder: &Path) -> Option<&Path> {
    let is_dots = |path: &&Path| path.file_name().is_some_and(|name| name == "branches");
    let dots = folder.ancestors().find(is_dots)?.ancestors().nth(3)?;
    dots.ends_with("dots").then_some(dots)
}

fn failed(place: &Path, error: std::io::Error) -> CliError {
    CliError::failed(format!("cannot make a link at {}", place.display())).caused_by(error)
}
