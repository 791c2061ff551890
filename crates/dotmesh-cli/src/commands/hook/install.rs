//! `dm hook install`

use std::path::{Path, PathBuf};

use serde::Serialize;
use utoipa::ToSchema;

use super::{HookFile, script};
use crate::config::CurrentDot;
use crate::context::Context;
use crate::error::{CliError, Result};
use crate::output::Human;
use crate::ui::Ui;
use crate::{compose, current, git};

/// Make the dot change to the branch of the same name whenever git changes the branch
///
/// Adds lines to git's hook 'post-checkout'. A hook that you have keeps its own lines, and they run after these. All work trees
/// of the repository have the hook, unless core.hooksPath is a folder in the work tree.
///
/// The hook is about the app of this folder. Run it in the folder of each app if the repository has several.
///
/// Uncommitted changes of a dot stay on their branch, as with 'dm checkout'. If the dot has no branch of that name, the hook asks
/// whether to make it. In dotmesh.toml, on-new-branch = "fork" makes it without a question, and "ignore" does nothing. A fork stays
/// on its branch. During a rebase or a bisection the hook does nothing, and it never makes git's command fail.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// A hook of git that makes the dot follow git's branch.
#[derive(Debug, Serialize, ToSchema)]
pub struct Installed {
    /// The hook's file.
    #[schema(value_type = String)]
    pub file: PathBuf,
    /// The app's folder in the work tree. `.` is the top.
    pub folder: String,
    /// Whether the file was changed. Otherwise it had the lines already.
    pub changed: bool,
    /// What to know, as sentences.
    #[serde(skip)]
    pub hints: Vec<String>,
}

pub(super) async fn run(context: &Context, _: Args) -> Result<Installed> {
    let hook = HookFile::find().await?;
    let folder = match hook.is_shared {
        // Other repositories have other folders.
        true => ".".to_owned(),
        false => folder(&hook.here, &hook.folders.top)?,
    };
    let text = script::with(hook.text.as_deref(), &folder);
    let text = text.map_err(|problem| hook.refused(problem))?;
    let changed = hook.text.as_ref() != Some(&text);
    if changed {
        hook.confirm(context, "Add lines to the hook there?")
            .await?;
        hook.write(&text)?;
    }
    let mut hints = Vec::new();
    let is_versioned = hook.folders.hooks.starts_with(&hook.folders.top)
        && !hook.folders.hooks.starts_with(&hook.folders.common);
    if changed && is_versioned {
        hints.push(
            "The hook is in the work tree, so other work trees have it only once it is committed."
                .to_owned(),
        );
    }
    hints.extend(other_name(context, &hook.here).await);
    Ok(Installed {
        file: hook.path,
        folder,
        changed,
        hints,
    })
}

/// The app's folder below the top of the work tree.
fn folder(here: &Path, top: &Path) -> Result<String> {
    let top = top.canonicalize().unwrap_or_else(|_| top.to_owned());
    let app = compose::folder_around(here).filter(|app| app.starts_with(&top));
    let below = app.as_deref().and_then(|app| app.strip_prefix(&top).ok());
    let below = below.unwrap_or(Path::new(""));
    match below.to_str() {
        Some("") => Ok(".".to_owned()),
        Some(below) if !below.contains(['\n', '\r']) => Ok(below.to_owned()),
        _ => Err(CliError::usage(format!(
            "the hook cannot name the folder {}",
            below.display()
        ))
        .hint("Rename the folder: its path must be UTF-8 on one line.")),
    }
}

/// The hint for a dot whose first branch has another name than git's. Without a node there is none.
async fn other_name(context: &Context, here: &Path) -> Option<String> {
    let branch = git::branch(here).await?;
    let node = context.node().ok()?;
    let choice = current::choose(context, &node).await.ok()?;
    choice.folder()?;
    let (CurrentDot::Selected(dot), None) = (&choice.dot, &choice.branch) else {
        return None;
    };
    let detail = node.dot(dot).await.ok()?;
    let [only] = detail.branches.as_slice() else {
        return None;
    };
    let only = &only.name;
    (only.as_str() != branch).then(|| {
        format!("Git's branch here is {branch}, and the dot's only one is {only}. 'dm branch -m {only} {branch}' gives it git's name.")
    })
}

impl Human for Installed {
    fn show(&self, ui: &Ui) -> Result<()> {
        let file = self.file.display();
        ui.status(&match (self.changed, self.folder.as_str()) {
            (true, ".") => format!("Added to {file}: the dot follows git's branch"),
            (true, folder) => format!("Added to {file}: the dot of {folder} follows git's branch"),
            (false, _) => format!("{file} has the lines already"),
        });
        for hint in &self.hints {
            ui.hint(hint);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_app_may_be_below_the_top() {
        let top = tempfile::tempdir().expect("a folder");
        let top = top.path().canonicalize().expect("a path");
        let app = top.join("deploy");
        std::fs::create_dir_all(app.join("src")).expect("folders");
        assert_eq!(folder(&app.join("src"), &top).expect("a folder"), ".");
        std::fs::write(app.join("compose.yaml"), "").expect("a file");
        assert_eq!(folder(&app.join("src"), &top).expect("a folder"), "deploy");
        assert_eq!(folder(&top, &top).expect("a folder"), ".");
    }
}
