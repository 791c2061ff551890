//! `dm rows`

use dotmesh_api::node::{ListRows, RowsEvent};
use dotmesh_model::DotName;
use dotmesh_model::size::format_size;
use dotmesh_rows::model::{Cell, DatabaseKind, Store, TableName, TableSize};
use dotmesh_rows::render::{csv, plain, shown};
use futures::StreamExt as _;
use serde::Serialize;
use utoipa::ToSchema;

use super::diff::rows::Problem;
use crate::context::Context;
use crate::error::{CliError, Code, Result};
use crate::fetch::{self, Extent};
use crate::output::Human;
use crate::table::aligned;
use crate::ui::Ui;

/// The rows that are shown by default.
const LIMIT: u64 = 100;

/// The characters of a value that people see.
const WIDTH: usize = 40;

/// Show the tables and rows of a state's databases
///
/// Without a table, its databases, tables and row counts. With one, its rows. The databases are opened on a copy, which is
/// thrown away, so nothing changes. PostgreSQL, MariaDB, MySQL, Redis and SQLite can be read.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The commit: HEAD~2, a branch, a tag, an id or its first digits
    #[arg(value_name = "REV")]
    revision: String,

    /// What to show, such as users-db/postgres/users. Of Redis, a pattern of keys: clicks-db/0/user:*
    #[arg(value_name = "SUBDOT[/DATABASE[/TABLE]]")]
    target: Option<String>,

    /// Only rows for which this condition is true, in the database's own SQL. Of Redis, a pattern of keys
    #[arg(long = "where", value_name = "CONDITION", requires = "target")]
    filter: Option<String>,

    /// Show at most so many rows [default: 100, and all with --csv]
    #[arg(long, value_name = "ROWS")]
    limit: Option<u64>,

    /// Print the rows as CSV, with the names of the columns first
    #[arg(long, requires = "target")]
    csv: bool,
}

/// What is in the databases of a state.
#[derive(Debug, Serialize, ToSchema)]
pub struct Contents {
    /// The dot.
    pub dot: DotName,
    /// The commit, as it was named.
    pub revision: String,
    /// The tables, unless one was named. Redis has patterns of keys instead.
    pub tables: Vec<TableSize>,
    /// The rows of the table that was named.
    pub rows: Option<TableContent>,
    /// What could not be read.
    pub problems: Vec<Problem>,
}

/// The rows of a table.
#[derive(Debug, Serialize, ToSchema)]
pub struct TableContent {
    /// The store.
    pub store: Store,
    /// The table.
    pub name: TableName,
    /// The names of the columns.
    pub columns: Vec<String>,
    /// The values of each row.
    pub rows: Vec<Vec<Cell>>,
    /// Whether there are more rows than the limit.
    pub is_cut: bool,
}

pub(super) async fn run(context: &Context, args: Args) -> Result<Contents> {
    if args.csv && context.ui.is_json() {
        return Err(
            CliError::usage("--csv and --json are two formats").hint("Leave one of them out.")
        );
    }
    let limit = match (args.limit, args.csv) {
        (None, true) => None,
        (limit, _) => Some(limit.unwrap_or(LIMIT)),
    };
    let request = ListRows {
        revision: Some(args.revision.clone()),
        target: args.target.clone(),
        filter: args.filter.clone(),
        // One more shows whether there are more.
        limit: limit.map(|limit| limit.saturating_add(1)),
        longest: args.csv.then_some(16 << 20),
    };
    let revisions = [args.revision.as_str()];
    context
        .on_current_dot(async |node, dot| {
            let ask = async || {
                let events = node.rows(dot, &request).await?;
                let mut events = std::pin::pin!(events);
                let mut contents = Contents {
                    dot: dot.clone(),
                    revision: args.revision.clone(),
                    tables: Vec::new(),
                    rows: None,
                    problems: Vec::new(),
                };
                while let Some(event) = events.next().await {
                    match event? {
                        RowsEvent::Done {} => return Ok(contents),
                        RowsEvent::Failed(error) => return Err(error.into()),
                        event => contents.take(&context.ui, event, limit, args.csv)?,
                    }
                }
                let message = "the node closed the connection before everything was read";
                Err(CliError::new(Code::NodeUnreachable, message).hint("The node's log says why."))
            };
            fetch::with_data(context, dot, &revisions, Extent::Commit, ask).await
        })
        .await
}

