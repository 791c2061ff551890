//! `dm show`

use std::collections::BTreeMap;
use std::fmt::Write as _;

use dotmesh_api::NodeClient;
use dotmesh_api::node::{Diff, FileChange, Log, LogQuery};
use dotmesh_model::{CommitId, CommitRecord, DotName, ImageUse};
use jiff::tz::TimeZone;

use super::{diff, log};
use crate::context::Context;
use crate::dot_word;
use crate::error::{CliError, Result};

/// Show a commit: its whole record, and what changed in each subdot
///
/// The record has the author, the message, the containers with their images and mounts, the Compose project, and the version
/// of the code. The changes are against the commit before it: 'dm diff REV^ REV' shows them line by line.
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

pub(super) async fn run(context: &Context, args: Args) -> Result<()> {
    let revision = args.revision.as_deref();
    let found = context
        .on_current_dot(async |node, dot| find(node, dot, revision, args.no_patch).await)
        .await;
    let (commit, found, changes) =
        dot_word::unless_dot(context, found, revision, "dm switch DOT && dm show").await?;
    let mut text = record(&found, &commit, &TimeZone::system());
    if let Changes::Here(changes) = &changes
        && !changes.changes.is_empty()
    {
        text.push('\n');
        text.push_str(&if args.name_status {
            diff::name_status(changes)
        } else {
            by_subdot(changes)
        });
    }
    context.ui.out(&text)?;
    match changes {
        Changes::Here(changes) if changes.more > 0 => {
            let more = changes.more;
            context.ui.warning(&format!("{more} more files changed"));
        }
        Changes::NotHere => {
            let id = commit.id.short();
            context
                .ui
                .status("The changes are not shown: the data of the commit, or of the one before it, is not here.");
            context
                .ui
                .hint(&format!("'dm diff {id}^ {id}' fetches it, and shows them."));
        }
        _ => {}
    }
    Ok(())
}

/// The changes since the parent commit.
enum Changes {
    Here(Diff),
    /// The data is only on a hub.
    NotHere,
    NotWanted,
}

async fn find(
    node: &NodeClient,
    dot: &DotName,
    revision: Option<&str>,
    no_patch: bool,
) -> Result<(CommitRecord, Log, Changes)> {
    let log = node.log(dot, &LogQuery::one(revision)).await?;
    let Some(commit) = log.commits.first().cloned() else {
        return Err(CliError::failed("There are no commits yet.")
            .hint("Make one with 'dm commit -m MESSAGE'."));
    };
    if no_patch {
        return Ok((commit, log, Changes::NotWanted));
    }
    let query = [
        ("from", commit.parent.to_string()),
        ("to", commit.id.to_string()),
    ];
    let changes = match node.diff(dot, &query).await.map_err(CliError::from) {
        Ok(diff) => Changes::Here(diff),
        // Showing a commit must not cause a large download.
        Err(error) if error.is_absent() => Changes::NotHere,
        Err(error) => return Err(error),
    };
    Ok((commit, log, changes))
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

/// The changed files of each subdot with their sizes, and the counts.
pub fn by_subdot(diff: &Diff) -> String {
    let mut subdots: BTreeMap<&str, Vec<FileChange>> = BTreeMap::new();
    for change in &diff.changes {
        let (subdot, _) = change.path.split_once('/').unwrap_or(("__root__", ""));
        subdots.entry(subdot).or_default().push(change.clone());
    }
    let blocks = subdots.into_iter().map(|(subdot, changes)| {
        let part = Diff {
            changes,
            ..diff.clone()
        };
        format!("{subdot}:\n{}", diff::stat(&part))
    });
    blocks.collect::<Vec<_>>().join("\n")
}
