//! What is in a store: its databases and tables with their sizes, and the rows of a table.

use std::collections::BTreeMap;

use crate::adapter::{Adapter, Rows, Scan};
use crate::error::RowsError;
use crate::model::{Store, Table, TableName, TableSize};

/// The tables of a store, of one of its databases, or one table. Redis has patterns of keys instead.
pub fn tables(
    store: &Store,
    adapter: &dyn Adapter,
    database: Option<&str>,
    table: Option<&str>,
) -> Result<Vec<TableSize>, RowsError> {
    let mut sizes = Vec::new();
    for name in wanted(adapter, database)? {
        let mut found = adapter.tables(&name)?;
        if adapter.has_groups() {
            for one in &found {
                sizes.extend(groups(store, adapter, one)?);
            }
            continue;
        }
        found.retain(|one| table.is_none_or(|table| adapter.matches(&one.name, table)));
        let counts = adapter.count(&name, &found)?;
        sizes.extend(
            found
                .into_iter()
                .zip(counts)
                .map(|(table, rows)| TableSize {
                    store: store.clone(),
                    name: table.name,
                    rows,
                    bytes: table.bytes,
                    columns: table.columns,
                    key: table.key,
                }),
        );
    }
    Ok(sizes)
}

fn wanted(adapter: &dyn Adapter, database: Option<&str>) -> Result<Vec<String>, RowsError> {
    let names = adapter.databases()?;
    match database {
        None => Ok(names),
        Some(database) if names.iter().any(|name| name == database) => {
            Ok(vec![database.to_owned()])
        }
        Some(database) => Err(RowsError::Missing(format!(
            "database '{database}', there is {}",
            match names.is_empty() {
                true => "none".to_owned(),
                false => names.join(", "),
            }
        ))),
    }
}

fn groups(
    store: &Store,
    adapter: &dyn Adapter,
    table: &Table,
) -> Result<Vec<TableSize>, RowsError> {
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    let scan = Scan {
        columns: vec!["key".to_owned()],
        is_sorted: false,
        filter: None,
        limit: None,
        places: None,
        longest: 1 << 10,
    };
    for row in adapter.scan(table, &scan)? {
        let mut group = row?.group.unwrap_or_default();
        if counts.len() >= 1000 && !counts.contains_key(&group) {
            "*".clone_into(&mut group);
        }
        *counts.entry(group).or_default() += 1;
    }
    let sizes = counts.into_iter().map(|(group, count)| TableSize {
        store: store.clone(),
        name: TableName {
            table: group,
            ..table.name.clone()
        },
        rows: Some(count),
        bytes: 0,
        columns: Vec::new(),
        key: table.key.clone(),
    });
    Ok(sizes.collect())
}

/// A table by its name.
pub fn table(
    adapter: &dyn Adapter,
    database: Option<&str>,
    name: &str,
) -> Result<Table, RowsError> {
    let mut others = Vec::new();
    for database in wanted(adapter, database)? {
        for table in adapter.tables(&database)? {
            if adapter.has_groups() || adapter.matches(&table.name, name) {
                return Ok(table);
            }
            others.push(table.name.short());
        }
    }
    let others = match others.is_empty() {
        true => "none".to_owned(),
        false => others.join(", "),
    };
    Err(RowsError::Missing(format!(
        "table '{name}', there is {others}"
    )))
}

/// The rows of a table, in the order of its key.
pub fn rows<'a>(
    adapter: &'a dyn Adapter,
    table: &Table,
    filter: Option<String>,
    limit: Option<u64>,
    longest: usize,
) -> Result<Rows<'a>, RowsError> {
    let scan = Scan {
        columns: table
            .columns
            .iter()
            .map(|column| column.name.clone())
            .collect(),
        is_sorted: false,
        filter,
        limit,
        places: None,
        longest,
    };
    adapter.scan(table, &scan)
}
