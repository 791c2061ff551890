//! Values and changes as texts: for people, as CSV, and as statements of each kind of database.

use crate::model::{Cell, DatabaseKind, RowChange, RowKey, TableChange};

/// A name of a table or a column in a statement.
pub fn identifier(kind: DatabaseKind, name: &str) -> String {
    match kind {
        DatabaseKind::Mariadb | DatabaseKind::Mysql => format!("`{}`", name.replace('`', "``")),
        _ => format!("\"{}\"", name.replace('"', "\"\"")),
    }
}

/// The name of a table in a statement.
pub fn table_name(kind: DatabaseKind, schema: &str, table: &str) -> String {
    match (kind, schema) {
        (DatabaseKind::Postgres, schema) if !schema.is_empty() => {
            format!("{}.{}", identifier(kind, schema), identifier(kind, table))
        }
        _ => identifier(kind, table),
    }
}

/// A value in a statement. `None` for a long value, of which only the beginning is known.
pub fn literal(kind: DatabaseKind, value: &Cell) -> Option<String> {
    let mysql = matches!(kind, DatabaseKind::Mariadb | DatabaseKind::Mysql);
    Some(match value {
        Cell::Null => "NULL".to_owned(),
        Cell::Integer(number) => number.to_string(),
        Cell::Text(text) if mysql => {
            let text = text
                .replace('\\', "\\\\")
                .replace('\'', "''")
                .replace('\0', "\\0");
            format!("'{text}'")
        }
        // A text of SQLite ends at a NUL in a statement.
        Cell::Text(text) if kind == DatabaseKind::Sqlite && text.contains('\0') => {
            format!("CAST(X'{}' AS TEXT)", crate::model::hex(text.as_bytes()))
        }
        Cell::Text(text) => format!("'{}'", text.replace('\'', "''")),
        Cell::Bytes { hex } if kind == DatabaseKind::Postgres => format!("'\\x{hex}'"),
        Cell::Bytes { hex } => format!("X'{hex}'"),
        Cell::Long { .. } | Cell::List(_) | Cell::Map { .. } => return None,
    })
}

/// A value for people, of at most so many characters.
pub fn shown(value: &Cell, most: usize) -> String {
    match value {
        Cell::Null => "NULL".to_owned(),
        Cell::Integer(number) => number.to_string(),
        Cell::Text(text) => cut(text, most),
        Cell::Bytes { hex } => cut(&format!("\\x{hex}"), most),
        Cell::Long { begins, bytes, .. } => {
            let begins: String = begins.chars().take(most.saturating_sub(1)).collect();
            format!("{}… ({bytes} bytes)", plain(&begins))
        }
        Cell::List(values) => cut(&format!("[{}]", joined(values, most)), most),
        Cell::Map { map } => {
            let pairs = map
                .iter()
                .take(most)
                .map(|(field, value)| format!("{}: {}", shown(field, most), shown(value, most)));
            cut(
                &format!("{{{}}}", pairs.collect::<Vec<_>>().join(", ")),
                most,
            )
        }
    }
}

fn joined(values: &[Cell], most: usize) -> String {
    let shown = values.iter().take(most).map(|value| shown(value, most));
    shown.collect::<Vec<_>>().join(", ")
}

/// A text on one line, without what a terminal would act on.
pub fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '\n' => plain.push_str("\\n"),
            '\r' => plain.push_str("\\r"),
            '\t' => plain.push_str("\\t"),
            letter if letter.is_control() => plain.push('\u{fffd}'),
            letter => plain.push(letter),
        }
    }
    plain
}

fn cut(text: &str, most: usize) -> String {
    let text = plain(text);
    match text.char_indices().nth(most) {
        None => text,
        Some(_) => {
            let begins: String = text.chars().take(most.saturating_sub(1)).collect();
            format!("{begins}…")
        }
    }
}

