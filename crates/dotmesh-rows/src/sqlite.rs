//! SQLite: read through a program of our own with the linked library ([`crate::sqlite_client`]).

use std::collections::BTreeMap;

use crate::adapter::{Adapter, Rows, Scan};
use crate::client::{Client, Run, whole};
use crate::error::RowsError;
use crate::lines::{Field, Lines};
use crate::model::{Cell, Column, DatabaseKind, RowKey, Table, TableName};
use crate::render::identifier;
use crate::sqlite_client::{HASH, LIST, MARKS, PROMPTS, SESSION};

/// The only database of a file.
const MAIN: &str = "main";

/// Tables that people made, and whose module is not an extension.
const TABLES: &str = "type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' AND upper(substr(sql, 1, 14)) <> 'CREATE VIRTUAL'";

/// An open file.
pub(crate) struct Sqlite {
    client: Box<dyn Client>,
}

impl Sqlite {
    pub(crate) fn new(client: Box<dyn Client>) -> Self {
        Self { client }
    }

    fn ask<const COUNT: usize>(&self, query: &str) -> Result<Vec<[Cell; COUNT]>, RowsError> {
        let output = whole(&*self.client, Run::new([MARKS]).input(query))?;
        let mut lines = Lines::new(output.as_slice(), 1 << 20);
        let mut rows = Vec::new();
        while let Some(fields) = lines.next_line()? {
            let values: Vec<Cell> = fields.into_iter().map(value).collect();
            rows.push(values.try_into().map_err(|_| wrong())?);
        }
        Ok(rows)
    }
}

fn wrong() -> RowsError {
    RowsError::Output {
        kind: DatabaseKind::Sqlite,
        what: "another number of columns".to_owned(),
    }
}

/// A value after the mark of its type.
fn value(mut field: Field) -> Cell {
    match field.take_mark() {
        Some(b'i') => field.integer(),
        Some(b'x') => match field.value() {
            Cell::Text(hex) => Cell::Bytes { hex },
            other => other,
        },
        Some(b't' | b'f') => field.value(),
        _ => Cell::Null,
    }
}

fn text(value: &Cell) -> String {
    match value {
        Cell::Text(text) => text.clone(),
        Cell::Integer(number) => number.to_string(),
        _ => String::new(),
    }
}

impl Adapter for Sqlite {
    fn databases(&self) -> Result<Vec<String>, RowsError> {
        Ok(vec![MAIN.to_owned()])
    }

    fn tables(&self, database: &str) -> Result<Vec<Table>, RowsError> {
        let mut tables: BTreeMap<String, Table> = BTreeMap::new();
        for [name, statement] in self.ask(&format!(
            "SELECT name, sql FROM sqlite_schema WHERE {TABLES}"
        ))? {
            let table = text(&name);
            let name = TableName {
                database: database.to_owned(),
                schema: String::new(),
                table: table.clone(),
            };
            let parts = BTreeMap::from([("TABLE".to_owned(), text(&statement))]);
            tables.insert(
                table,
                Table {
                    name,
                    parts,
                    ..Table::default()
                },
            );
        }
        let query = format!(
            "SELECT s.name, c.name, c.type, c.\"notnull\", c.dflt_value, c.pk, c.hidden FROM sqlite_schema s \
             JOIN pragma_table_xinfo(s.name) c WHERE {} AND c.hidden <> 1 ORDER BY s.name, c.cid",
            TABLES
                .replace("type =", "s.type =")
                .replace("name NOT", "s.name NOT")
        );
        let mut keys: BTreeMap<String, BTreeMap<i64, String>> = BTreeMap::new();
        for [table, name, kind, required, default, place, hidden] in self.ask(&query)? {
            let (table, name) = (text(&table), text(&name));
            if let Cell::Integer(place) = place
                && place > 0
            {
                keys.entry(table.clone())
                    .or_default()
                    .insert(place, name.clone());
            }
            let mut rest = Vec::new();
            if required == Cell::Integer(1) {
                rest.push("NOT NULL".to_owned());
            }
            if default != Cell::Null {
                rest.push(format!("DEFAULT {}", text(&default)));
            }
            if let Some(table) = tables.get_mut(&table) {
                table.columns.push(Column {
                    name,
                    kind: text(&kind),
                    rest: rest.join(" "),
                    is_generated: matches!(hidden, Cell::Integer(2 | 3)),
                    number: 0,
                });
            }
        }
        for (table, columns) in keys {
            if let Some(table) = tables.get_mut(&table) {
                table.key = RowKey::Primary(columns.into_values().collect());
            }
        }
        let query = format!(
            "SELECT s.name, i.name, group_concat(quote(c.name), char(10)) FROM sqlite_schema s \
             JOIN pragma_index_list(s.name) i JOIN pragma_index_info(i.name) c WHERE {} AND i.\"unique\" AND NOT i.partial \
             GROUP BY s.name, i.name HAVING count(*) = count(c.name) ORDER BY s.name, i.name",
            TABLES
                .replace("type =", "s.type =")
                .replace("name NOT", "s.name NOT")
        );
        for [table, _, columns] in self.ask(&query)? {
            let Some(table) = tables.get_mut(&text(&table)) else {
                continue;
            };
            let columns = text(&columns);
            let columns = columns
                .split('\n')
                .map(|name| name.trim_matches('\'').replace("''", "'"));
            let columns: Vec<String> = columns.collect();
            let is_required = |name: &String| {
                let column = table.columns.iter().find(|column| column.name == *name);
                column.is_some_and(|column| column.rest.starts_with("NOT NULL"))
            };
            if table.key == RowKey::None && columns.iter().all(is_required) {
                table.key = RowKey::Unique(columns);
            }
        }
        let query = "SELECT tbl_name, type, name, sql FROM sqlite_schema WHERE type IN ('index', 'trigger') AND sql IS NOT NULL";
        for [table, kind, name, statement] in self.ask(query)? {
            if let Some(table) = tables.get_mut(&text(&table)) {
                let name = format!("{} {}", text(&kind).to_uppercase(), text(&name));
                table.parts.insert(name, text(&statement));
            }
        }
        Ok(tables.into_values().collect())
    }

