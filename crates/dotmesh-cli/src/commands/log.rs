//! `dm log`

use std::fmt::Write as _;

use dotmesh_api::node::{Log, LogQuery};
use dotmesh_model::{CodeVersion, CommitId, CommitRecord, DotName, message};
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use serde::Serialize;
use utoipa::ToSchema;

use crate::context::Context;
use crate::dot_word;
use crate::error::Result;
use crate::graph::Graph;
use crate::output::Human;
use crate::ui::Ui;
use crate::{paint, since, transfer};

/// Show the commits that led to the current state, newest first
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Start here instead: HEAD~2, a branch, a tag, a commit's id or its first digits
    #[arg(value_name = "REV")]
    revision: Option<String>,

    /// One line for each commit
    #[arg(long)]
    oneline: bool,

    /// Show at most this many
    #[arg(short = 'n', long, value_name = "NUMBER")]
    number: Option<usize>,

    /// Draw how the commits follow each other
    #[arg(long)]
    graph: bool,

    /// Show the commits of all branches and tags
    #[arg(long)]
    all: bool,

    /// Show only commits made since then: 2d, '2 days ago', 2026-01-31, 2026-01-31T12:00:00Z
    #[arg(long, value_name = "DATE", value_parser = read_since)]
    since: Option<Timestamp>,

    /// Only commits that changed this subdot
    #[arg(value_name = "SUBDOT", last = true)]
    subdot: Option<String>,
}

#[expect(clippy::disallowed_methods, reason = "this is the edge")]
fn read_since(text: &str) -> std::result::Result<Timestamp, String> {
    since::parse(text, &Zoned::now())
}

/// Commits of a dot.
#[derive(Debug, Serialize, ToSchema)]
pub struct History {
    /// The dot.
    pub dot: DotName,
    /// The commits, and what is known of them here.
    #[serde(flatten)]
    pub log: Log,
    /// Whether no option selects some of the commits.
    #[serde(skip)]
    pub is_whole: bool,
    /// Whether people read it as a graph.
    #[serde(skip)]
    pub graph: bool,
    /// Whether people read a line for each commit.
    #[serde(skip)]
    pub oneline: bool,
}

pub(super) async fn run(context: &Context, args: Args) -> Result<History> {
    let query = LogQuery {
        revision: args.revision.clone(),
        all: args.all,
        since: args.since,
        subdot: args.subdot.clone(),
        limit: args.number,
    };
    let found = context
        .on_current_dot(async |node, dot| Ok((dot.clone(), node.log(dot, &query).await?)))
        .await;
    let revision = args.revision.as_deref();
    let (dot, log) =
        dot_word::unless_dot(context, found, revision, "dm switch DOT && dm log").await?;
    Ok(History {
        dot,
        log,
        is_whole: query == LogQuery::from(revision),
        graph: args.graph,
        oneline: args.oneline,
    })
}

impl Human for History {
    fn show(&self, ui: &Ui) -> Result<()> {
        let log = &self.log;
        if log.unknown > 0 {
            ui.warning(&not_compared(log.unknown));
        }
        if log.commits.is_empty() && self.is_whole {
            ui.status("There are no commits yet.");
            ui.hint("Make one with 'dm commit -m MESSAGE'.");
            return Ok(());
        }
        if log.commits.is_empty() {
            ui.status("No commit fits.");
            return Ok(());
        }
        let zone = TimeZone::system();
        let text = match (self.graph, self.oneline) {
            (true, true) => graph(log, |commit| line(log, commit)),
            (true, false) => graph(log, |commit| entry(log, commit, &zone) + "\n"),
            (false, true) => oneline(log),
            (false, false) => full(log, &zone),
        };
        ui.page(&text, paint::log)
    }
}

/// The warning about commits that could not be compared, so the log of the subdot may lack them.
pub fn not_compared(count: u64) -> String {
    let commits = match count {
        1 => "1 older commit is".to_owned(),
        count => format!("{count} older commits are"),
    };
    format!(
        "{commits} left out, because the data to compare is not here. 'dm pull --full' gets all data."
    )
}

/// The full entry of each commit.
pub fn full(log: &Log, zone: &TimeZone) -> String {
    let entries = log.commits.iter().map(|commit| entry(log, commit, zone));
    entries.collect::<Vec<_>>().join("\n")
}