/// A row as a line of CSV (RFC 4180). NULL is an empty field, and an empty text is `""`.
pub fn csv(values: &[Cell]) -> String {
    let fields = values.iter().map(|value| match value {
        Cell::Null => String::new(),
        Cell::Integer(number) => number.to_string(),
        Cell::Text(text) => csv_text(text),
        Cell::Bytes { hex } => format!("\\x{hex}"),
        other => csv_text(&serde_json::to_string(other).unwrap_or_default()),
    });
    fields.collect::<Vec<_>>().join(",") + "\n"
}

fn csv_text(text: &str) -> String {
    let is_special = |letter: char| matches!(letter, ',' | '"' | '\n' | '\r');
    match text.is_empty() || text.contains(is_special) {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text.to_owned(),
    }
}

/// What begins the statements of a comparison for a database.
pub fn prologue(kind: DatabaseKind) -> &'static str {
    match kind {
        DatabaseKind::Postgres => {
            "BEGIN;\nSET LOCAL session_replication_role = replica;\nSET LOCAL check_function_bodies = off;\n"
        }
        DatabaseKind::Mariadb | DatabaseKind::Mysql => {
            "SET FOREIGN_KEY_CHECKS = 0;\nSET UNIQUE_CHECKS = 0;\nSTART TRANSACTION;\n"
        }
        DatabaseKind::Sqlite => "PRAGMA foreign_keys = OFF;\nBEGIN;\n",
        DatabaseKind::Redis => "",
    }
}

/// What ends them.
pub fn epilogue(kind: DatabaseKind) -> &'static str {
    match kind {
        DatabaseKind::Redis => "",
        _ => "COMMIT;\n",
    }
}

/// The statements that make the newer rows of the older ones. A change that no statement can make is a comment.
pub fn statement(table: &TableChange, change: &RowChange) -> String {
    let kind = table.store.kind;
    let made = match kind {
        DatabaseKind::Redis => redis(change),
        _ => sql(kind, table, change),
    };
    made.unwrap_or_else(|| {
        let mark = if kind == DatabaseKind::Redis {
            "#"
        } else {
            "--"
        };
        let key = change.before.as_ref().or(change.after.as_ref());
        let key = key
            .map(|values| joined(&values[..values.len().min(2)], 40))
            .unwrap_or_default();
        format!(
            "{mark} a value is too long for a statement: {} {key}\n",
            plain(&table.name.short())
        )
    })
}

fn sql(kind: DatabaseKind, table: &TableChange, change: &RowChange) -> Option<String> {
    let name = table_name(kind, &table.name.schema, &table.name.table);
    let is_generated = |place: usize| table.generated.contains(&table.columns[place]);
    let column = |place: usize| identifier(kind, &table.columns[place]);
    let find = |values: &[Cell]| -> Option<String> {
        let mut conditions = Vec::new();
        for (place, value) in values.iter().enumerate().take(table.columns.len()) {
            let is_key = table.key.columns().contains(&table.columns[place]);
            if is_key || table.key == RowKey::None && !is_generated(place) {
                let value = match value {
                    // It is compared as a text.
                    Cell::Integer(number)
                        if kind == DatabaseKind::Postgres && table.key == RowKey::None =>
                    {
                        format!("'{number}'")
                    }
                    value => literal(kind, value)?,
                };
                let column = column(place);
                conditions.push(match (kind, table.key == RowKey::None) {
                    (DatabaseKind::Postgres, true) => {
                        format!("{column}::text IS NOT DISTINCT FROM {value}")
                    }
                    (DatabaseKind::Mariadb | DatabaseKind::Mysql, true) => {
                        format!("{column} <=> {value}")
                    }
                    (_, true) => format!("{column} IS {value}"),
                    (_, false) => format!("{column} = {value}"),
                });
            }
        }
        Some(conditions.join(" AND "))
    };
    Some(match (&change.before, &change.after) {
        (None, Some(after)) => {
            let places: Vec<usize> = (0..after.len())
                .filter(|place| !is_generated(*place))
                .collect();
            let names: Vec<String> = places.iter().map(|place| column(*place)).collect();
            let values: Option<Vec<String>> = places
                .iter()
                .map(|place| literal(kind, &after[*place]))
                .collect();
            let system = if kind == DatabaseKind::Postgres {
                " OVERRIDING SYSTEM VALUE"
            } else {
                ""
            };
            let line = format!(
                "INSERT INTO {name} ({}){system} VALUES ({});\n",
                names.join(", "),
                values?.join(", ")
            );
            line.repeat(usize::try_from(change.count).unwrap_or(1))
        }
        (Some(before), None) if table.key == RowKey::None => {
            let (found, count) = (find(before)?, change.count);
            match kind {
                DatabaseKind::Mariadb | DatabaseKind::Mysql => {
                    format!("DELETE FROM {name} WHERE {found} LIMIT {count};\n")
                }
                _ => {
                    let id = if kind == DatabaseKind::Postgres {
                        "ctid"
                    } else {
                        "rowid"
                    };
                    format!(
                        "DELETE FROM {name} WHERE {id} IN (SELECT {id} FROM {name} WHERE {found} LIMIT {count});\n"
                    )
                }
            }
        }
        (Some(before), None) => format!("DELETE FROM {name} WHERE {};\n", find(before)?),
        (Some(before), Some(after)) => {
            let places = change.changed.iter().filter(|place| !is_generated(**place));
            let set: Option<Vec<String>> = places
                .map(|place| {
                    Some(format!(
                        "{} = {}",
                        column(*place),
                        literal(kind, &after[*place])?
                    ))
                })
                .collect();
            match set? {
                set if set.is_empty() => String::new(),
                set => format!(
                    "UPDATE {name} SET {} WHERE {};\n",
                    set.join(", "),
                    find(before)?
                ),
            }
        }
        (None, None) => String::new(),
    })
}