impl Contents {
    fn take(&mut self, ui: &Ui, event: RowsEvent, limit: Option<u64>, is_csv: bool) -> Result<()> {
        match event {
            RowsEvent::Table(table) => self.tables.push(table),
            RowsEvent::Begin {
                store,
                name,
                columns,
            } => {
                if is_csv {
                    let names: Vec<Cell> = columns.iter().cloned().map(Cell::Text).collect();
                    ui.bytes(csv(&names).as_bytes())?;
                    return Ok(());
                }
                self.rows = Some(TableContent {
                    store,
                    name,
                    columns,
                    rows: Vec::new(),
                    is_cut: false,
                });
            }
            RowsEvent::Row(row) if is_csv => ui.bytes(csv(&row).as_bytes())?,
            RowsEvent::Row(row) => {
                if let Some(table) = &mut self.rows {
                    match limit.is_some_and(|limit| table.rows.len() as u64 >= limit) {
                        true => table.is_cut = true,
                        false => table.rows.push(row),
                    }
                }
            }
            RowsEvent::Problem { what, why } => self.problems.push(Problem { what, why }),
            RowsEvent::Done {} | RowsEvent::Failed(_) => {}
        }
        Ok(())
    }
}

impl Human for Contents {
    fn show(&self, ui: &Ui) -> Result<()> {
        if let Some(table) = &self.rows {
            ui.out(&rows(table))?;
            if table.is_cut {
                ui.status(&format!(
                    "There are more than {} rows: --limit shows more",
                    table.rows.len()
                ));
            }
        }
        ui.out(&tables(&self.tables))?;
        for problem in &self.problems {
            ui.warning(&format!("{} was not read: {}", problem.what, problem.why));
        }
        Ok(())
    }
}

/// The tables of each store.
pub fn tables(tables: &[TableSize]) -> String {
    let mut text = String::new();
    let mut from = 0;
    while let Some(first) = tables.get(from) {
        let count = tables[from..]
            .iter()
            .take_while(|table| table.store == first.store)
            .count();
        let mut rows = vec![
            ["", "DATABASE", "TABLE", "ROWS", "SIZE"]
                .map(str::to_owned)
                .to_vec(),
        ];
        if first.store.kind == DatabaseKind::Redis {
            rows[0][2] = "KEYS".to_owned();
            rows[0][3] = "COUNT".to_owned();
        }
        rows.extend(tables[from..from + count].iter().map(|table| {
            let size = match table.bytes {
                0 => String::new(),
                bytes => format_size(bytes),
            };
            let count = table
                .rows
                .map_or_else(|| "?".to_owned(), |rows| rows.to_string());
            vec![
                String::new(),
                plain(&table.name.database),
                plain(&table.name.short()),
                count,
                size,
            ]
        }));
        if from > 0 {
            text.push('\n');
        }
        text.push_str(&format!(
            "{}\n{}",
            plain(&first.store.to_string()),
            aligned(&rows)
        ));
        from += count;
    }
    text
}

/// The rows of a table in columns.
pub fn rows(table: &TableContent) -> String {
    let header = table.columns.iter().map(|name| plain(name)).collect();
    let rows = table
        .rows
        .iter()
        .map(|row| row.iter().map(|value| shown(value, WIDTH)).collect());
    aligned(
        &std::iter::once(header)
            .chain(rows)
            .collect::<Vec<Vec<String>>>(),
    )
}
