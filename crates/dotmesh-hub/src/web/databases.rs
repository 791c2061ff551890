//! How pages show databases: their tables, and the rows that changed. All of it comes from clients, so each list and text
//! is cut at a limit, and says so.

use std::collections::BTreeMap;

use dotmesh_hub_model::show;
use dotmesh_hub_service::operations::compare_databases::{DatabasesCompared, NotComposed};
use dotmesh_rows::compose::{self, Composition, TableDiff};
use dotmesh_rows::model::{
    Cell, Column, Counts, DatabaseKind, DatabaseSummary, Fate, RowChange, RowKey, Store, TableName,
    TableSize,
};
use dotmesh_rows::render;

/// The most tables of a database on a page.
const MAX_TABLES: usize = 100;

/// The most tables with changed rows on a page.
const MAX_CHANGED: usize = 60;

/// The most columns of a table.
const MAX_COLUMNS: usize = 40;

/// The most rows of a table, and of all tables of a page.
const MAX_ROWS: usize = 100;
const MAX_ALL_ROWS: usize = 600;

/// The most statements and problems.
const MAX_LINES: usize = 40;

/// The longest value, name and statement, in characters.
const MAX_VALUE: usize = 160;
const MAX_NAME: usize = 120;
const MAX_STATEMENT: usize = 2_000;

/// What is in the databases of a commit.
pub(crate) struct Contents {
    pub(crate) stores: Vec<StoreView>,
    pub(crate) problems: Vec<String>,
    /// What is not shown.
    pub(crate) more: Option<String>,
}

/// A database server, or an SQLite file.
pub(crate) struct StoreView {
    pub(crate) address: String,
    /// `PostgreSQL 15`.
    pub(crate) kind: String,
    /// What its tables are called: `Table` or `Keys`.
    pub(crate) noun: &'static str,
    /// `3 tables, 40 rows`.
    pub(crate) sums: String,
    pub(crate) tables: Vec<TableView>,
    /// What is not shown.
    pub(crate) more: Option<String>,
}

/// A table, or a pattern of keys.
pub(crate) struct TableView {
    pub(crate) name: String,
    pub(crate) rows: String,
    pub(crate) bytes: String,
    pub(crate) columns: Vec<ColumnView>,
    /// What is not shown.
    pub(crate) more: Option<String>,
}

/// A column of a table.
pub(crate) struct ColumnView {
    pub(crate) name: String,
    pub(crate) definition: String,
    pub(crate) is_key: bool,
}

impl Contents {
    /// What a summary says.
    pub(crate) fn new(summary: &DatabaseSummary) -> Self {
        let mut stores: BTreeMap<&Store, Vec<&TableSize>> = BTreeMap::new();
        for table in &summary.tables {
            stores.entry(&table.store).or_default().push(table);
        }
        let (problems, hidden) = first(&summary.problems, MAX_LINES, |text| name(text));
        Self {
            stores: stores
                .into_iter()
                .map(|(store, tables)| StoreView::new(store, &tables))
                .collect(),
            problems,
            more: more(hidden, "more problem"),
        }
    }
}

impl StoreView {
    fn new(store: &Store, tables: &[&TableSize]) -> Self {
        let names = tables.iter().map(|table| table.name.database.as_str());
        let databases: std::collections::BTreeSet<&str> = names.collect();
        let is_one = databases.len() < 2;
        let (shown, hidden) = first(tables, MAX_TABLES, |table| TableView::new(table, is_one));
        let sum = tables
            .iter()
            .filter_map(|table| table.rows)
            .fold(0, u64::saturating_add);
        let [noun, table, row] = match store.kind {
            DatabaseKind::Redis => ["Keys", "pattern", "key"],
            _ => ["Table", "table", "row"],
        };
        let count = show::count(tables.len() as u64, table);
        Self {
            address: name(&store.address()),
            kind: kind(store),
            noun,
            sums: format!("{count}, {}", show::count(sum, row)),
            tables: shown,
            more: more(hidden, "more table"),
        }
    }
}

