//! Gets the code of an app from the repository that a commit records.
//!
//! Another user wrote the record, so its address may be hostile: only addresses that make git open a connection over HTTPS or
//! SSH are taken, and git runs no hook, no submodule command and no other transport.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use dotmesh_model::{CodeAddress, CodeVersion};
use tokio::process::Command;

use crate::error::{CliError, Code, Result};
use crate::git;

/// The code of a commit, and where it is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkout {
    /// The repository.
    pub repository: String,
    /// The id of git's commit.
    pub commit: String,
    /// The folder.
    pub folder: PathBuf,
    /// The machine that git asks for it. `None` if it is here.
    pub host: Option<String>,
}

/// Where the code is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InPlace {
    /// The top folder of the work tree.
    pub folder: PathBuf,
    /// Whether it was cloned just now.
    pub is_new: bool,
}

impl Checkout {
    /// The code of a record. `folder` is the user's choice. By default it is the work tree around `here`, if that has the
    /// same repository and commit, else a new folder in `here`.
    pub async fn plan(code: &CodeVersion, folder: Option<&Path>, here: &Path) -> Result<Self> {
        let refused = |problem: String| {
            CliError::new(Code::Refused, problem).hint(
                "Get the code yourself, and run 'dm run' again in its folder or with --folder FOLDER.",
            )
        };
        let is_id = code.commit.len() >= 40 && code.commit.bytes().all(|b| b.is_ascii_hexdigit());
        if !is_id {
            return Err(refused(format!("'{}' is no commit of git", code.commit)));
        }
        let Some(remote) = code.remote.as_deref() else {
            return Err(refused(
                "the state records no address of its code's repository".to_owned(),
            ));
        };
        let around = git::work_tree(here);
        let chosen = folder.map(Path::to_owned);
        for known in chosen.iter().chain(around.iter()) {
            if known.join(".git").exists() && is_at(known, code).await {
                return Ok(Self {
                    repository: remote.to_owned(),
                    commit: code.commit.clone(),
                    folder: known.clone(),
                    host: None,
                });
            }
        }
        let address = remote.parse::<CodeAddress>();
        let address = address.map_err(refused)?;
        let short = code.commit.get(..7).unwrap_or(&code.commit);
        let name = dotmesh_model::launch::cloned_folder(remote).unwrap_or("app");
        let folder = chosen.unwrap_or_else(|| here.join(format!("{name}-{short}")));
        let is_here = folder.join(".git").exists();
        Ok(Self {
            repository: address.to_string(),
            commit: code.commit.clone(),
            host: (!is_here).then(|| address.host().to_owned()),
            folder,
        })
    }

    /// Gets the code unless it is there. An interrupted clone leaves nothing.
    pub async fn get(&self) -> Result<InPlace> {
        let folder = &self.folder;
        if folder.join(".git").exists() {
            let head = ask(folder, &["rev-parse", "HEAD"]).await?;
            if String::from_utf8_lossy(&head.stdout).trim() == self.commit {
                return Ok(InPlace {
                    folder: folder.clone(),
                    is_new: false,
                });
            }
            return Err(taken(folder, "is at another commit"));
        }
        let is_empty = |folder: &Path| {
            folder
                .read_dir()
                .is_ok_and(|mut read| read.next().is_none())
        };
        if folder.exists() && !is_empty(folder) {
            return Err(taken(folder, "has other files"));
        }
        let absolute = std::path::absolute(folder)
            .map_err(|error| CliError::io("the current folder was deleted").caused_by(error))?;
        let parent = absolute.parent().unwrap_or(Path::new("/"));
        let cannot = |error: std::io::Error| {
            CliError::io(format!("cannot make a folder in {}", parent.display())).caused_by(error)
        };
        std::fs::create_dir_all(parent).map_err(cannot)?;
        let partial = tempfile::Builder::new()
            .prefix(".dm-run-")
            .tempdir_in(parent)
            .map_err(cannot)?;
        self.clone_into(partial.path()).await?;
        if folder.exists() {
            // It is empty.
            std::fs::remove_dir(folder).map_err(cannot)?;
        }
        let cloned = partial.keep();
        std::fs::rename(&cloned, &absolute).map_err(cannot)?;
        set_usual_mode(&absolute);
        Ok(InPlace {
            folder: folder.clone(),
            is_new: true,
        })
    }

    async fn clone_into(&self, folder: &Path) -> Result<()> {
        let address = self.repository.as_str();
        let words = [
            "clone",
            "--quiet",
            "--no-checkout",
            "--no-recurse-submodules",
            "--",
            address,
            ".",
        ];
        let cloned = ask(folder, &words).await?;
        if !cloned.status.success() {
            return Err(failed(&format!("git cannot clone {address}"), &cloned)
                .hint("Check that you may read the repository, and the network."));
        }
        let checkout = [
            "checkout",
            "--quiet",
            "--detach",
            self.commit.as_str(),
            "--",
        ];
        if ask(folder, &checkout).await?.status.success() {
            return Ok(());
        }
        // No branch leads to it. Many servers give it by its id all the same.
        let fetched = ask(folder, &["fetch", "--quiet", "origin", &self.commit]).await?;
        let checked_out = ask(folder, &checkout).await?;
        if checked_out.status.success() {
            return Ok(());
        }
        let said = if fetched.status.success() {
            &checked_out
        } else {
            &fetched
        };
        let what = format!("{address} does not have the commit {}", self.commit);
        Err(failed(&what, said).hint("The author of the state may not have pushed the code yet."))
    }
}

fn taken(folder: &Path, why: &str) -> CliError {
    let folder = folder.display();
    CliError::new(
        Code::Refused,
        format!("the code belongs in {folder}, which {why}"),
    )
    .hint("Choose another folder with --folder FOLDER.")
}

fn failed(what: &str, output: &Output) -> CliError {
    let said = String::from_utf8_lossy(&output.stderr);
    let said = said.trim();
    match said.is_empty() {
        true => CliError::io(what),
        false => CliError::io(format!("{what}: {said}")),
    }
}

/// Whether a work tree has the commit checked out, of the same repository.
async fn is_at(folder: &Path, code: &CodeVersion) -> bool {
    let here = git::ask(folder, None).await.code;
    here.is_some_and(|here| here.commit == code.commit && here.remote == code.remote)
}

/// `tempfile` makes folders that only their owner may read.
fn set_usual_mode(folder: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = std::fs::Permissions::from_mode(0o755);
    // Without it, programs of other users cannot read the code. The app itself may not need that.
    let _ = std::fs::set_permissions(folder, mode);
}

/// Runs git. Hooks, submodules and other transports than HTTPS and SSH are off.
async fn ask(folder: &Path, arguments: &[&str]) -> Result<Output> {
    let mut git = Command::new("git");
    git.args(["-c", "core.hooksPath=/dev/null"])
        .args(["-c", "submodule.recurse=false"])
        .args(["-c", "core.fsmonitor=false"])
        .args(arguments)
        .current_dir(folder)
        .env("GIT_ALLOW_PROTOCOL", "https:ssh")
        .env_remove("GIT_DIR")
        .env_remove("GIT_WORK_TREE")
        .stdin(Stdio::inherit())
        .kill_on_drop(true);
    git.output()
        .await
        .map_err(|error| CliError::io("cannot run git").caused_by(error))
}
