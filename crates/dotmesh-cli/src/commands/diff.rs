//! `dm diff`

use std::collections::BTreeMap;
use std::fmt::Write as _;

use dotmesh_api::node::{ChangeKind, Diff, FileChange, FileKind};
use dotmesh_model::size::format_size;
use serde::Serialize;
use utoipa::ToSchema;

use crate::context::Context;
use crate::error::Result;
use crate::fetch::{self, Extent};
use crate::output::{Answer, Human, answer};
use crate::paint;
use crate::ui::Ui;

pub mod rows;

/// Show which files differ between two states
///
/// Without a commit: what changed since the last commit. With one: what changed since that commit. With two: from the first
/// to the second. Text files are shown line by line. For other files, such as database files, the sizes are shown.
///
/// With --rows, what changed in the databases: tables, rows and keys of PostgreSQL, MariaDB, MySQL, Redis and SQLite.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Compare the rows of databases instead of files
    #[arg(long)]
    rows: bool,

    /// Print statements that make the newer rows of the older ones
    #[arg(long, requires = "rows", conflicts_with = "stat")]
    sql: bool,

    /// Show at most so many rows of each table; all are counted [default: 100, and all with --sql]
    #[arg(long, value_name = "ROWS", requires = "rows")]
    limit: Option<u64>,

    /// Read whole tables, also where a comparison of files would do
    #[arg(long, requires = "rows", hide = true)]
    full: bool,

    /// Show only the sizes of each file, and the number of files
    #[arg(long, conflicts_with = "name_status")]
    stat: bool,

    /// Show only a letter and the path of each file: A for added, D for removed, M for modified, R for moved
    #[arg(long, conflicts_with = "rows")]
    name_status: bool,

    /// HEAD~2, a branch, a commit's id or its first digits
    #[arg(value_name = "COMMIT", num_args = 0..=2)]
    commits: Vec<String>,

    /// Only what is at this path or below; with --rows, SUBDOT[/DATABASE[/TABLE]]
    #[arg(value_name = "SUBDOT[/PATH]", last = true)]
    path: Option<String>,
}

/// The most files of a subdot that `dm show` lists.
const MOST_OF_SUBDOT: usize = 20;

/// The files that differ between two states.
#[derive(Debug, Serialize, ToSchema)]
pub struct Changes {
    /// The states and the files.
    #[serde(flatten)]
    pub diff: Diff,
    /// How people read it.
    #[serde(skip)]
    pub form: Form,
    /// Whether the command takes a path, which a long list needs.
    #[serde(skip)]
    pub takes_path: bool,
}

/// How people read a diff.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Form {
    /// Line by line.
    #[default]
    Lines,
    /// A line for each file, with its size.
    Stat,
    /// The same for each subdot.
    BySubdot,
    /// A letter and a path for each file.
    NameStatus,
}

pub(super) async fn run(context: &Context, args: Args) -> Result<Answer> {
    match args.rows {
        true => rows::run(context, args).await.map(answer),
        false => files(context, args).await.map(answer),
    }
}

async fn files(context: &Context, args: Args) -> Result<Changes> {
    let form = match (args.stat, args.name_status) {
        (true, _) => Form::Stat,
        (_, true) => Form::NameStatus,
        _ => Form::Lines,
    };
    let mut query = vec![("text", (form == Form::Lines).to_string())];
    let commits = ["from", "to"].into_iter().zip(&args.commits);
    query.extend(commits.map(|(name, commit)| (name, commit.clone())));
    query.extend(args.path.clone().map(|path| ("path", path)));
    let commits: Vec<&str> = args.commits.iter().map(String::as_str).collect();
    let diff = context
        .on_current_dot(async |node, dot| {
            let compare = async || Ok(node.diff(dot, &query).await?);
            fetch::with_data(context, dot, &commits, Extent::Commit, compare).await
        })
        .await?;
    Ok(Changes {
        diff,
        form,
        takes_path: true,
    })
}

impl Human for Changes {
    fn show(&self, ui: &Ui) -> Result<()> {
        let more = self.diff.more;
        match self.form {
            Form::Lines => ui.page(&lines(&self.diff), paint::diff)?,
            Form::Stat => ui.out(&stat(&self.diff))?,
            Form::BySubdot => ui.out(&by_subdot(&self.diff))?,
            Form::NameStatus => ui.out(&name_status(&self.diff))?,
        }
        if more > 0 {
            let next = match self.takes_path {
                true => "; name a path to see them",
                false => "",
            };
            ui.warning(&format!("{more} more files differ{next}"));
        }
        if matches!(self.form, Form::Lines | Form::Stat) {
            tell_of_rows(ui, &self.diff);
        }
        Ok(())
    }
}

/// `M  uploads/1.png`
pub fn name_status(diff: &Diff) -> String {
    let lines = diff.changes.iter().map(|change| match &change.from {
        Some(from) => format!("R\t{from}\t{}\n", change.path),
        None => format!("{}\t{}\n", letter(change.change), change.path),
    });
    lines.collect()
}

/// One line for each file, and the counts.
pub fn stat(diff: &Diff) -> String {
    sizes_of(&diff.changes) + &counts_of(&diff.changes)
}