impl TableView {
    fn new(table: &TableSize, is_one_database: bool) -> Self {
        let keys = table.key.columns();
        let (columns, hidden) = first(&table.columns, MAX_COLUMNS, |column| ColumnView {
            name: name(&column.name),
            definition: definition(column),
            is_key: keys.contains(&column.name),
        });
        Self {
            name: table_name(&table.name, table.store.kind, is_one_database),
            rows: table
                .rows
                .map_or_else(|| "unknown".to_owned(), |rows| rows.to_string()),
            bytes: match table.bytes {
                0 => String::new(),
                bytes => show::bytes(bytes),
            },
            columns,
            more: more(hidden, "more column"),
        }
    }
}

fn definition(column: &Column) -> String {
    let generated = if column.is_generated {
        " (computed)"
    } else {
        ""
    };
    name(format!("{} {}{generated}", column.kind, column.rest).trim())
}

fn kind(store: &Store) -> String {
    name(format!("{} {}", store.kind.name(), store.version).trim())
}

fn table_name(table: &TableName, kind: DatabaseKind, is_one_database: bool) -> String {
    let short = table.short();
    match (kind, is_one_database) {
        (DatabaseKind::Redis, false) => name(&format!("{short} (database {})", table.database)),
        // Views and functions belong to no table.
        _ if table.table.is_empty() => {
            name(format!("{}.{short}", table.database).trim_end_matches('.'))
        }
        (DatabaseKind::Redis | DatabaseKind::Sqlite, _) | (_, true) => name(&short),
        _ => name(&format!("{}.{short}", table.database)),
    }
}

fn name(text: &str) -> String {
    show::cut(&render::plain(text), MAX_NAME).into_owned()
}

/// The first items of a list, and the number of the others.
fn first<T, U>(items: &[T], most: usize, view: impl FnMut(&T) -> U) -> (Vec<U>, usize) {
    let shown: Vec<U> = items.iter().take(most).map(view).collect();
    (shown, items.len().saturating_sub(most))
}

/// `3 more tables not shown.`
fn more(hidden: usize, noun: &str) -> Option<String> {
    (hidden > 0).then(|| format!("{} not shown.", show::count(hidden as u64, noun)))
}

/// What changed in the databases between two commits.
#[derive(Default)]
pub(crate) struct Changes {
    pub(crate) tables: Vec<ChangedTable>,
    /// What is not shown.
    pub(crate) more: Option<String>,
    /// Why the hub cannot tell more.
    pub(crate) notes: Vec<String>,
    /// Tables whose number of rows differs, if no rows are known.
    pub(crate) counts: Vec<CountChange>,
}

/// A table that differs.
pub(crate) struct ChangedTable {
    pub(crate) name: String,
    pub(crate) place: String,
    pub(crate) fate: &'static str,
    /// `1 added, 2 changed`.
    pub(crate) counts: String,
    pub(crate) statements: Vec<String>,
    /// What the statements are.
    pub(crate) statements_label: &'static str,
    pub(crate) columns: Vec<(String, bool)>,
    pub(crate) rows: Vec<RowView>,
    /// What is not shown, and why.
    pub(crate) hints: Vec<String>,
}

/// A row that differs.
pub(crate) struct RowView {
    /// `added`, `removed` or `changed`.
    pub(crate) what: &'static str,
    /// How many such rows there are, if it is not one.
    pub(crate) count: Option<u64>,
    pub(crate) cells: Vec<CellView>,
}

/// A value of a row, or two values side by side.
pub(crate) struct CellView {
    /// The value before, where it differs.
    pub(crate) old: Option<Shown>,
    pub(crate) value: Shown,
}

/// A value as text.
pub(crate) struct Shown {
    pub(crate) text: String,
    /// Whether the text is no value, but says something of it, such as `NULL`.
    pub(crate) is_word: bool,
}

/// A table of which the number of rows is known before and after.
pub(crate) struct CountChange {
    pub(crate) name: String,
    pub(crate) place: String,
    pub(crate) before: String,
    pub(crate) after: String,
}

