//! `dm status`

use std::fmt::Write as _;

use dotmesh_api::node::{ContainerStatus, DotStatus, SubdotStatus};
use dotmesh_model::{CommitId, DotName};

use crate::config::NodeConfig;
use crate::context::Context;
use crate::error::Result;
use crate::table;

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

pub(super) async fn run(context: &Context, args: Args) -> Result<()> {
    let status = context
        .on_current_dot(async |node, dot| Ok(node.status(dot).await?))
        .await?;
    context.ui.out(&if args.short {
        short(&status)
    } else {
        for_people(&status, &context.node_config()?)
    })
}

/// The status as text for people.
pub fn for_people(status: &DotStatus, config: &NodeConfig) -> String {
    let mut text = format!("On branch {} of dot {}\n", status.branch, status.name);
    if status.head == CommitId::ROOT {
        text.push_str("No commits yet\n");
    } else {
        let line = format!("Last commit: {} {}", status.head.short(), status.title);
        let _ = writeln!(text, "{}", line.trim_end());
    }
    for upstream in upstreams(&status.name, config) {
        let _ = writeln!(text, "{upstream}");
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

fn upstreams(dot: &DotName, config: &NodeConfig) -> Vec<String> {
    let upstreams = config.upstreams.iter();
    let upstreams = upstreams.filter_map(|(remote, dots)| Some((remote, dots.get(dot)?)));
    upstreams
        .map(|(remote, dot)| format!("Tracks {} on remote {remote}", dot.full()))
        .collect()
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