/// A line for each commit.
pub fn oneline(log: &Log) -> String {
    log.commits.iter().map(|commit| line(log, commit)).collect()
}

/// The commits with a graph.
pub fn graph(log: &Log, text: impl Fn(&CommitRecord) -> String) -> String {
    let mut graph = Graph::default();
    let drawn = log.commits.iter().map(|commit| {
        let is_parent = |other: &&CommitRecord| other.id == commit.parent;
        let parent = log.commits.iter().find(is_parent).map(|parent| parent.id);
        let older = parent.or_else(|| log.ancestors.get(&commit.id).copied());
        graph.draw(commit.id, older, &text(commit))
    });
    drawn.collect()
}

fn line(log: &Log, commit: &CommitRecord) -> String {
    let title = message::title(&commit.message);
    let place = match log.absent.contains_key(&commit.id) {
        true if log.without_data.contains(&commit.id) => " [no data]",
        true => " [on the hub]",
        false => "",
    };
    let line = format!(
        "{}{}{place} {title}",
        commit.id.short(),
        names(log, commit.id)
    );
    format!("{}\n", line.trim_end())
}

fn entry(log: &Log, commit: &CommitRecord, zone: &TimeZone) -> String {
    let mut fields = Fields::default();
    fields.push("author", &commit.author);
    fields.push("date", &date(commit, zone));
    fields.push("branch", commit.branch.as_str());
    for (key, value) in &commit.metadata {
        fields.push(key, value);
    }
    for image in &commit.images {
        let (container, image, digest) = (&image.container, &image.image, &image.digest);
        fields.push("image", &format!("{container}: {image} ({digest})"));
    }
    if let Some(code) = &commit.code {
        fields.push("code", &describe(code));
    }
    fields.push_places(log, commit.id);
    format!(
        "commit {}{}\n{}\n{}",
        commit.id,
        names(log, commit.id),
        fields.0,
        indented(&commit.message)
    )
}

/// Lines of the form `name: value`.
#[derive(Default)]
pub(super) struct Fields(pub(super) String);

impl Fields {
    pub(super) fn push(&mut self, name: &str, value: &str) {
        // Further lines of a value are indented, so that they do not look like fields.
        let _ = writeln!(self.0, "{name}: {}", value.replace('\n', "\n    "));
    }

    /// Adds where the data of a commit is if it is not here, and what was left out of it.
    pub(super) fn push_places(&mut self, log: &Log, commit: CommitId) {
        if let Some(source) = log.absent.get(&commit) {
            let (hub, dot) = (&source.hub, source.dot.full());
            let place = match log.without_data.contains(&commit) {
                true => format!("neither here nor at {hub}, dot {dot}"),
                false => format!("at {hub}, dot {dot}, not here"),
            };
            self.push("data", &place);
        }
        if let Some(list) = log.left_out.get(&commit) {
            let items = transfer::items(list, "").join("\n");
            self.push("left out", &items);
        }
    }
}

pub(super) fn date(commit: &CommitRecord, zone: &TimeZone) -> String {
    let time = commit.time.to_zoned(zone.clone());
    time.strftime("%a %b %-d %H:%M:%S %Y %z").to_string()
}

/// Indents a message, as `git log` does.
pub(super) fn indented(message: &str) -> String {
    let lines = message.lines();
    lines
        .map(|line| format!("{}\n", format!("    {line}").trim_end()))
        .collect()
}

pub(super) fn describe(code: &CodeVersion) -> String {
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
pub(super) fn names(log: &Log, commit: CommitId) -> String {
    let here = log
        .branches
        .iter()
        .filter(|(_, head)| **head == commit)
        .map(|(name, _)| name);
    let (current, others): (Vec<_>, Vec<_>) = here.partition(|name| **name == log.current);
    let current = current.iter().map(|name| format!("HEAD -> {name}"));
    let tags = log.tags.iter().filter(|(_, tagged)| **tagged == commit);
    let names: Vec<_> = current
        .chain(tags.map(|(name, _)| format!("tag: {name}")))
        .chain(others.iter().map(ToString::to_string))
        .collect();
    if names.is_empty() {
        String::new()
    } else {
        format!(" ({})", names.join(", "))
    }
}
