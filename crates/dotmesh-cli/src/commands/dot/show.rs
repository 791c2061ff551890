//! `dm dot show`

use std::fmt::Write as _;

use dotmesh_api::node::DotDetail;
use dotmesh_model::DotName;
use dotmesh_model::size::format_size;

use crate::commands::containers;
use crate::config::NodeConfig;
use crate::context::Context;
use crate::error::Result;

/// Show what is known of a dot
#[derive(Debug, clap::Args)]
pub struct Args {
    /// For scripts: a name and its values in each line, separated by tabs, sizes in bytes
    #[arg(short = 'H', long)]
    scripting: bool,

    /// The dot [default: the current dot]
    #[arg(value_name = "DOT")]
    dot: Option<DotName>,
}

/// Runs it.
pub(super) async fn run(context: &Context, args: Args) -> Result<()> {
    let dot = context
        .on_dot(args.dot.as_ref(), async |node, dot| {
            Ok(node.dot(dot).await?)
        })
        .await?;
    let config = context.node_config()?;
    context.ui.out(&if args.scripting {
        for_scripts(&dot, &config)
    } else {
        for_people(&dot, &config)
    })
}

/// Sentences.
pub fn for_people(dot: &DotDetail, config: &NodeConfig) -> String {
    let summary = &dot.summary;
    let mut text = format!(
        "Dot {}:\nMaster branch ID: {}\n",
        summary.name.full(),
        dot.id
    );
    if config.current_dot.as_ref() == Some(&summary.name) {
        text.push_str("Dot is currently selected.\n");
    }
    let dirty = match summary.dirty {
        0 => "all clean".to_owned(),
        bytes => format!("{} dirty", format_size(bytes)),
    };
    let _ = writeln!(text, "Commits: {}", summary.commits);
    let _ = writeln!(text, "Dot size: {} ({dirty})", format_size(summary.size));
    text.push_str("Branches:\n");
    for branch in &dot.branches {
        let mark = if branch.name == summary.branch {
            '*'
        } else {
            ' '
        };
        let _ = write!(text, "{mark} {} ({})", branch.name, branch.head.short());
        if !branch.containers.is_empty() {
            let _ = write!(
                text,
                " (containers: {})",
                containers(&branch.containers, ",")
            );
        }
        text.push('\n');
    }
    for (remote, upstreams) in &config.upstreams {
        if let Some(upstream) = upstreams.get(&summary.name) {
            let _ = writeln!(text, "Tracks dot {} on remote {remote}", upstream.full());
        }
    }
    text
}

/// The same, to be cut at tabs.
pub fn for_scripts(dot: &DotDetail, config: &NodeConfig) -> String {
    let summary = &dot.summary;
    let mut text = format!("namespace\t{}\n", summary.name.namespace);
    let _ = writeln!(text, "name\t{}", summary.name.name());
    let _ = writeln!(text, "masterBranchId\t{}", dot.id);
    if config.current_dot.as_ref() == Some(&summary.name) {
        text.push_str("selected\n");
    }
    let _ = writeln!(text, "commitCount\t{}", summary.commits);
    let _ = writeln!(text, "size\t{}", summary.size);
    let _ = writeln!(text, "dirty\t{}", summary.dirty);
    let _ = writeln!(text, "currentBranch\t{}", summary.branch);
    for branch in &dot.branches {
        let _ = writeln!(text, "branch\t{}\t{}", branch.head, branch.name);
        for container in &branch.containers {
            let container = containers(std::slice::from_ref(container), ",");
            let _ = writeln!(text, "container\t{}\t{container}", branch.name);
        }
    }
    for (remote, upstreams) in &config.upstreams {
        if let Some(upstream) = upstreams.get(&summary.name) {
            let _ = writeln!(text, "defaultUpstreamDot\t{remote}\t{}", upstream.full());
        }
    }
    text
}
