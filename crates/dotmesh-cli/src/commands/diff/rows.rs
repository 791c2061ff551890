//! `dm diff --rows`

use std::fmt::Write as _;

use dotmesh_api::node::{DiffRows, DiffRowsEvent};
use dotmesh_model::CommitId;
use dotmesh_rows::model::{
    Cell, Counts, DatabaseKind, DiffEvent, Fate, RowChange, RowKey, TableChange,
};
use dotmesh_rows::render::{epilogue, plain, prologue, shown, statement};
use futures::StreamExt as _;
use serde::Serialize;
use utoipa::ToSchema;

use super::Args;
use crate::context::Context;
use crate::error::{CliError, Code, Result};
use crate::fetch::{self, Extent};
use crate::output::Human;
use crate::paint;
use crate::ui::Ui;

/// The rows of a table that are shown by default.
const LIMIT: u64 = 100;

/// The characters of a value that people see.
const WIDTH: usize = 60;

/// The rows that differ between two states.
#[derive(Debug, Serialize, ToSchema)]
pub struct RowChanges {
    /// The older state.
    pub from: CommitId,
    /// The newer state. `null` means the working copy.
    pub to: Option<CommitId>,
    /// The tables that differ. Redis has patterns of keys instead.
    pub tables: Vec<TableRows>,
    /// What could not be compared.
    pub problems: Vec<Problem>,
    /// How people read it.
    #[serde(skip)]
    pub form: Form,
}

/// The differences of a table.
#[derive(Debug, Serialize, ToSchema)]
pub struct TableRows {
    /// The table, and how its definition differs. A table without a name stands for views, functions and others.
    #[serde(flatten)]
    pub table: TableChange,
    /// How many rows differ.
    pub counts: Counts,
    /// Rows that differ, up to the limit.
    pub rows: Vec<RowChange>,
}

/// Something that could not be compared.
#[derive(Debug, Serialize, ToSchema)]
pub struct Problem {
    /// The address of a store or of a table.
    pub what: String,
    /// Why.
    pub why: String,
}

/// How people read the differences.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Form {
    /// A summary, and then rows.
    #[default]
    Rows,
    /// The summary alone.
    Stat,
    /// Statements, which were printed as they came.
    Sql,
}

pub(super) async fn run(context: &Context, args: Args) -> Result<RowChanges> {
    let form = match (args.sql, args.stat) {
        (true, _) => Form::Sql,
        (_, true) => Form::Stat,
        _ => Form::Rows,
    };
    if form == Form::Sql && context.ui.is_json() {
        return Err(
            CliError::usage("--sql prints statements, and --json a document")
                .hint("Leave one of them out."),
        );
    }
    let mut commits = args.commits.iter().cloned();
    let request = DiffRows {
        from: commits.next(),
        to: commits.next(),
        target: args.path.clone(),
        limit: match form {
            Form::Sql => args.limit,
            Form::Stat => Some(args.limit.unwrap_or(0)),
            Form::Rows => Some(args.limit.unwrap_or(LIMIT)),
        },
        longest: (form == Form::Sql).then_some(1 << 20),
        full: args.full,
    };
    let commits: Vec<&str> = args.commits.iter().map(String::as_str).collect();
    context
        .on_current_dot(async |node, dot| {
            let ask = async || {
                let events = node.diff_rows(dot, &request).await?;
                let events = std::pin::pin!(events);
                collect(&context.ui, events, form).await
            };
            fetch::with_data(context, dot, &commits, Extent::Commit, ask).await
        })
        .await
}

async fn collect(
    ui: &Ui,
    mut events: impl futures::Stream<
        Item = std::result::Result<DiffRowsEvent, dotmesh_api::ClientError>,
    > + Unpin,
    form: Form,
) -> Result<RowChanges> {
    let mut changes = RowChanges {
        from: CommitId::ROOT,
        to: None,
        tables: Vec::new(),
        problems: Vec::new(),
        form,
    };
    let mut statements = Statements::default();
    while let Some(event) = events.next().await {
        match event? {
            DiffRowsEvent::States { from, to } => (changes.from, changes.to) = (from, to),
            DiffRowsEvent::Change(event) => {
                if form == Form::Sql {
                    ui.bytes(statements.of(&event).as_bytes())?;
                }
                changes.take(event, form);
            }
            DiffRowsEvent::Done {} => {
                ui.bytes(statements.end().as_bytes())?;
                return Ok(changes);
            }
            DiffRowsEvent::Failed(error) => return Err(error.into()),
        }
    }
    let message = "the node closed the connection before the comparison ended";
    Err(CliError::new(Code::NodeUnreachable, message).hint("The node's log says why."))
}

