//! `dm dot show`

use std::fmt::Write as _;

use dotmesh_api::node::DotDetail;
use dotmesh_model::size::format_size;
use serde::Serialize;
use utoipa::ToSchema;

use crate::commands::containers;
use crate::config::Upstream;
use crate::context::Context;
use crate::current;
use crate::dot_word::{self, DotWord};
use crate::error::Result;
use crate::output::Human;
use crate::transfer;
use crate::ui::Ui;

/// Show the details of a dot
#[derive(Debug, clap::Args)]
pub struct Args {
    /// For scripts: a name and its values in each line, separated by tabs, sizes in bytes
    #[arg(short = 'H', long)]
    scripting: bool,

    /// The dot [default: the current dot]
    #[arg(value_name = "DOT")]
    dot: Option<DotWord>,
}

/// What is known of a dot.
#[derive(Debug, Serialize, ToSchema)]
pub struct Dot {
    /// The dot and its branches.
    #[serde(flatten)]
    pub detail: DotDetail,
    /// Whether it is the current dot.
    pub is_current: bool,
    /// The dots on remotes that it is pulled from and pushed to.
    pub upstreams: Vec<Upstream>,
    /// Whether people read it in the format for scripts.
    #[serde(skip)]
    pub scripting: bool,
}

pub(super) async fn run(context: &Context, args: Args) -> Result<Dot> {
    let detail = dot_word::detail(context, args.dot.as_ref(), |dot, _| {
        dot_word::try_this(&["dm", "dot", "show", &dot.to_string()])
    })
    .await?;
    let current = current::choose(context, &context.node()?).await?;
    Ok(Dot {
        is_current: current.is(&detail.summary.name),
        upstreams: context.node_config()?.upstreams_of(&detail.summary.name),
        detail,
        scripting: args.scripting,
    })
}

impl Human for Dot {
    fn show(&self, ui: &Ui) -> Result<()> {
        ui.out(&if self.scripting {
            self.for_scripts()
        } else {
            self.for_people()
        })
    }
}

impl Dot {
    /// The dot's details as text for people.
    pub fn for_people(&self) -> String {
        let dot = &self.detail;
        let summary = &dot.summary;
        let mut text = format!(
            "Dot {}:\nMaster branch ID: {}\n",
            summary.name.full(),
            dot.id
        );
        if self.is_current {
            text.push_str("Dot is currently selected.\n");
        }
        let dirty = match summary.dirty {
            0 => "all clean".to_owned(),
            bytes => format!("{} dirty", format_size(bytes)),
        };
        let _ = writeln!(text, "Commits: {}", summary.commits);
        let _ = writeln!(text, "Dot size: {} ({dirty})", format_size(summary.size));
        if !summary.left_out.is_empty() {
            text.push_str("Not in pushes and clones of the newest commit:\n");
            for item in transfer::items(&summary.left_out, "  ") {
                let _ = writeln!(text, "{item}");
            }
        }
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
        for Upstream { remote, dot } in &self.upstreams {
            let _ = writeln!(text, "Tracks dot {} on remote {remote}", dot.full());
        }
        text
    }

    /// The dot's details for scripts: a name and its values on each line, separated by tabs.
    pub fn for_scripts(&self) -> String {
        let dot = &self.detail;
        let summary = &dot.summary;
        let mut text = format!("namespace\t{}\n", summary.name.namespace);
        let _ = writeln!(text, "name\t{}", summary.name.name());
        let _ = writeln!(text, "masterBranchId\t{}", dot.id);
        if self.is_current {
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
        for Upstream { remote, dot } in &self.upstreams {
            let _ = writeln!(text, "defaultUpstreamDot\t{remote}\t{}", dot.full());
        }
        text
    }
}
