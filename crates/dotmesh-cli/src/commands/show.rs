//! `dm show`

use std::collections::BTreeMap;
use std::fmt::Write as _;

use dotmesh_api::NodeClient;
use dotmesh_api::node::{Diff, Log, LogQuery, Source};
use dotmesh_model::{BranchName, CommitId, CommitRecord, DotName, ImageUse};
use jiff::tz::TimeZone;
use serde::Serialize;
use utoipa::ToSchema;

use super::{diff, log};
use crate::context::Context;
use crate::dot_word;
use crate::error::{CliError, Code, Result};
use crate::output::Human;
use crate::paint;
use crate::ui::Ui;

/// Show a commit: its whole record, and what changed in each subdot
///
/// The record has the author, the message, the containers with their images and mounts, the Compose project, and the version
/// of the code. The changes are against the commit before it: 'dm diff REV^ REV' shows them line by line. Of each subdot, the
/// first 20 files are listed, and all with --name-status.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The commit: HEAD~2, a branch, a tag, a commit's id or its first digits [default: HEAD]
    #[arg(value_name = "REV")]
    revision: Option<String>,

    /// Show the record only
    #[arg(short = 's', long)]
    no_patch: bool,

    /// Show a letter and the path of each changed file: A for added, D for removed, M for modified, R for moved
    #[arg(long, conflicts_with = "no_patch")]
    name_status: bool,
}

/// A commit.
#[derive(Debug, Serialize, ToSchema)]
pub struct Shown {
    /// The dot.
    pub dot: DotName,
    /// The whole record.
    pub commit: CommitRecord,
    /// The branches whose newest commit it is.
    pub branches: Vec<BranchName>,
    /// Its tags.
    pub tags: Vec<BranchName>,
    /// Where its data is, if not here.
    pub absent: Option<Source>,
    /// The changes since the parent commit. `null` if they are not wanted, or cannot be computed.
    pub changes: Option<Diff>,
    /// Whether the changes cannot be computed, because data is on a hub only.
    pub changes_absent: bool,
    /// What else is known of it here.
    #[serde(skip)]
    pub log: Log,
    /// Whether people read a letter and a path for each file.
    #[serde(skip)]
    pub name_status: bool,
}

pub(super) async fn run(context: &Context, args: Args) -> Result<Shown> {
    let revision = args.revision.as_deref();
    let found = context
        .on_current_dot(async |node, dot| find(node, dot, &args).await)
        .await;
    dot_word::unless_dot(context, found, revision, "dm switch DOT && dm show").await
}

impl Human for Shown {
    fn show(&self, ui: &Ui) -> Result<()> {
        let mut text = record(&self.log, &self.commit, &TimeZone::system());
        let changes = self.changes.as_ref();
        if let Some(changes) = changes.filter(|diff| !diff.changes.is_empty()) {
            text.push('\n');
            text.push_str(&if self.name_status {
                diff::name_status(changes)
            } else {
                diff::by_subdot(changes)
            });
        }
        ui.page(&text, paint::log)?;
        if let Some(changes) = changes {
            if changes.more > 0 {
                ui.warning(&format!("{} more files changed", changes.more));
            }
            if !self.name_status && diff::is_cut(changes) {
                let id = self.commit.id.short();
                ui.hint(&format!("'dm show --name-status {id}' lists all files."));
            }
        }
        if self.changes_absent {
            let id = self.commit.id.short();
            ui.status("The changes are not shown: the data of the commit, or of the one before it, is not here.");
            ui.hint(&format!("'dm diff {id}^ {id}' fetches it, and shows them."));
        }
        Ok(())
    }
}

async fn find(node: &NodeClient, dot: &DotName, args: &Args) -> Result<Shown> {
    let log = node
        .log(dot, &LogQuery::one(args.revision.as_deref()))
        .await?;
    let Some(commit) = log.commits.first().cloned() else {
        let error = CliError::new(Code::NoCommits, "There are no commits yet.");
        return Err(error.hint("Make one with 'dm commit -m MESSAGE'."));
    };
    let query = [
        ("from", commit.parent.to_string()),
        ("to", commit.id.to_string()),
    ];
    let (changes, changes_absent) = match args.no_patch {
        true => (None, false),
        false => match node.diff(dot, &query).await.map_err(CliError::from) {
            Ok(diff) => (Some(diff), false),
            // Showing a commit must not cause a large download.
            Err(error) if error.is_absent() => (None, true),
            Err(error) => return Err(error),
        },
    };
    let at = |names: &BTreeMap<BranchName, CommitId>| {
        let here = names.iter().filter(|(_, id)| **id == commit.id);
        here.map(|(name, _)| name.clone()).collect()
    };
    Ok(Shown {
        dot: dot.clone(),
        branches: at(&log.branches),
        tags: at(&log.tags),
        absent: log.absent.get(&commit.id).cloned(),
        changes,
        changes_absent,
        commit,
        log,
        name_status: args.name_status,
    })
}

/// The full record of a commit.
pub fn record(log: &Log, commit: &CommitRecord, zone: &TimeZone) -> String {
    let mut fields = log::Fields::default();
    if commit.parent != CommitId::ROOT {
        fields.push("parent", &commit.parent.to_string());
    }
    fields.push("author", &commit.author);
    fields.push("date", &log::date(commit, zone));
    fields.push("branch", commit.branch.as_str());
    if let Some(dot) = &commit.dot {
        fields.push("dot", &dot.to_string());
    }
    for (key, value) in &commit.metadata {
        fields.push(key, value);
    }
    for project in projects(commit) {
        fields.push("project", &project);
    }
    for image in &commit.images {
        fields.push("image", &describe(image));
    }
    if let Some(code) = &commit.code {
        let tree = code.work_tree.iter().map(|tree| format!("\nin {tree}"));
        fields.push("code", &(log::describe(code) + &tree.collect::<String>()));
    }
    fields.push_places(log, commit.id);
    format!(
        "commit {}{}\n{}\n{}",
        commit.id,
        log::names(log, commit.id),
        fields.0,
        log::indented(&commit.message)
    )
}

/// The Compose projects that used the dot, without duplicates.
fn projects(commit: &CommitRecord) -> Vec<String> {
    let compose = commit
        .images
        .iter()
        .filter_map(|image| image.compose.as_ref());
    let mut projects: Vec<String> = compose
        .map(|compose| match compose.working_dir.as_str() {
            "" => compose.project.clone(),
            folder => format!("{} (Compose, in {folder})", compose.project),
        })
        .collect();
    projects.sort();
    projects.dedup();
    projects
}

/// A container with its image, user and mounts.
fn describe(image: &ImageUse) -> String {
    let mut text = format!("{}: {} ({})", image.container, image.image, image.digest);
    if let Some(user) = &image.user {
        let _ = write!(text, "\nuser {user}");
    }
    for mount in &image.mounts {
        let _ = write!(text, "\n{} at {}", mount.subdot, mount.path);
    }
    text
}
