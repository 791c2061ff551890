//! `dm log`

use std::fmt::Write as _;

use dotmesh_api::node::Log;
use dotmesh_model::{CodeVersion, CommitId, CommitRecord};
use jiff::tz::TimeZone;

use crate::context::Context;
use crate::dot_word;
use crate::error::{CliError, Result};
use crate::transfer;

/// Show the commits that led to the current state, newest first
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Start here instead: HEAD~2, a branch, a commit's id or its first digits
    #[arg(value_name = "REV")]
    revision: Option<String>,

    /// One line for each commit
    #[arg(long, conflicts_with = "json")]
    oneline: bool,

    /// Show at most this many
    #[arg(short = 'n', long, value_name = "NUMBER")]
    number: Option<usize>,

    /// The records as a JSON list
    #[arg(long)]
    json: bool,
}

/// Runs it.
pub(super) async fn run(context: &Context, args: Args) -> Result<()> {
    let revision = args.revision.as_deref();
    let log = context
        .on_current_dot(async |node, dot| Ok(node.log(dot, revision).await?))
        .await;
    let mut log = dot_word::unless_dot(context, log, revision, "dm switch DOT && dm log").await?;
    if let Some(number) = args.number {
        log.commits.truncate(number);
    }
    if args.json {
        let json = serde_json::to_string_pretty(&log.commits)
            .map_err(|error| CliError::failed("cannot encode the log").caused_by(error))?;
        return context.ui.out(&format!("{json}\n"));
    }
    if log.commits.is_empty() && args.number != Some(0) {
        context.ui.status("There are no commits yet.");
        context.ui.hint("Make one with 'dm commit -m MESSAGE'.");
        return Ok(());
    }
    context.ui.out(&if args.oneline {
        oneline(&log)
    } else {
        full(&log, &TimeZone::system())
    })
}

/// All that is known of each commit.
pub fn full(log: &Log, zone: &TimeZone) -> String {
    let mut text = String::new();
    for commit in &log.commits {
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(&entry(log, commit, zone));
    }
    text
}

/// A line for each commit.
pub fn oneline(log: &Log) -> String {
    let mut text = String::new();
    for commit in &log.commits {
        let first = commit.message.lines().next().unwrap_or("");
        let place = match log.absent.contains_key(&commit.id) {
            true if log.without_data.contains(&commit.id) => " [no data]",
            true => " [on the hub]",
            false => "",
        };
        let line = format!(
            "{}{}{place} {first}",
            commit.id.short(),
            names(log, commit.id)
        );
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

fn entry(log: &Log, commit: &CommitRecord, zone: &TimeZone) -> String {
    let mut text = format!("commit {}{}\n", commit.id, names(log, commit.id));
    let date = commit
        .time
        .to_zoned(zone.clone())
        .strftime("%a %b %-d %H:%M:%S %Y %z")
        .to_string();
    let mut field = |name: &str, value: &str| {
        // A value of several lines must not look like further fields.
        let _ = writeln!(text, "{name}: {}", value.replace('\n', "\n    "));
    };
    field("author", &commit.author);
    field("date", &date);
    field("branch", commit.branch.as_str());
    for (key, value) in &commit.metadata {
        field(key, value);
    }
    for image in &commit.images {
        field(
            "image",
            &format!("{}: {} ({})", image.container, image.image, image.digest),
        );
    }
    if let Some(code) = &commit.code {
        field("code", &describe(code));
    }
    if let Some(source) = log.absent.get(&commit.id) {
        let (hub, dot) = (&source.hub, source.dot.full());
        let place = match log.without_data.contains(&commit.id) {
            true => format!("neither here nor at {hub}, dot {dot}"),
            false => format!("at {hub}, dot {dot}, not here"),
        };
        field("data", &place);
    }
    if let Some(list) = log.left_out.get(&commit.id) {
        let items = transfer::items(list, "").join("\n");
        field("left out", &items);
    }
    text.push('\n');
    for line in commit.message.lines() {
        let _ = writeln!(text, "{}", format!("    {line}").trim_end());
    }
    text
}

fn describe(code: &CodeVersion) -> String {
    let place = [
        code.remote.as_deref(),
        code.branch.as_deref(),
        Some(code.commit.as_str()),
    ];
    let place = place.into_iter().flatten().collect::<Vec<_>>().join(" ");
    let changes = if code.dirty {
        " (with uncommitted changes)"
    } else {
        ""
    };
    place + changes
}

/// ` (HEAD -> master, other)`, or nothing.
fn names(log: &Log, commit: CommitId) -> String {
    let here = log
        .branches
        .iter()
        .filter(|(_, head)| **head == commit)
        .map(|(name, _)| name);
    let (current, others): (Vec<_>, Vec<_>) = here.partition(|name| **name == log.current);
    let current = current.iter().map(|name| format!("HEAD -> {name}"));
    let names: Vec<_> = current
        .chain(others.iter().map(ToString::to_string))
        .collect();
    if names.is_empty() {
        String::new()
    } else {
        format!(" ({})", names.join(", "))
    }
}
