//! `dm mount`

use dotmesh_api::ErrorCode;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use dotmesh_api::node::MountVolume;
use dotmesh_model::{BranchName, VolumeName};
use serde::Serialize;
use utoipa::ToSchema;

use crate::context::Context;
use crate::dot_word;
use crate::error::{CliError, Result};
use crate::output::Human;
use crate::ui::Ui;

/// Mount a dot's folder at a place of your choice, for programs outside containers
///
/// The mount shows the branch that is checked out, and follows each checkout and reset. With '@BRANCH' it always shows that
/// branch. After a checkout, files that a program still has open are those of the previous branch. 'dm unmount' removes the
/// mount.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The dot, and the branch or subdot of it to mount
    #[arg(value_name = "DOT[@BRANCH][.SUBDOT]")]
    volume: VolumeName,

    /// An empty folder, which is created if it does not exist
    #[arg(value_name = "MOUNTPOINT")]
    mountpoint: PathBuf,

    /// Create the dot and the subdot if they do not exist
    #[arg(short = 'r', long)]
    create: bool,
}

/// A mounted dot.
#[derive(Debug, Serialize, ToSchema)]
pub struct Mounted {
    /// The dot, with the branch or subdot of it that was named.
    pub volume: String,
    /// The folder.
    #[schema(value_type = String)]
    pub place: PathBuf,
    /// The branch that is shown.
    pub branch: BranchName,
}

pub(super) async fn run(context: &Context, args: Args) -> Result<Mounted> {
    prepare(&args.mountpoint)?;
    let place = absolute(&args.mountpoint)?;
    let request = MountVolume {
        volume: args.volume.to_string(),
        place: text(&place)?,
        create: args.create,
    };
    let dot = &args.volume.dot;
    let mounted = match context
        .node()?
        .mount(&request)
        .await
        .map_err(CliError::from)
    {
        Err(error) if error.is_not_found() && error.message() == format!("No such dot '{dot}'") => {
            return Err(no_dot(context, &args, &place).await);
        }
        mounted => mounted?,
    };
    Ok(Mounted {
        volume: args.volume.to_string(),
        place,
        branch: mounted.branch,
    })
}

impl Human for Mounted {
    fn show(&self, ui: &Ui) -> Result<()> {
        let (volume, place) = (&self.volume, self.place.display());
        let branch = &self.branch;
        ui.status(&format!("Mounted {volume} at {place}, on branch {branch}"));
        Ok(())
    }
}

/// The error for a missing dot. If the name is a branch of the current dot, it suggests `DOT@BRANCH`.
async fn no_dot(context: &Context, args: &Args, place: &Path) -> CliError {
    let Some((dot, branch)) = dot_word::branch_of_current(context, &args.volume.to_string()).await
    else {
        return CliError::new(
            ErrorCode::NotFound,
            format!("Dot {} does not exist.", args.volume.dot),
        )
        .hint("To create it, use --create.");
    };
    let volume = format!("{dot}@{}", branch.spelling());
    let place = place.display().to_string();
    let command = dot_word::try_this(&["dm", "mount", &volume, &place]);
    dot_word::is_branch(&dot, &branch, &command)
}

/// Creates the folder. Replaces a symbolic link into the pool, which earlier versions made there.
pub fn prepare(place: &Path) -> Result<()> {
    let failed = |error| {
        CliError::io(format!("cannot make the folder {}", place.display())).caused_by(error)
    };
    match place.symlink_metadata() {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            std::fs::create_dir(place).map_err(failed)
        }
        Err(error) => Err(failed(error)),
        Ok(found) if found.is_symlink() && leads_into_a_pool(place) => {
            std::fs::remove_file(place).map_err(failed)?;
            std::fs::create_dir(place).map_err(failed)
        }
        Ok(found) if found.is_dir() => Ok(()),
        Ok(_) => {
            let message = format!("{} exists, but is not a folder", place.display());
            Err(CliError::new(ErrorCode::Exists, message)
                .hint("Remove it, or choose another place."))
        }
    }
}

/// Whether a link leads to `…/dots/NAMESPACE/DOT/branches/…`.
fn leads_into_a_pool(place: &Path) -> bool {
    let is_branches = |path: &&Path| path.file_name().is_some_and(|name| name == "branches");
    std::fs::read_link(place).is_ok_and(|target| {
        let dots = target.ancestors().find(is_branches);
        dots.and_then(|path| path.ancestors().nth(3))
            .is_some_and(|dots| dots.ends_with("dots"))
    })
}

/// The absolute path without symbolic links, as the node needs it.
pub(super) fn absolute(place: &Path) -> Result<PathBuf> {
    place
        .canonicalize()
        .map_err(|error| CliError::io(format!("cannot find {}", place.display())).caused_by(error))
}

pub(super) fn text(place: &Path) -> Result<String> {
    let text = place.to_str().map(str::to_owned);
    text.ok_or_else(|| CliError::usage("the mount point's path is not valid UTF-8"))
}
