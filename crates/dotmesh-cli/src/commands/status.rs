//! `dm status`

use std::fmt::Write as _;

use dotmesh_api::node::{ContainerStatus, DotStatus, SubdotStatus};
use dotmesh_model::CommitId;
use serde::Serialize;
use utoipa::ToSchema;

use crate::config::Upstream;
use crate::context::Context;
use crate::error::Result;
use crate::output::Human;
use crate::table;
use crate::ui::Ui;

/// Show what is checked out, what changed since, and which containers use it
///
/// For each subdot, the output counts the files that were added, removed, modified or moved since the last commit. It marks
/// containers that have the wrong branch mounted.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Show one line for each subdot that changed, for scripts: a code, a tab, the subdot
    #[arg(short, long)]
    short: bool,
}

/// The state of a dot.
#[derive(Debug, Serialize, ToSchema)]
pub struct Status {
    /// What is checked out, what changed since, and the containers.
    #[serde(flatten)]
    pub status: DotStatus,
    /// The dots on remotes that it is pulled from and pushed to.
    pub upstreams: Vec<Upstream>,
    /// Whether people read it in the format for scripts.
    #[serde(skip)]
    pub short: bool,
}

pub(super) async fn run(context: &Context, args: Args) -> Result<Status> {
    let status = context
        .on_current_dot(async |node, dot| Ok(node.status(dot).await?))
        .await?;
    Ok(Status {
        upstreams: context.node_config()?.upstreams_of(&status.name),
        status,
        short: args.short,
    })
}

impl Human for Status {
    fn show(&self, ui: &Ui) -> Result<()> {
        ui.out(&if self.short {
            short(&self.status)
        } else {
            for_people(&self.status, &self.upstreams)
        })
    }
}

/// The status as text for people.
pub fn for_people(status: &DotStatus, upstreams: &[Upstream]) -> String {
    let mut text = format!("On branch {} of dot {}\n", status.branch, status.name);
    if status.head == CommitId::ROOT {
        text.push_str("No commits yet\n");
    } else {
        let line = format!("Last commit: {} {}", status.head.short(), status.title);
        let _ = writeln!(text, "{}", line.trim_end());
    }
    for Upstream { remote, dot } in upstreams {
        let _ = writeln!(text, "Tracks {} on remote {remote}", dot.full());
    }
    text.push('\n');
    if status.subdots.iter().all(is_clean) {
        text.push_str("Nothing changed since the last commit\n");
    } else {
        text.push_str("Changes since the last commit:\n");
        let changed = status.subdots.iter().filter(|subdot| !is_clean(subdot));
        let rows: Vec<_> = changed
            .map(|subdot| vec![format!("  {}", subdot.name), counts(subdot)])
            .collect();
        text.push_str(&table::aligned(&rows));
        text.push_str("  (use 'dm diff' to see the files, 'dm commit' to keep the changes)\n");
    }
    text.push('\n');
    if status.containers.is_empty() {
        text.push_str("No container uses the dot\n");
    } else {
        text.push_str("Containers:\n");
        let rows: Vec<_> = status.containers.iter().map(row).collect();
        text.push_str(&table::aligned(&rows));
    }
    text
}

/// `M  uploads`
pub fn short(status: &DotStatus) -> String {
    let changed = status.subdots.iter().filter(|subdot| !is_clean(subdot));
    let lines = changed.map(|subdot| {
        let codes = [
            ('A', subdot.added),
            ('D', subdot.removed),
            ('M', subdot.modified),
            ('R', subdot.moved),
        ];
        let codes = codes.iter().filter(|(_, count)| *count > 0);
        let code: String = codes.map(|(code, _)| code).collect();
        format!("{code}\t{}\n", subdot.name)
    });
    lines.collect()
}

fn is_clean(subdot: &SubdotStatus) -> bool {
    subdot.added + subdot.removed + subdot.modified + subdot.moved == 0
}

/// `2 modified, 1 new`
fn counts(subdot: &SubdotStatus) -> String {
    let counts = [
        (subdot.modified, "modified"),
        (subdot.added, "new"),
        (subdot.removed, "removed"),
        (subdot.moved, "moved"),
    ];
    let counts = counts.iter().filter(|(count, _)| *count > 0);
    let counts: Vec<_> = counts
        .map(|(count, word)| format!("{count} {word}"))
        .collect();
    format!("{} (files)", counts.join(", "))
}

fn row(container: &ContainerStatus) -> Vec<String> {
    let mut state = container.state.clone();
    if let Some(wrong) = &container.wrong {
        let _ = write!(state, ", but it has {wrong} mounted");
    }
    vec![
        format!("  {}", container.name),
        container.volumes.join(", "),
        state,
    ]
}
