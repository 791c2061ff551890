//! `dm list`

use dotmesh_api::node::{DotSummary, Lookalike};
use dotmesh_model::DotName;
use dotmesh_model::size::format_size;
use serde::Serialize;
use utoipa::ToSchema;

use crate::commands::containers;
use crate::context::Context;
use crate::current;
use crate::error::Result;
use crate::lookalike;
use crate::output::Human;
use crate::paint;
use crate::table;
use crate::transfer;
use crate::ui::Ui;

/// List the dots of this node
///
/// For each dot, the list has the branch that is checked out, the node, the containers that use the dot, its size, the number
/// of its commits, and the size of uncommitted changes. A star marks the current dot.
///
/// Stderr names containers that the node cannot start, new empty dots whose names are similar to a clone's, and files of the
/// newest commit that cannot be pushed.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// For scripts: no header, cells that end with a tab, sizes in bytes
    #[arg(short = 'H', long)]
    scripting: bool,
}

/// The dots of a node.
#[derive(Debug, Serialize, ToSchema)]
pub struct Dots {
    /// The current dot, if one is chosen here.
    pub current: Option<DotName>,
    /// The dots, sorted by name.
    pub dots: Vec<DotSummary>,
    /// What the daemon could not do by itself, as sentences.
    pub problems: Vec<String>,
    /// Empty dots that Docker has made, with almost the names of clones.
    pub lookalikes: Vec<Lookalike>,
    /// Whether people read it in the format for scripts.
    #[serde(skip)]
    pub scripting: bool,
}

pub(super) async fn run(context: &Context, args: Args) -> Result<Dots> {
    let node = context.node()?;
    let (dots, problems) = tokio::join!(node.dots(), node.problems());
    let dots = dots?;
    let lookalikes = lookalike::all(context, &node).await;
    let needs_current = !dots.is_empty() && (context.ui.is_json() || !args.scripting);
    let current = match needs_current {
        true => current::choose(context, &node).await?.dot.name().cloned(),
        false => None,
    };
    Ok(Dots {
        current,
        dots,
        // An older node does not have this route.
        problems: problems.unwrap_or_default(),
        lookalikes,
        scripting: args.scripting,
    })
}

impl Human for Dots {
    fn show(&self, ui: &Ui) -> Result<()> {
        for problem in &self.problems {
            ui.warning(problem);
        }
        for lookalike in &self.lookalikes {
            lookalike::show(ui, lookalike);
        }
        let dots = &self.dots;
        if self.scripting {
            return ui.out(&for_scripts(dots));
        }
        if dots.is_empty() {
            ui.status("There are no dots yet.");
            ui.hint("Make one with 'dm init', get one with 'dm clone', or start an app whose volumes use the driver 'dm'.");
            return Ok(());
        }
        for dot in dots {
            for problem in &dot.problems {
                let container = containers(std::slice::from_ref(&problem.container), "");
                ui.warning(&format!(
                    "{}: container {container} does not run as it should, and the node keeps trying: {}",
                    dot.name, problem.problem
                ));
            }
        }
        for dot in dots.iter().filter(|dot| !dot.left_out.is_empty()) {
            ui.warning(&left_out(dot));
        }
        ui.painted(&for_people(dots, self.current.as_ref()), paint::current)
    }
}

/// The warning about files of the newest commit that cannot be pushed.
pub fn left_out(dot: &DotSummary) -> String {
    let list = &dot.left_out;
    let items = match list.count {
        1 => "1 item that cannot be pushed".to_owned(),
        count => format!("{count} items that cannot be pushed"),
    };
    format!(
        "{}: the newest commit on {} has {items}, so pushes and clones lack this:\n{}",
        dot.name,
        dot.branch,
        transfer::items(list, "  ").join("\n")
    )
}

/// The list as a table.
pub fn for_people(dots: &[DotSummary], current: Option<&DotName>) -> String {
    let header = [
        "  DOT",
        "BRANCH",
        "SERVER",
        "CONTAINERS",
        "SIZE",
        "COMMITS",
        "DIRTY",
    ];
    let mut rows = vec![header.map(str::to_owned).to_vec()];
    for dot in dots {
        let mark = if current == Some(&dot.name) {
            "* "
        } else {
            "  "
        };
        rows.push(vec![
            format!("{mark}{}", dot.name),
            dot.branch.to_string(),
            dot.server.clone(),
            containers(&dot.containers, ","),
            format_size(dot.size),
            dot.commits.to_string(),
            format_size(dot.dirty),
        ]);
    }
    table::aligned(&rows)
}

/// The list for scripts: each cell ends with a tab.
pub fn for_scripts(dots: &[DotSummary]) -> String {
    let mut text = String::new();
    for dot in dots {
        let cells = [
            dot.name.to_string(),
            dot.branch.to_string(),
            dot.server.clone(),
            containers(&dot.containers, ","),
            dot.size.to_string(),
            dot.commits.to_string(),
            dot.dirty.to_string(),
        ];
        for cell in cells {
            text.push_str(&cell);
            text.push('\t');
        }
        text.push('\n');
    }
    text
}
