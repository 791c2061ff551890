//! `dm hook`

pub mod install;
pub mod post_checkout;
mod script;
pub mod uninstall;

use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use clap::Subcommand;

use crate::context::Context;
use crate::error::{CliError, Code, Result};
use crate::git::{self, Folders};
use crate::output::{Answer, answer};
use crate::place;
use script::Problem;

/// The hook that git runs after it has changed the branch.
const NAME: &str = "post-checkout";

/// Make the dot follow git's branch, or stop that
#[derive(Debug, Subcommand)]
pub enum Command {
    Install(install::Args),
    Uninstall(uninstall::Args),
    #[command(hide = true)]
    PostCheckout(post_checkout::Args),
}

pub(super) async fn run(context: &Context, command: Command) -> Result<Answer> {
    match command {
        Command::Install(args) => install::run(context, args).await.map(answer),
        Command::Uninstall(args) => uninstall::run(context, args).await.map(answer),
        Command::PostCheckout(args) => post_checkout::run(context, args).await.map(answer),
    }
}

/// The file of the hook, and where it belongs.
struct HookFile {
    /// The folder that `dm` runs in.
    here: PathBuf,
    folders: Folders,
    path: PathBuf,
    /// Its text. `None` if there is no such file.
    text: Option<String>,
    /// Whether other repositories use the folder of hooks, too.
    is_shared: bool,
}

impl HookFile {
    /// Finds it for the work tree that `dm` runs in. It must be a shell script that git runs, if it exists.
    async fn find() -> Result<Self> {
        let here = place::here().ok_or_else(|| CliError::io("the current folder was deleted"))?;
        let folders = git::folders(&here).await?;
        let hooks = &folders.hooks;
        if hooks.exists() && !hooks.is_dir() {
            let problem = format!(
                "git's hooks belong in {}, which is no folder",
                hooks.display()
            );
            return Err(CliError::new(Code::Refused, problem)
                .hint("'git config --show-origin core.hooksPath' shows where that is set."));
        }
        let path = hooks.join(NAME);
        let text = read(&path)?;
        let mut own = vec![folders.common.clone(), folders.top.clone()];
        own.extend(git::work_trees(&here).await);
        let place = existing(hooks);
        let is_own = |folder: &PathBuf| {
            let folder = folder.canonicalize();
            folder.is_ok_and(|folder| place.starts_with(folder))
        };
        Ok(Self {
            is_shared: !own.iter().any(is_own),
            here,
            folders,
            path,
            text,
        })
    }

    /// Asks if the change is one for other repositories, too.
    async fn confirm(&self, context: &Context, what: &str) -> Result<()> {
        if !self.is_shared {
            return Ok(());
        }
        let hooks = self.folders.hooks.display();
        context.ui.warning(&format!(
            "core.hooksPath is {hooks}, which is outside of this repository, so other repositories may use these hooks, too"
        ));
        context.ui.confirm(what).await
    }

    /// The error for a text that `dm` cannot change.
    fn refused(&self, problem: Problem) -> CliError {
        let path = self.path.display();
        match problem {
            Problem::Torn => CliError::new(
                Code::Refused,
                format!("{path} has only a part of the lines that 'dm hook install' adds"),
            )
            .hint("Remove them from the file, and run 'dm hook install' again."),
            Problem::NotShell => not_addable(&self.path, "is no shell script"),
        }
    }

    /// Replaces the file in one step, so git never runs half of it.
    fn write(&self, text: &str) -> Result<()> {
        let hooks = &self.folders.hooks;
        let cannot = |error: std::io::Error| {
            CliError::io(format!("cannot write {}", self.path.display())).caused_by(error)
        };
        std::fs::create_dir_all(hooks).map_err(cannot)?;
        let mut file = tempfile::NamedTempFile::new_in(hooks).map_err(cannot)?;
        file.write_all(text.as_bytes()).map_err(cannot)?;
        let before = std::fs::metadata(&self.path).ok();
        let mode = before
            .as_ref()
            .map_or(0o755, |before| before.mode() & 0o7777);
        let mode = std::fs::Permissions::from_mode(mode);
        if let Some(before) = before {
            // Root may write the hook of somebody else.
            let owner = (Some(before.uid()), Some(before.gid()));
            let _ = std::os::unix::fs::chown(file.path(), owner.0, owner.1);
        }
        file.as_file().set_permissions(mode).map_err(cannot)?;
        file.as_file().sync_all().map_err(cannot)?;
        file.persist(&self.path)
            .map(drop)
            .map_err(|error| cannot(error.error))
    }
}

/// The text of a hook that `dm` can add lines to.
fn read(path: &Path) -> Result<Option<String>> {
    let cannot = |error: std::io::Error| {
        CliError::io(format!("cannot read {}", path.display())).caused_by(error)
    };
    let found = match path.symlink_metadata() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        found => found.map_err(cannot)?,
    };
    if !found.is_file() {
        return Err(not_addable(path, "is no file but a link or the like"));
    }
    if found.mode() & 0o111 == 0 {
        return Err(not_addable(path, "is not executable, so git ignores it"));
    }
    let bytes = std::fs::read(path).map_err(cannot)?;
    let text = String::from_utf8(bytes);
    text.map(Some)
        .map_err(|_| not_addable(path, "is no shell script"))
}

/// The error for a hook of the user's that `dm` leaves alone.
fn not_addable(path: &Path, why: &str) -> CliError {
    CliError::new(
        Code::Refused,
        format!("{} {why}, so it was left as it is", path.display()),
    )
    .hint("Make a shell script of it, or have it run 'dm hook post-checkout .' when its third argument is 1.")
}

/// The nearest folder of a path that exists, without symbolic links.
fn existing(path: &Path) -> PathBuf {
    let mut found = path.ancestors().filter_map(|path| path.canonicalize().ok());
    found.next().unwrap_or_else(|| path.to_owned())
}