    fn definitions(&self, _: &str) -> Result<BTreeMap<String, String>, RowsError> {
        let rows = self.ask("SELECT name, sql FROM sqlite_schema WHERE type = 'view'")?;
        let view = |[name, statement]: [Cell; 2]| {
            let name = identifier(DatabaseKind::Sqlite, &text(&name));
            (format!("VIEW {name}"), text(&statement))
        };
        Ok(rows.into_iter().map(view).collect())
    }

    fn count(&self, _: &str, tables: &[Table]) -> Result<Vec<Option<u64>>, RowsError> {
        let counts = tables.iter().map(|table| {
            let query = format!(
                "SELECT count(*) FROM {}",
                identifier(DatabaseKind::Sqlite, &table.name.table)
            );
            match self.ask(&query).ok()?.as_slice() {
                [[Cell::Integer(count)]] => u64::try_from(*count).ok(),
                _ => None,
            }
        });
        Ok(counts.collect())
    }

    fn scan<'a>(&'a self, table: &Table, scan: &Scan) -> Result<Rows<'a>, RowsError> {
        let named = |name: &String| identifier(DatabaseKind::Sqlite, name);
        let columns: Vec<String> = scan.columns.iter().map(named).collect();
        let mut selected: Vec<String> = Vec::new();
        if scan.is_sorted {
            let key = table.key.columns();
            let is_number = |name: &String| {
                let column = table.columns.iter().find(|column| column.name == *name);
                column.is_some_and(|column| column.kind.eq_ignore_ascii_case("integer"))
            };
            selected.extend(key.iter().map(|name| {
                let column = named(name);
                match key.len() == 1 && is_number(name) {
                    // Without a sort, as it is the number of the row.
                    true => column,
                    false => format!(
                        "CASE typeof({column}) WHEN 'integer' THEN {column} ELSE typeof({column}) || hex({column}) END"
                    ),
                }
            }));
            if selected.is_empty() {
                selected.push(format!("{HASH}({})", columns.join(", ")));
            }
        }
        let keys = selected.len();
        let order: Vec<String> = match scan.is_sorted {
            true => selected.clone(),
            false => table.key.columns().iter().map(named).collect(),
        };
        selected.extend(columns);
        let count = selected.len();
        let selected = if selected.is_empty() {
            "NULL".to_owned()
        } else {
            selected.join(", ")
        };
        let mut query = format!("SELECT {selected} FROM {}", named(&table.name.table));
        if let Some(filter) = &scan.filter {
            query.push_str(&format!(" WHERE ({filter}\n)"));
        }
        if !order.is_empty() {
            query.push_str(&format!(" ORDER BY {}", order.join(", ")));
        }
        if let Some(limit) = scan.limit {
            query.push_str(&format!(" LIMIT {limit}"));
        }
        let run = Run::new([MARKS]).input(query);
        let lines = Lines::new(self.client.run(run)?, scan.longest);
        Ok(lines.rows(keys, move |fields| match fields.len() < count {
            true => Err(wrong()),
            false => Ok(fields.into_iter().map(value).collect()),
        }))
    }

    fn run(&self, run: Run) -> Result<Box<dyn std::io::Read + Send>, RowsError> {
        self.client.run(run)
    }

    fn statement(&self, _: Option<&str>, statement: &[u8]) -> Run {
        Run::new([LIST]).input(statement)
    }

    fn session(&self, _: Option<&str>, on_terminal: bool) -> Run {
        Run::new([if on_terminal { PROMPTS } else { SESSION }])
    }
}