fn sizes_of(changes: &[FileChange]) -> String {
    let width = changes.iter().map(|change| name(change).chars().count());
    let width = width.max().unwrap_or(0);
    let mut text = String::new();
    for change in changes {
        let _ = writeln!(text, " {:width$} | {}", name(change), sizes(change));
    }
    text
}

fn counts_of(changes: &[FileChange]) -> String {
    let count = |kind| {
        changes
            .iter()
            .filter(|change| change.change == kind)
            .count()
    };
    let counts = [
        (count(ChangeKind::Modified), "modified"),
        (count(ChangeKind::Added), "added"),
        (count(ChangeKind::Removed), "removed"),
        (count(ChangeKind::Moved), "moved"),
    ];
    let counts = counts.iter().filter(|(count, _)| *count > 0);
    let counts: Vec<_> = counts
        .map(|(count, word)| format!("{count} {word}"))
        .collect();
    match counts.as_slice() {
        [] => String::new(),
        counts => format!(" {}\n", counts.join(", ")),
    }
}

/// Whether the list of the changed files of a subdot leaves some out.
pub fn is_cut(diff: &Diff) -> bool {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for change in &diff.changes {
        let subdot = change.path.split('/').next().unwrap_or_default();
        *counts.entry(subdot).or_default() += 1;
    }
    counts.into_values().any(|count| count > MOST_OF_SUBDOT)
}

/// Whether files of a database differ: those that PostgreSQL, MariaDB, MySQL and Redis write at each change.
fn has_database(diff: &Diff) -> bool {
    let is_of_database = |path: &str| {
        let parts = ["/pg_wal/", "/appendonlydir/"];
        let ends = ["/pg_control", "/ibdata1", "/dump.rdb", "/appendonly.aof"];
        parts.iter().any(|part| path.contains(part)) || ends.iter().any(|end| path.ends_with(end))
    };
    diff.changes
        .iter()
        .any(|change| is_of_database(&change.path))
}

/// Tells that there is more to see than files.
fn tell_of_rows(ui: &Ui, diff: &Diff) {
    if has_database(diff) {
        ui.hint("'dm diff --rows' shows what changed in the databases.");
    }
}

/// Unified diffs of text files, and one line for every other file.
pub fn lines(diff: &Diff) -> String {
    let mut text = String::new();
    for change in &diff.changes {
        match &change.unified {
            // An empty diff means that only the path or the attributes changed: that gets a line like other files.
            Some(unified) if !unified.is_empty() => text.push_str(unified),
            _ => {
                let _ = writeln!(text, "{} {}: {}", word(change), name(change), sizes(change));
            }
        }
    }
    text
}

fn letter(change: ChangeKind) -> char {
    match change {
        ChangeKind::Added => 'A',
        ChangeKind::Removed => 'D',
        ChangeKind::Modified => 'M',
        ChangeKind::Moved => 'R',
    }
}

fn word(change: &FileChange) -> &'static str {
    match change.change {
        ChangeKind::Added => "added",
        ChangeKind::Removed => "removed",
        ChangeKind::Modified => "modified",
        ChangeKind::Moved => "moved",
    }
}

fn name(change: &FileChange) -> String {
    match &change.from {
        Some(from) => format!("{from} => {}", change.path),
        None => change.path.clone(),
    }
}

fn sizes(change: &FileChange) -> String {
    let size = |bytes: u64| match bytes {
        0 => "0 bytes".to_owned(),
        bytes => format_size(bytes),
    };
    match (change.kind, change.change) {
        (FileKind::Directory, _) => "directory".to_owned(),
        (FileKind::Symlink, _) => "symbolic link".to_owned(),
        (FileKind::Other, _) => "special file".to_owned(),
        (FileKind::File, ChangeKind::Added) => size(change.after),
        (FileKind::File, ChangeKind::Removed) => size(change.before),
        (FileKind::File, _) if change.before == change.after => size(change.after),
        (FileKind::File, _) => format!("{} -> {}", size(change.before), size(change.after)),
    }
}

/// The changed files of each subdot with their sizes, and the counts. The files of a database are many, so of each subdot only
/// the first are listed.
pub fn by_subdot(diff: &Diff) -> String {
    let mut subdots: BTreeMap<&str, Vec<FileChange>> = BTreeMap::new();
    for change in &diff.changes {
        // A folder at the top is a subdot.
        let subdot = match change.path.split_once('/') {
            Some((subdot, _)) => subdot,
            None if change.kind == FileKind::Directory => change.path.as_str(),
            None => "__root__",
        };
        subdots.entry(subdot).or_default().push(change.clone());
    }
    let blocks = subdots.into_iter().map(|(subdot, changes)| {
        let listed = &changes[..changes.len().min(MOST_OF_SUBDOT)];
        let more = match changes.len() - listed.len() {
            0 => String::new(),
            more => format!(" … {more} more\n"),
        };
        format!(
            "{subdot}:\n{}{more}{}",
            sizes_of(listed),
            counts_of(&changes)
        )
    });
    blocks.collect::<Vec<_>>().join("\n")
}