impl Changes {
    /// What changed since the parent.
    pub(crate) fn of_commit(summary: DatabaseSummary) -> Self {
        let (tables, problems) = compose::tables(summary.changes);
        Self::new(Composition {
            tables,
            is_cut: summary.is_cut,
            problems,
        })
    }

    /// What changed between two commits.
    pub(crate) fn between(compared: DatabasesCompared) -> Self {
        let counts = match (&compared.before, &compared.after) {
            (Some(before), Some(after)) => counts(before, after),
            _ => Vec::new(),
        };
        match compared.changes {
            Ok(composition) => {
                let is_partial = composition
                    .tables
                    .iter()
                    .any(|table| table.obstacle.is_some());
                let mut changes = Self::new(composition);
                if is_partial {
                    changes.counts = counts;
                }
                changes
            }
            Err(unknown) => Self {
                notes: vec![why(unknown)],
                counts,
                ..Self::default()
            },
        }
    }

    fn new(composition: Composition) -> Self {
        let mut left = MAX_ALL_ROWS;
        let differs = |table: &TableDiff| {
            let none = table.counts.is_some_and(Counts::is_empty);
            !none
                || !table.table.ddl.is_empty()
                || table.table.fate != Fate::Kept
                || table.obstacle.is_some()
        };
        let tables: Vec<TableDiff> = composition.tables.into_iter().filter(differs).collect();
        let (tables, hidden) = first(&tables, MAX_CHANGED, |table| {
            ChangedTable::new(table, &mut left)
        });
        let (mut notes, hidden_notes) = first(&composition.problems, MAX_LINES, |text| name(text));
        notes.extend(more(hidden_notes, "more problem"));
        if composition.is_cut {
            notes.push("There are more changes than the hub was told, so rows and tables may be missing here.".to_owned());
        }
        Self {
            tables,
            more: more(hidden, "more table"),
            notes,
            counts: Vec::new(),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.tables.is_empty() && self.notes.is_empty() && self.counts.is_empty()
    }
}

fn why(unknown: NotComposed) -> String {
    match unknown {
        NotComposed::NotOnOneLine => {
            "The hub cannot list the rows that differ: it puts the changes of commits together only along one line, up to 50 commits. \
             Compare each commit with its parent, or run “dm diff --rows” where both commits are."
                .to_owned()
        }
        NotComposed::WithoutSummary(without, of) => format!(
            "The hub cannot list the rows that differ: {without} of {} in between came without a summary. \
             Run “dm diff --rows” where both commits are.",
            show::count(of as u64, "commit")
        ),
    }
}

/// The tables whose number of rows differs.
fn counts(before: &DatabaseSummary, after: &DatabaseSummary) -> Vec<CountChange> {
    type Sides<'a> = (Option<&'a TableSize>, Option<&'a TableSize>);
    let mut tables: BTreeMap<(&str, &str, &TableName), Sides<'_>> = BTreeMap::new();
    for table in &before.tables {
        let place = (
            table.store.subdot.as_str(),
            table.store.path.as_str(),
            &table.name,
        );
        tables.entry(place).or_default().0 = Some(table);
    }
    for table in &after.tables {
        let place = (
            table.store.subdot.as_str(),
            table.store.path.as_str(),
            &table.name,
        );
        tables.entry(place).or_default().1 = Some(table);
    }
    let rows = |side: Option<&TableSize>| match side {
        None => "none".to_owned(),
        Some(table) => table
            .rows
            .map_or_else(|| "unknown".to_owned(), |rows| rows.to_string()),
    };
    let differs = tables.into_values().filter(|(one, two)| match (one, two) {
        (Some(one), Some(two)) => one.rows != two.rows,
        _ => true,
    });
    let view = |(before, after): Sides<'_>| {
        let table = before.or(after)?;
        Some(CountChange {
            name: table_name(&table.name, table.store.kind, false),
            place: name(&table.store.address()),
            before: rows(before),
            after: rows(after),
        })
    };
    differs.filter_map(view).take(MAX_TABLES).collect()
}

