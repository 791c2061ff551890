//! Changes of definitions, as statements that people can read.

use std::collections::BTreeMap;

use crate::model::{Column, DatabaseKind, RowKey, Table};
use crate::render::{identifier, table_name};

/// The statement that makes a table, without its constraints and indexes, which follow it.
pub(crate) fn create(kind: DatabaseKind, table: &Table) -> Vec<String> {
    if let Some(statement) = table.parts.get("TABLE") {
        let others = table.parts.iter().filter(|(name, _)| *name != "TABLE");
        let others = others.map(|(_, statement)| statement.clone());
        return std::iter::once(statement.clone()).chain(others).collect();
    }
    let columns: Vec<String> = table
        .columns
        .iter()
        .map(|column| definition(kind, column))
        .collect();
    let name = table_name(kind, &table.name.schema, &table.name.table);
    let mut ddl = vec![format!("CREATE TABLE {name} ({})", columns.join(", "))];
    ddl.extend(table.parts.values().cloned());
    ddl
}

/// The statement that drops a table.
pub(crate) fn drop(kind: DatabaseKind, table: &Table) -> Vec<String> {
    let name = table_name(kind, &table.name.schema, &table.name.table);
    vec![format!("DROP TABLE {name}")]
}

fn definition(kind: DatabaseKind, column: &Column) -> String {
    let text = format!(
        "{} {} {}",
        identifier(kind, &column.name),
        column.kind,
        column.rest
    );
    text.trim_end().to_owned()
}

/// The column of the older table that a column of the newer one was before.
pub(crate) fn before<'a>(old: &'a Table, new: &Column) -> Option<&'a Column> {
    let same = |column: &&Column| match new.number {
        0 => column.name == new.name,
        number => column.number == number,
    };
    old.columns.iter().find(same)
}

/// The statements that make the newer definition of the older one.
pub(crate) fn alter(kind: DatabaseKind, old: &Table, new: &Table) -> Vec<String> {
    let name = table_name(kind, &new.name.schema, &new.name.table);
    let mut ddl = Vec::new();
    if old.name != new.name {
        let was = table_name(kind, &old.name.schema, &old.name.table);
        if old.name.schema != new.name.schema {
            let schema = identifier(kind, &new.name.schema);
            ddl.push(format!("ALTER TABLE {was} SET SCHEMA {schema}"));
        }
        if old.name.table != new.name.table {
            let was = table_name(kind, &new.name.schema, &old.name.table);
            ddl.push(format!(
                "ALTER TABLE {was} RENAME TO {}",
                identifier(kind, &new.name.table)
            ));
        }
    }
    for column in &old.columns {
        if !new
            .columns
            .iter()
            .any(|other| before(old, other) == Some(column))
        {
            ddl.push(format!(
                "ALTER TABLE {name} DROP COLUMN {}",
                identifier(kind, &column.name)
            ));
        }
    }
    for column in &new.columns {
        let Some(was) = before(old, column) else {
            ddl.push(format!(
                "ALTER TABLE {name} ADD COLUMN {}",
                definition(kind, column)
            ));
            continue;
        };
        if was.name != column.name {
            let (from, to) = (identifier(kind, &was.name), identifier(kind, &column.name));
            ddl.push(format!("ALTER TABLE {name} RENAME COLUMN {from} TO {to}"));
        }
        ddl.extend(alter_column(kind, &name, was, column));
    }
    // The name of the table is part of most definitions.
    if old.name == new.name {
        ddl.extend(parts(kind, &name, &old.parts, &new.parts));
    }
    ddl
}

fn alter_column(kind: DatabaseKind, table: &str, old: &Column, new: &Column) -> Vec<String> {
    if (&old.kind, &old.rest) == (&new.kind, &new.rest) {
        return Vec::new();
    }
    let column = identifier(kind, &new.name);
    match kind {
        DatabaseKind::Mariadb | DatabaseKind::Mysql => {
            vec![format!(
                "ALTER TABLE {table} MODIFY COLUMN {}",
                definition(kind, new)
            )]
        }
        DatabaseKind::Postgres => {
            let mut ddl = Vec::new();
            if old.kind != new.kind {
                ddl.push(format!(
                    "ALTER TABLE {table} ALTER COLUMN {column} TYPE {}",
                    new.kind
                ));
            }
            let is_required = |column: &Column| column.rest.ends_with("NOT NULL");
            match (is_required(old), is_required(new)) {
                (false, true) => ddl.push(format!(
                    "ALTER TABLE {table} ALTER COLUMN {column} SET NOT NULL"
                )),
                (true, false) => ddl.push(format!(
                    "ALTER TABLE {table} ALTER COLUMN {column} DROP NOT NULL"
                )),
                _ => {}
            }
            let rest = |column: &Column| column.rest.trim_end_matches("NOT NULL").trim().to_owned();
            let (was, is) = (rest(old), rest(new));
            if was != is {
                ddl.push(match is.strip_prefix("DEFAULT ") {
                    Some(value) => {
                        format!("ALTER TABLE {table} ALTER COLUMN {column} SET DEFAULT {value}")
                    }
                    None if is.is_empty() => {
                        format!("ALTER TABLE {table} ALTER COLUMN {column} DROP DEFAULT")
                    }
                    None => format!(
                        "-- {table}: column {} is now {}",
                        column,
                        definition(kind, new)
                    ),
                });
            }
            ddl
        }
        _ => vec![format!(
            "-- {table}: column {column} is now {}",
            definition(kind, new)
        )],
    }
}

