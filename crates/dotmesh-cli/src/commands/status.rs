//! `dm status`

use std::fmt::Write as _;

use dotmesh_api::node::{Apart, ContainerStatus, DotStatus, SubdotStatus};
use dotmesh_model::CommitId;

use crate::config::{Config, NodeConfig};
use crate::context::Context;
use crate::error::Result;
use crate::table;

/// Show what is checked out, what changed since, and which containers use it
///
/// For each subdot, the output counts the files that were added, removed, modified or moved since the last commit. It marks
/// containers that have the wrong branch mounted.
///
/// For a dot on a hub, it shows how far the branch is ahead and behind, as of the last push, pull or fetch.
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
        let config = context.config.load()?;
        for_people(&status, &config, &context.node_config()?)
    })
}

/// The status as text for people.
pub fn for_people(status: &DotStatus, config: &Config, node: &NodeConfig) -> String {
    let mut text = format!("On branch {} of dot {}\n", status.branch, status.name);
    if status.head == CommitId::ROOT {
        text.push_str("No commits yet\n");
    } else {
        let line = format!("Last commit: {} {}", status.head.short(), status.title);
        let _ = writeln!(text, "{}", line.trim_end());
    }
    for upstream in upstreams(status, config, node) {
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

fn upstreams(status: &DotStatus, config: &Config, node: &NodeConfig) -> Vec<String> {
    let upstreams = node.upstreams.iter();
    let upstreams = upstreams.filter_map(|(name, dots)| Some((name, dots.get(&status.name)?)));
    let lines = upstreams.map(|(name, dot)| {
        let tracks = format!("Tracks {} on remote {name}", dot.full());
        let remote = config.remotes.get(name);
        let mut seen = status.upstreams.iter();
        let seen = seen.find(|seen| {
            seen.there.dot == *dot && remote.is_some_and(|remote| remote.is_at(&seen.there.hub))
        });
        match seen.map(|seen| seen.apart) {
            None => tracks,
            Some(None) => format!("{tracks}, which had no branch {} yet", status.branch),
            Some(Some(apart)) => format!("{tracks}: {}", distance(apart)),
        }
    });
    lines.collect()
}

/// `2 commits ahead, 1 commit behind`
fn distance(apart: Apart) -> String {
    let count = |count: u64, word: &str| match count {
        0 => None,
        1 => Some(format!("1 commit {word}")),
        many => Some(format!("{many} commits {word}")),
    };
    let counts = [count(apart.ahead, "ahead"), count(apart.behind, "behind")];
    let counts: Vec<String> = counts.into_iter().flatten().collect();
    match counts.is_empty() {
        true => "up to date".to_owned(),
        false => counts.join(", "),
    }
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