impl ChangedTable {
    fn new(diff: &TableDiff, left: &mut usize) -> Self {
        let table = &diff.table;
        let keys = table.key.columns();
        let (columns, hidden_columns) = first(&table.columns, MAX_COLUMNS, |column| {
            (name(column), keys.contains(column))
        });
        let most = MAX_ROWS.min(*left);
        let (rows, hidden) = first(&diff.rows, most, |row| RowView::new(row, columns.len()));
        *left -= rows.len();
        let (statements, hidden_statements) = first(&table.ddl, MAX_LINES, |text| {
            show::cut(text, MAX_STATEMENT).into_owned()
        });
        let mut hints = Vec::new();
        hints.extend(more(hidden_columns, "more column"));
        hints.extend(more(hidden_statements, "more statement"));
        if let Some(obstacle) = diff.obstacle {
            hints.push(format!(
                "The rows of several commits cannot be put together: {}.",
                obstacle.text()
            ));
        } else {
            let hidden = (hidden as u64).saturating_add(diff.missing().unwrap_or_default());
            if hidden > 0 {
                let what = if rows.is_empty() {
                    "changed row"
                } else {
                    "more changed row"
                };
                hints.push(format!("{} not shown.", show::count(hidden, what)));
            }
        }
        if rows.iter().any(|row| row.count.is_some())
            || table.key == RowKey::None && !rows.is_empty()
        {
            hints.push("This table has no key, so its rows are compared as a whole.".to_owned());
        }
        Self {
            name: table_name(&table.name, table.store.kind, false),
            place: format!("{}, {}", name(&table.store.address()), kind(&table.store)),
            fate: match table.fate {
                Fate::Kept => "",
                Fate::Created => "new",
                Fate::Dropped => "dropped",
                Fate::Renamed => "renamed",
            },
            counts: counted(diff),
            statements,
            statements_label: match table.fate {
                Fate::Created => "The definition",
                Fate::Dropped | Fate::Kept | Fate::Renamed => "The definition changed",
            },
            columns,
            rows,
            hints,
        }
    }
}

fn counted(diff: &TableDiff) -> String {
    let Some(counts) = diff.counts else {
        return String::new();
    };
    let parts = [
        (counts.added, "added"),
        (counts.removed, "removed"),
        (counts.changed, "changed"),
    ];
    let parts = parts.into_iter().filter(|(count, _)| *count > 0);
    let parts: Vec<String> = parts
        .map(|(count, what)| format!("{count} {what}"))
        .collect();
    parts.join(", ")
}

impl RowView {
    fn new(row: &RowChange, columns: usize) -> Self {
        let (what, values) = match (&row.before, &row.after) {
            (None, Some(after)) => ("added", after),
            (Some(_), Some(after)) => ("changed", after),
            (Some(before), None) => ("removed", before),
            (None, None) => ("changed", const { &Vec::new() }),
        };
        let cells = values.iter().take(columns).enumerate();
        let old = |at: usize| {
            let before = row.before.as_ref().filter(|_| what == "changed")?;
            before.get(at).filter(|_| row.changed.contains(&at))
        };
        let cell = |(at, value): (usize, &Cell)| CellView {
            old: old(at).map(Shown::new),
            value: Shown::new(value),
        };
        Self {
            what,
            count: (row.count > 1).then_some(row.count),
            cells: cells.map(cell).collect(),
        }
    }
}

impl Shown {
    fn new(value: &Cell) -> Self {
        let (text, is_word) = match value {
            Cell::Null => ("NULL".to_owned(), true),
            Cell::Text(text) if text.is_empty() => ("empty text".to_owned(), true),
            value => (render::shown(value, MAX_VALUE), false),
        };
        Self { text, is_word }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_belongs_to_no_table_has_the_name_of_the_database() {
        let shown = |schema: &str, table: &str| {
            let table = TableName {
                database: "shop".to_owned(),
                schema: schema.to_owned(),
                table: table.to_owned(),
            };
            table_name(&table, DatabaseKind::Postgres, false)
        };
        assert_eq!(shown("public", "users"), "shop.users");
        assert_eq!(shown("audit", "users"), "shop.audit.users");
        assert_eq!(shown("public", ""), "shop");
        assert_eq!(shown("audit", ""), "shop.audit");
    }
}