fn parts(
    kind: DatabaseKind,
    table: &str,
    old: &BTreeMap<String, String>,
    new: &BTreeMap<String, String>,
) -> Vec<String> {
    let mut ddl = Vec::new();
    let skips = |name: &str| name == "TABLE";
    for (name, statement) in old {
        if new.get(name) != Some(statement) && !skips(name) {
            ddl.push(match name.split_once(' ') {
                Some(("CONSTRAINT", part)) => {
                    format!(
                        "ALTER TABLE {table} DROP CONSTRAINT {}",
                        identifier(kind, part)
                    )
                }
                Some(("TRIGGER", part)) if kind == DatabaseKind::Postgres => {
                    format!("DROP TRIGGER {} ON {table}", identifier(kind, part))
                }
                Some(("INDEX", part))
                    if matches!(kind, DatabaseKind::Mariadb | DatabaseKind::Mysql) =>
                {
                    format!("ALTER TABLE {table} DROP INDEX {}", identifier(kind, part))
                }
                Some((what, part)) => format!("DROP {what} {}", identifier(kind, part)),
                None => format!("-- {table}: {name} is gone"),
            });
        }
    }
    for (name, statement) in new {
        if old.get(name) != Some(statement) && !skips(name) {
            ddl.push(statement.clone());
        }
    }
    ddl
}

/// Changes of definitions that belong to no table.
pub(crate) fn definitions(
    old: &BTreeMap<String, String>,
    new: &BTreeMap<String, String>,
) -> Vec<String> {
    let mut ddl = Vec::new();
    for (name, statement) in old {
        if new.get(name) != Some(statement) {
            // A default of a column that is still there may name the sequence.
            let with = match name.starts_with("SEQUENCE ") {
                true => " CASCADE",
                false => "",
            };
            ddl.push(format!("DROP {name}{with}"));
        }
    }
    for (name, statement) in new {
        if old.get(name) != Some(statement) {
            ddl.push(statement.clone());
        }
    }
    ddl
}

/// The columns that both tables have, as pairs of the older and the newer name, and the key for both.
pub(crate) fn common(
    kind: DatabaseKind,
    old: &Table,
    new: &Table,
) -> (Vec<(String, String)>, RowKey) {
    let mut pairs = Vec::new();
    for column in &new.columns {
        if let Some(was) = before(old, column) {
            pairs.push((was.name.clone(), column.name.clone()));
        }
    }
    let old_name = |name: &String| {
        pairs
            .iter()
            .find(|(_, new)| new == name)
            .map(|(old, _)| old.clone())
    };
    // Numbers and texts are sorted in different ways.
    let sorts_alike = |was: &str, is: &str| match kind {
        DatabaseKind::Postgres => {
            crate::postgres::is_integer(was) == crate::postgres::is_integer(is)
        }
        _ => was == is,
    };
    let same_type = |name: &String| {
        let column = new.columns.iter().find(|column| column.name == *name);
        column.is_some_and(|column| {
            before(old, column).is_some_and(|was| sorts_alike(&was.kind, &column.kind))
        })
    };
    let was: Option<Vec<String>> = new.key.columns().iter().map(old_name).collect();
    let is_shared =
        was.is_some_and(|was| was == old.key.columns()) && new.key.columns().iter().all(same_type);
    let key = match is_shared && !new.key.columns().is_empty() {
        true => new.key.clone(),
        false => RowKey::None,
    };
    (pairs, key)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(number: i64, name: &str, kind: &str, rest: &str) -> Column {
        Column {
            name: name.to_owned(),
            kind: kind.to_owned(),
            rest: rest.to_owned(),
            is_generated: false,
            number,
        }
    }

    fn table(name: &str, columns: Vec<Column>) -> Table {
        let mut table = Table {
            columns,
            ..Table::default()
        };
        table.name.schema = "public".to_owned();
        table.name.table = name.to_owned();
        table.key = RowKey::Primary(vec![table.columns[0].name.clone()]);
        table
    }

    #[test]
    fn a_migration_reads_as_people_would_write_it() {
        let old = table(
            "user",
            vec![
                column(1, "id", "integer", "NOT NULL"),
                column(2, "name", "text", ""),
                column(3, "gone", "text", ""),
            ],
        );
        let new = table(
            "users",
            vec![
                column(1, "id", "bigint", "NOT NULL"),
                column(2, "full_name", "text", "DEFAULT ''::text NOT NULL"),
                column(4, "age", "integer", ""),
            ],
        );
        assert_eq!(
            alter(DatabaseKind::Postgres, &old, &new),
            [
                "ALTER TABLE \"public\".\"user\" RENAME TO \"users\"",
                "ALTER TABLE \"public\".\"users\" DROP COLUMN \"gone\"",
                "ALTER TABLE \"public\".\"users\" ALTER COLUMN \"id\" TYPE bigint",
                "ALTER TABLE \"public\".\"users\" RENAME COLUMN \"name\" TO \"full_name\"",
                "ALTER TABLE \"public\".\"users\" ALTER COLUMN \"full_name\" SET NOT NULL",
                "ALTER TABLE \"public\".\"users\" ALTER COLUMN \"full_name\" SET DEFAULT ''::text",
                "ALTER TABLE \"public\".\"users\" ADD COLUMN \"age\" integer",
            ]
        );
    }
}
