//! `dm ps`

use dotmesh_api::node::{Fork, ForkState};
use dotmesh_model::size::format_size;
use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use crate::context::Context;
use crate::error::Result;
use crate::output::Human;
use crate::table;
use crate::ui::Ui;

/// List the forks of all dots, with their states and ports
///
/// SIZE is what was written since the commit at which the fork's branch began.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print only the names
    #[arg(long)]
    names: bool,
}

/// The forks of this machine.
#[derive(Debug, Serialize, ToSchema)]
pub struct Forks {
    /// The forks, sorted by dot and branch.
    pub forks: Vec<Fork>,
    /// Whether people read only the names.
    #[serde(skip)]
    pub names: bool,
}

pub(super) async fn run(context: &Context, args: Args) -> Result<Forks> {
    let mut forks = context.node()?.forks().await?;
    if let Some(word) = &context.dot {
        let (dot, _) = word.name_and_branch()?;
        forks.retain(|fork| fork.dot == dot);
    }
    Ok(Forks {
        forks,
        names: args.names,
    })
}

impl Human for Forks {
    #[expect(clippy::disallowed_methods, reason = "this is the edge")]
    fn show(&self, ui: &Ui) -> Result<()> {
        if self.names {
            let names = self.forks.iter().map(|fork| format!("{}\n", fork.branch));
            return ui.out(&names.collect::<String>());
        }
        if self.forks.is_empty() {
            ui.status("There are no forks.");
            ui.hint("Make one with 'dm up', in a work tree of your app.");
            return Ok(());
        }
        ui.out(&listed(&self.forks, Timestamp::now()))
    }
}

/// The forks as a table.
pub fn listed(forks: &[Fork], now: Timestamp) -> String {
    let head = [
        "FORK", "DOT", "STATE", "AGE", "EXPIRES", "SIZE", "PORTS", "FOLDER",
    ];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    rows.extend(forks.iter().map(|fork| {
        let ports = fork.ports.iter();
        let ports: Vec<String> = ports
            .map(|port| format!("{}:{}", port.service, port.port))
            .collect();
        let expires = fork.expires.filter(|_| fork.state != ForkState::Expired);
        let folder = fork.folder.as_ref();
        vec![
            fork.branch.to_string(),
            fork.dot.to_string(),
            state(fork),
            span(fork.made, now),
            expires.map_or_else(|| "-".to_owned(), |at| format!("in {}", span(now, at))),
            format_size(fork.size),
            if ports.is_empty() {
                "-".to_owned()
            } else {
                ports.join(" ")
            },
            folder.map_or_else(|| "-".to_owned(), |folder| folder.display().to_string()),
        ]
    }));
    table::aligned(&rows)
}

fn state(fork: &Fork) -> String {
    let state = match fork.state {
        ForkState::Running => "running",
        ForkState::Starting => "starting",
        ForkState::Failing => "failing",
        ForkState::Stopped => "stopped",
        ForkState::Expired => "expired",
    };
    let is_gone = fork.folder.as_ref().is_some_and(|folder| !folder.exists());
    match is_gone {
        true => format!("{state}, no folder"),
        false => state.to_owned(),
    }
}

/// `3h`, `2d`: the largest unit of a time.
fn span(from: Timestamp, to: Timestamp) -> String {
    let span = to.duration_since(from).as_secs().max(0);
    match span {
        ..60 => format!("{span}s"),
        60..3600 => format!("{}m", span / 60),
        3600..86_400 => format!("{}h", span / 3600),
        _ => format!("{}d", span / 86_400),
    }
}
