//! `dm op log`

use std::fmt::Write as _;

use dotmesh_api::NodeClient;
use dotmesh_api::node::{OperationState, Operations};
use dotmesh_model::DotName;
use dotmesh_model::size::format_size;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;
use utoipa::ToSchema;

use crate::context::Context;
use crate::error::Result;
use crate::output::Human;
use crate::table::aligned;
use crate::ui::Ui;

/// List the operations of the current dot, the last one first
///
/// A star marks the operation that 'dm undo' takes back next. The operations above it were undone, and 'dm redo' redoes the
/// lowest of them. KEPT is the approximate space that is kept for this.
///
/// Pushes, clones and new dots are not listed: they replace nothing here.
///
/// With --dot NAME it also lists the deleted dots of that name.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// The operations of a dot.
#[derive(Debug, Serialize, ToSchema)]
pub struct OperationLog {
    /// The dot, its operations, and how long they can be undone.
    #[serde(flatten)]
    pub log: Operations,
}

pub(super) async fn run(context: &Context, _: Args) -> Result<OperationLog> {
    let ask = async |node: &NodeClient, dot: &DotName| Ok(node.operations(dot).await?);
    let log = context.on_current_dot(ask).await?;
    Ok(OperationLog { log })
}

impl Human for OperationLog {
    fn show(&self, ui: &Ui) -> Result<()> {
        ui.out(&render(&self.log, &TimeZone::system()))
    }
}

/// The operations, the deleted dots, and how long they are kept.
pub fn render(log: &Operations, zone: &TimeZone) -> String {
    let mut text = String::new();
    if !log.is_here {
        let _ = writeln!(text, "Dot {} is deleted. Its log:", log.dot);
    }
    let next = log
        .operations
        .iter()
        .find(|one| one.state == OperationState::Done)
        .map(|one| one.number);
    let mut rows = Vec::new();
    for one in &log.operations {
        let mark = match one.state {
            OperationState::Undone => "undone",
            OperationState::UnderWay => "under way",
            OperationState::Done if Some(one.number) == next => "*",
            OperationState::Done => "",
        };
        rows.push(vec![
            mark.to_owned(),
            one.number.to_string(),
            date(one.time, zone),
            format_size(one.bytes),
            one.what.clone(),
        ]);
    }
    if rows.is_empty() {
        text.push_str("No operations are kept.\n");
    } else {
        let head = ["", "NUMBER", "TIME", "KEPT", "OPERATION"];
        rows.insert(0, head.map(str::to_owned).to_vec());
        text.push_str(&aligned(&rows));
    }
    if !log.deleted.is_empty() {
        let head = ["DELETED DOT", "TIME", "KEPT"];
        let mut rows = vec![head.map(str::to_owned).to_vec()];
        for dot in &log.deleted {
            let id = dot.id.get(..8).unwrap_or(&dot.id).to_owned();
            rows.push(vec![id, date(dot.time, zone), format_size(dot.bytes)]);
        }
        let _ = write!(text, "\n{}", aligned(&rows));
    }
    let budget = &log.budget;
    let used = match budget.used {
        0 => "nothing is used yet".to_owned(),
        used => format!("about {} are used", format_size(used)),
    };
    let _ = writeln!(
        text,
        "\nKept for {}, at most {} over all dots; {used}.",
        time(budget.seconds),
        format_size(budget.bytes),
    );
    text
}

fn date(time: Timestamp, zone: &TimeZone) -> String {
    let time = time.to_zoned(zone.clone());
    time.strftime("%Y-%m-%d %H:%M:%S").to_string()
}

/// A duration in the largest unit that is exact, such as `7 days`.
fn time(seconds: u64) -> String {
    let units = [
        (86_400, "day"),
        (3600, "hour"),
        (60, "minute"),
        (1, "second"),
    ];
    let exact = units
        .iter()
        .find(|(unit, _)| seconds > 0 && seconds.is_multiple_of(*unit));
    let (unit, name) = exact.copied().unwrap_or((1, "second"));
    match seconds / unit {
        1 => format!("1 {name}"),
        count => format!("{count} {name}s"),
    }
}