impl RowChanges {
    /// Adds an event of the node.
    pub fn take(&mut self, event: DiffEvent, form: Form) {
        match event {
            DiffEvent::Table(table) => self.tables.push(TableRows {
                table,
                counts: Counts::default(),
                rows: Vec::new(),
            }),
            DiffEvent::Row(row) => {
                // Statements are printed, and not kept.
                if let Some(table) = self.tables.last_mut().filter(|_| form != Form::Sql) {
                    table.rows.push(row);
                }
            }
            DiffEvent::Counted(counts) => {
                if let Some(table) = self.tables.last_mut() {
                    table.counts = counts;
                }
            }
            DiffEvent::Problem { what, why } => self.problems.push(Problem { what, why }),
        }
    }
}

impl Human for RowChanges {
    fn show(&self, ui: &Ui) -> Result<()> {
        match self.form {
            Form::Sql => {}
            Form::Stat => ui.out(&summary(self))?,
            Form::Rows => ui.page(&whole(self), paint::diff)?,
        }
        for problem in &self.problems {
            ui.warning(&format!(
                "{} was not compared: {}",
                problem.what, problem.why
            ));
        }
        if self.tables.is_empty() && self.problems.is_empty() {
            ui.status("No rows differ");
        }
        Ok(())
    }
}

/// Statements, database by database.
#[derive(Default)]
struct Statements {
    table: Option<TableChange>,
    /// What needs all tables, or would act on the rows.
    later: String,
}

impl Statements {
    fn of(&mut self, event: &DiffEvent) -> String {
        match event {
            DiffEvent::Table(table) => {
                let mut text = String::new();
                let place =
                    |table: &TableChange| (table.store.address(), table.name.database.clone());
                if self.table.as_ref().map(place) != Some(place(table)) {
                    text.push_str(&self.end());
                    let mark = if table.store.kind == DatabaseKind::Redis {
                        "#"
                    } else {
                        "--"
                    };
                    let _ = writeln!(
                        text,
                        "{mark} {}, database {}",
                        table.store,
                        plain(&table.name.database)
                    );
                    text.push_str(prologue(table.store.kind));
                }
                for statement in &table.ddl {
                    let line = format!("{};\n", statement.trim_end_matches(';'));
                    match comes_last(statement) {
                        true => self.later.push_str(&line),
                        false => text.push_str(&line),
                    }
                }
                self.table = Some(table.clone());
                text
            }
            DiffEvent::Row(row) => match &self.table {
                // Its rows go with the table.
                Some(table) if table.fate != Fate::Dropped => statement(table, row),
                _ => String::new(),
            },
            DiffEvent::Counted(_) | DiffEvent::Problem { .. } => String::new(),
        }
    }

    fn end(&mut self) -> String {
        let table = self.table.take();
        let end = table.map_or("", |table| epilogue(table.store.kind));
        format!("{}{end}", std::mem::take(&mut self.later))
    }
}

/// Whether a statement needs other tables, or would act when rows are written.
fn comes_last(statement: &str) -> bool {
    let begins = ["CREATE VIEW", "CREATE MATERIALIZED VIEW", "CREATE TRIGGER"];
    let begins = begins.iter().any(|begin| {
        let head = statement.get(..begin.len());
        head.is_some_and(|head| head.eq_ignore_ascii_case(begin))
    });
    begins || statement.contains(" FOREIGN KEY (")
}

fn place(table: &TableChange) -> String {
    let address = match table.store.kind {
        DatabaseKind::Sqlite => table.store.address(),
        _ => format!("{}/{}", table.store.address(), table.name.database),
    };
    match table.name.table.is_empty() {
        true => plain(&address),
        false => plain(&format!("{address}/{}", table.name.short())),
    }
}

/// `1 row added, 2 changed`
fn counted(table: &TableRows) -> String {
    let (one, many) = match table.table.store.kind {
        DatabaseKind::Redis => ("key", "keys"),
        _ => ("row", "rows"),
    };
    let counts = [
        (table.counts.added, "added"),
        (table.counts.removed, "removed"),
        (table.counts.changed, "changed"),
    ];
    let mut parts: Vec<String> = Vec::new();
    for (count, word) in counts.into_iter().filter(|(count, _)| *count > 0) {
        parts.push(match (parts.is_empty(), count) {
            (true, 1) => format!("1 {one} {word}"),
            (true, count) => format!("{count} {many} {word}"),
            (false, count) => format!("{count} {word}"),
        });
    }
    let fate = match table.table.fate {
        Fate::Created => Some("new"),
        Fate::Dropped => Some("gone"),
        Fate::Renamed => Some("renamed"),
        Fate::Kept if !table.table.ddl.is_empty() => Some("definition changed"),
        Fate::Kept => None,
    };
    let mut all: Vec<String> = fate.map(str::to_owned).into_iter().collect();
    if !parts.is_empty() {
        all.push(parts.join(", "));
    }
    all.join("; ")
}