/// A word of a command for `redis-cli`.
pub fn redis_word(value: &Cell) -> Option<String> {
    let bytes = match value {
        Cell::Integer(number) => number.to_string().into_bytes(),
        Cell::Text(text) => text.clone().into_bytes(),
        Cell::Bytes { hex } => (0..hex.len() / 2)
            .filter_map(|at| u8::from_str_radix(hex.get(at * 2..at * 2 + 2)?, 16).ok())
            .collect(),
        _ => return None,
    };
    Some(redis_quoted(&bytes))
}

/// Bytes as a word of a command for `redis-cli`.
pub fn redis_quoted(bytes: &[u8]) -> String {
    let mut word = String::from("\"");
    for byte in bytes {
        match byte {
            b'"' | b'\\' => {
                word.push('\\');
                word.push(char::from(*byte));
            }
            b' '..=b'~' => word.push(char::from(*byte)),
            byte => word.push_str(&format!("\\x{byte:02x}")),
        }
    }
    word.push('"');
    word
}

/// The columns of a key of Redis are `key`, `type`, `expires` and `value`.
fn redis(change: &RowChange) -> Option<String> {
    let row = change.after.as_ref().or(change.before.as_ref())?;
    let key = redis_word(row.first()?)?;
    let Some(after) = &change.after else {
        return Some(format!("DEL {key}\n"));
    };
    let [_, Cell::Text(kind), expires, value] = after.as_slice() else {
        return None;
    };
    let mut lines = String::new();
    if change.before.is_none() || change.changed.iter().any(|place| matches!(place, 1 | 3)) {
        if kind != "string" && change.before.is_some() {
            lines.push_str(&format!("DEL {key}\n"));
        }
        let words = |values: &[Cell]| -> Option<String> {
            let words: Option<Vec<String>> = values.iter().map(redis_word).collect();
            Some(words?.join(" "))
        };
        let pairs = |map: &[(Cell, Cell)], is_turned: bool| -> Option<String> {
            let words: Option<Vec<String>> = map
                .iter()
                .map(|(field, value)| {
                    let (field, value) = (redis_word(field)?, redis_word(value)?);
                    Some(if is_turned {
                        format!("{value} {field}")
                    } else {
                        format!("{field} {value}")
                    })
                })
                .collect();
            Some(words?.join(" "))
        };
        lines.push_str(&match (kind.as_str(), value) {
            ("string", value) => format!("SET {key} {}\n", redis_word(value)?),
            ("list", Cell::List(values)) => format!("RPUSH {key} {}\n", words(values)?),
            ("set", Cell::List(values)) => format!("SADD {key} {}\n", words(values)?),
            ("hash", Cell::Map { map }) => format!("HSET {key} {}\n", pairs(map, false)?),
            ("zset", Cell::Map { map }) => format!("ZADD {key} {}\n", pairs(map, true)?),
            _ => return None,
        });
    }
    match expires {
        Cell::Null if change.before.is_some() && lines.is_empty() => {
            lines.push_str(&format!("PERSIST {key}\n"));
        }
        Cell::Integer(time) => lines.push_str(&format!("PEXPIREAT {key} {time}\n")),
        _ => {}
    }
    Some(lines)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Fate, Store, TableName};

    fn table(kind: DatabaseKind, key: RowKey, columns: &[&str]) -> TableChange {
        TableChange {
            store: Store {
                subdot: "db".to_owned(),
                path: String::new(),
                kind,
                version: String::new(),
            },
            name: TableName {
                database: "shop".to_owned(),
                schema: if kind == DatabaseKind::Postgres {
                    "public".to_owned()
                } else {
                    String::new()
                },
                table: "us\"ers".to_owned(),
            },
            fate: Fate::Kept,
            key,
            columns: columns.iter().map(|name| (*name).to_owned()).collect(),
            generated: Vec::new(),
            ddl: Vec::new(),
        }
    }

    fn text(text: &str) -> Cell {
        Cell::Text(text.to_owned())
    }

    fn change(before: Option<Vec<Cell>>, after: Option<Vec<Cell>>, changed: &[usize]) -> RowChange {
        RowChange {
            before,
            after,
            changed: changed.to_vec(),
            count: 1,
        }
    }

    #[test]
    fn statements_quote_whatever_names_and_values_have() {
        let key = RowKey::Primary(vec!["id".to_owned()]);
        let users = table(DatabaseKind::Postgres, key, &["id", "name"]);
        let added = change(None, Some(vec![Cell::Integer(1), text("o'x\\")]), &[]);
        assert_eq!(
            statement(&users, &added),
            "INSERT INTO \"public\".\"us\"\"ers\" (\"id\", \"name\") OVERRIDING SYSTEM VALUE VALUES (1, 'o''x\\');\n"
        );
        let rows = (
            Some(vec![Cell::Integer(1), text("a")]),
            Some(vec![Cell::Integer(1), Cell::Null]),
        );
        let changed = change(rows.0, rows.1, &[1]);
        assert_eq!(
            statement(&users, &changed),
            "UPDATE \"public\".\"us\"\"ers\" SET \"name\" = NULL WHERE \"id\" = 1;\n"
        );
        let visits = table(DatabaseKind::Mariadb, RowKey::None, &["at"]);
        let removed = change(Some(vec![text("a\\")]), None, &[]);
        assert_eq!(
            statement(&visits, &removed),
            "DELETE FROM `us\"ers` WHERE `at` <=> 'a\\\\' LIMIT 1;\n"
        );
    }

    #[test]
    fn keys_are_made_of_commands() {
        let keys = table(
            DatabaseKind::Redis,
            RowKey::Primary(vec!["key".to_owned()]),
            &["key", "type", "expires", "value"],
        );
        let list = Cell::List(vec![text("10:10"), Cell::of_bytes(vec![0xff, b'"'])]);
        let row = vec![text("whales"), text("list"), Cell::Integer(9), list];
        assert_eq!(
            statement(&keys, &change(None, Some(row), &[])),
            "RPUSH \"whales\" \"10:10\" \"\\xff\\\"\"\nPEXPIREAT \"whales\" 9\n"
        );
    }

    #[test]
    fn csv_tells_null_from_empty() {
        assert_eq!(
            csv(&[Cell::Null, text(""), text("a,\"b"), Cell::Integer(3)]),
            ",\"\",\"a,\"\"b\",3\n"
        );
    }
}
