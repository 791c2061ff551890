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
/// For each dot, the list has the branch that is checked out, the containers that use the dot, its size, the number of its
/// commits, and the size of uncommitted changes. A star marks the current dot.
///
/// Instead of the size of uncommitted changes, the list has 'database files only' if nothing was written but what databases
/// write by themselves, such as a log. A mere restart does that, but so do changes that are not in the tables' files yet. It
/// has 'all' if at least as much was written as the dot holds now.
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
    /// What people type for Compose.
    #[serde(skip)]
    pub compose: String,
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
        compose: lookalike::compose_for(context, &lookalikes).await,
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
            lookalike::show(ui, lookalike, &self.compose);
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

/// No line of the table is longer.
const WIDTH: usize = 100;

/// Longer names of dots, branches and containers are cut, if the line would be too long.
const NAMES: [usize; 3] = [24, 14, 14];

/// The list as a table.
pub fn for_people(dots: &[DotSummary], current: Option<&DotName>) -> String {
    let header = ["  DOT", "BRANCH", "CONTAINERS", "SIZE", "COMMITS", "DIRTY"];
    let rows = |with: &dyn Fn(&DotSummary) -> [String; 3]| {
        let mut rows = vec![header.map(str::to_owned).to_vec()];
        for dot in dots {
            let mark = if current == Some(&dot.name) { "*" } else { " " };
            let [name, branch, containers] = with(dot);
            rows.push(vec![
                format!("{mark} {name}"),
                branch,
                containers,
                format_size(dot.size),
                dot.commits.to_string(),
                dirty(dot),
            ]);
        }
        table::aligned(&rows)
    };
    let whole = |dot: &DotSummary| [dot.name.to_string(), dot.branch.to_string()];
    let fits = |table: &String| table.lines().all(|line| line.chars().count() <= WIDTH);
    let named = |dot: &DotSummary| {
        let [name, branch] = whole(dot);
        [name, branch, containers(&dot.containers, ", ")]
    };
    let counted = |dot: &DotSummary| {
        let [name, branch] = whole(dot);
        [name, branch, count(&dot.containers)]
    };
    let cut = |dot: &DotSummary| {
        let [name, branch] = whole(dot);
        let [of_name, of_branch, _] = NAMES;
        [
            shorten(&name, of_name),
            shorten(&branch, of_branch),
            count(&dot.containers),
        ]
    };
    let tables = [rows(&named), rows(&counted), rows(&cut)];
    let [_, _, last] = &tables;
    tables
        .iter()
        .find(|table| fits(table))
        .unwrap_or(last)
        .clone()
}

/// One container by its name, more of them as their number.
fn count(names: &[String]) -> String {
    match names {
        [] => String::new(),
        [one] => shorten(one.trim_start_matches('/'), NAMES[2]),
        many => format!("{} containers", many.len()),
    }
}

fn shorten(text: &str, length: usize) -> String {
    if text.chars().count() <= length {
        return text.to_owned();
    }
    let begin: String = text.chars().take(length - 1).collect();
    format!("{begin}…")
}

/// What was written since the commit.
fn dirty(dot: &DotSummary) -> String {
    if dot.only_database_files {
        "database files only".to_owned()
    } else if dot.dirty > dot.size {
        "all".to_owned()
    } else {
        format_size(dot.dirty)
    }
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