/// One line for each table.
pub fn summary(changes: &RowChanges) -> String {
    let places: Vec<String> = changes
        .tables
        .iter()
        .map(|table| place(&table.table))
        .collect();
    let width = places
        .iter()
        .map(|place| place.chars().count())
        .max()
        .unwrap_or(0);
    let lines = places.iter().zip(&changes.tables);
    lines
        .map(|(place, table)| format!(" {place:width$} | {}\n", counted(table)))
        .collect()
}

/// The summary, and then the rows of each table.
pub fn whole(changes: &RowChanges) -> String {
    let mut text = summary(changes);
    for table in &changes.tables {
        if table.rows.is_empty() && table.table.ddl.is_empty() {
            continue;
        }
        let by = match &table.table.key {
            _ if table.rows.is_empty() => String::new(),
            RowKey::None => ", by all values".to_owned(),
            key => format!(", by {}", plain(&key.columns().join(", "))),
        };
        let _ = writeln!(text, "\n@@ {}{by} @@", place(&table.table));
        for statement in &table.table.ddl {
            let _ = writeln!(text, " {};", plain(statement.trim_end_matches(';')));
        }
        for row in &table.rows {
            text.push_str(&line(&table.table, row));
        }
        let told: u64 = table.rows.iter().map(|row| row.count).sum();
        let all = table.counts.added + table.counts.removed + table.counts.changed;
        if all > told {
            let _ = writeln!(text, " … {} more, which --limit shows", all - told);
        }
    }
    text
}

fn line(table: &TableChange, row: &RowChange) -> String {
    let name = |place: usize| table.columns.get(place).map_or("", String::as_str);
    let pairs = |values: &[Cell]| {
        let shown = values
            .iter()
            .enumerate()
            .filter(|(_, value)| **value != Cell::Null || table.columns.len() == 1);
        let pairs =
            shown.map(|(place, value)| format!("{}={}", plain(name(place)), shown_value(value)));
        pairs.collect::<Vec<_>>().join("  ")
    };
    let times = match row.count {
        1 => String::new(),
        count => format!("  ({count} times)"),
    };
    match (&row.before, &row.after) {
        (None, Some(after)) => format!("+ {}{times}\n", pairs(after)),
        (Some(before), None) => format!("- {}{times}\n", pairs(before)),
        (Some(before), Some(after)) => {
            let key = table.key.columns().iter().filter_map(|column| {
                let place = table.columns.iter().position(|name| name == column)?;
                Some(format!(
                    "{}={}",
                    plain(column),
                    shown_value(after.get(place)?)
                ))
            });
            let mut text = format!("~ {}\n", key.collect::<Vec<_>>().join("  "));
            for place in &row.changed {
                let (Some(old), Some(new)) = (before.get(*place), after.get(*place)) else {
                    continue;
                };
                text.push_str(&changed(name(*place), old, new));
            }
            text
        }
        (None, None) => String::new(),
    }
}

fn shown_value(value: &Cell) -> String {
    shown(value, WIDTH)
}

/// A changed value: the old one, and the new one. Of lists and maps only the elements that differ.
fn changed(name: &str, old: &Cell, new: &Cell) -> String {
    let name = plain(name);
    let mut text = String::new();
    match (old, new) {
        (Cell::List(old), Cell::List(new)) => {
            let first = old
                .iter()
                .zip(new)
                .take_while(|(old, new)| old == new)
                .count();
            let rest = old.len().min(new.len()) - first;
            let last = old
                .iter()
                .rev()
                .zip(new.iter().rev())
                .take(rest)
                .take_while(|(old, new)| old == new)
                .count();
            for (place, value) in old.iter().enumerate().take(old.len() - last).skip(first) {
                let _ = writeln!(text, "-   {name}[{place}]: {}", shown_value(value));
            }
            for (place, value) in new.iter().enumerate().take(new.len() - last).skip(first) {
                let _ = writeln!(text, "+   {name}[{place}]: {}", shown_value(value));
            }
        }
        (Cell::Map { map: old }, Cell::Map { map: new }) => {
            for pair in old.iter().filter(|pair| !new.contains(pair)) {
                let _ = writeln!(
                    text,
                    "-   {name}.{}: {}",
                    shown_value(&pair.0),
                    shown_value(&pair.1)
                );
            }
            for pair in new.iter().filter(|pair| !old.contains(pair)) {
                let _ = writeln!(
                    text,
                    "+   {name}.{}: {}",
                    shown_value(&pair.0),
                    shown_value(&pair.1)
                );
            }
        }
        (old, new) => {
            let _ = writeln!(text, "-   {name}: {}", shown_value(old));
            let _ = writeln!(text, "+   {name}: {}", shown_value(new));
        }
    }
    text
}
