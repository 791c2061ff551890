//! `dm fsck`

use std::collections::BTreeSet;

use dotmesh_api::node::{Fsck, FsckEvent, FsckKind, FsckReport};
use futures::StreamExt as _;
use serde::Serialize;
use utoipa::ToSchema;

use crate::context::Context;
use crate::error::{CliError, Code, Result};
use crate::output::Human;
use crate::ui::Ui;

/// Check that all dots of this node are whole
///
/// Compares the node's registry with the pool, and checks the records and the seals of all commits. With --data it also reads
/// every byte of every commit: btrfs compares it with its checksum, and a commit that was pushed or pulled is compared with its
/// seal. That takes as long as reading all commits one by one.
///
/// Nothing is changed, and containers go on. The exit status is 1 if something is wrong.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Read every byte of every commit
    #[arg(long)]
    data: bool,
}

/// What the check found.
#[derive(Debug, Serialize, ToSchema)]
pub struct Checked {
    /// What was looked at, and the problems.
    #[serde(flatten)]
    pub report: FsckReport,
    /// Whether every byte was read.
    pub data: bool,
}

pub(super) async fn run(context: &Context, args: Args) -> Result<Checked> {
    let node = context.node()?;
    let report = tokio::select! {
        biased;
        report = check(context, &node, args.data) => report?,
        _ = tokio::signal::ctrl_c() => return Err(CliError::cancelled()),
    };
    Ok(Checked {
        report,
        data: args.data,
    })
}

impl Human for Checked {
    fn show(&self, ui: &Ui) -> Result<()> {
        ui.out(&render(&self.report, self.data))
    }

    fn failure(&self) -> Option<CliError> {
        let message = match self.report.problems.len() {
            0 => return None,
            1 => "1 problem was found".to_owned(),
            many => format!("{many} problems were found"),
        };
        let error = CliError::new(Code::ChecksFailed, message);
        Some(advice(&self.report).into_iter().fold(error, CliError::hint))
    }
}

async fn check(
    context: &Context,
    node: &dotmesh_api::NodeClient,
    data: bool,
) -> Result<FsckReport> {
    let mut events = std::pin::pin!(node.fsck(&Fsck { data }).await?);
    let mut bar = context.ui.transfer_bar();
    while let Some(event) = events.next().await {
        match event? {
            FsckEvent::Progress(progress) => bar.show(&progress),
            FsckEvent::Done(report) => return Ok(report),
            FsckEvent::Failed(body) => return Err(CliError::from(body)),
        }
    }
    Err(CliError::new(
        Code::NodeUnreachable,
        "the node went away before the check ended",
    ))
}

/// A line for each problem, and a summary.
pub fn render(report: &FsckReport, data: bool) -> String {
    let problems = report.problems.iter();
    let mut text: String = problems
        .map(|problem| format!("{}: {}\n", problem.dot, problem.problem))
        .collect();
    let count = |count: u64, word: &str| match count {
        1 => format!("1 {word}"),
        many => format!("{many} {word}s"),
    };
    let (dots, commits) = (count(report.dots, "dot"), count(report.commits, "commit"));
    text.push_str(&format!("Checked {dots} with {commits}\n"));
    if data {
        let (verified, read) = (report.verified, report.read);
        text.push_str(&format!(
            "Read all data: {} as sealed, {} not sealed yet\n",
            count(verified, "commit"),
            count(read, "commit")
        ));
    }
    text
}

/// What to do about each kind of problem, once.
pub fn advice(report: &FsckReport) -> Vec<&'static str> {
    let kinds: BTreeSet<FsckKind> = report.problems.iter().map(|problem| problem.kind).collect();
    let advice = kinds.into_iter().map(|kind| match kind {
        FsckKind::Registry => {
            "The registry is restored from the pool by starting the daemon once with --rebuild-registry."
        }
        FsckKind::Pool => {
            "Something has changed the pool from outside. Clone the dot from a hub under another name, with 'dm clone --local-name', and move what is damaged away."
        }
        FsckKind::Record => {
            "A damaged record or seal cannot be repaired here. Clone the dot from a hub under another name, with 'dm clone --local-name'."
        }
        FsckKind::Data => {
            "The disk below the pool may be failing: see 'sudo dmesg'. Push what is whole to a hub, or clone the damaged dot from one."
        }
    });
    advice.collect()
}
