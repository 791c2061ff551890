//! Checks a database summary, which comes from outside: its limits, and whether its parts fit together.

use dotmesh_rows::model::{
    Cell, Column, DatabaseSummary, DiffEvent, RowChange, RowKey, Store, TableChange, TableName,
};

use crate::limits::{
    Beyond, Limit, SUMMARY_COLUMNS, SUMMARY_NAME, SUMMARY_PARTS, SUMMARY_ROWS, SUMMARY_TABLES,
    SUMMARY_TEXT,
};

/// Why a summary is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadSummary {
    /// It has more than a limit allows.
    #[error(transparent)]
    Beyond(#[from] Beyond),
    /// Its parts do not fit together.
    #[error("the database summary is malformed: {0}")]
    Malformed(&'static str),
    /// A newer client has made it.
    #[error("the database summary has version {0}, and this hub knows only version {known}", known = DatabaseSummary::VERSION)]
    Version(u32),
}

use BadSummary::Malformed;

type Checked = Result<(), BadSummary>;

/// Checks a summary.
pub fn check(summary: &DatabaseSummary) -> Checked {
    if summary.version != DatabaseSummary::VERSION {
        return Err(BadSummary::Version(summary.version));
    }
    SUMMARY_TABLES.check(summary.tables.len())?;
    for table in &summary.tables {
        store(&table.store)?;
        table_name(&table.name)?;
        columns(&table.columns)?;
        key(&table.key)?;
    }
    SUMMARY_PARTS.check(summary.problems.len())?;
    texts(&summary.problems, &SUMMARY_TEXT)?;
    changes(&summary.changes)
}

fn changes(events: &[DiffEvent]) -> Checked {
    let (mut tables, mut rows, mut parts) = (0, 0, 0);
    // The table whose rows follow.
    let mut table: Option<&TableChange> = None;
    for event in events {
        match event {
            DiffEvent::Table(change) => {
                tables += 1;
                parts += change.ddl.len();
                SUMMARY_TABLES.check(tables)?;
                SUMMARY_PARTS.check(parts)?;
                store(&change.store)?;
                table_name(&change.name)?;
                key(&change.key)?;
                SUMMARY_COLUMNS.check(change.columns.len())?;
                SUMMARY_COLUMNS.check(change.generated.len())?;
                texts(&change.columns, &SUMMARY_NAME)?;
                texts(&change.generated, &SUMMARY_NAME)?;
                texts(&change.ddl, &SUMMARY_TEXT)?;
                table = Some(change);
            }
            DiffEvent::Row(change) => {
                rows += 1;
                SUMMARY_ROWS.check(rows)?;
                let table = table.ok_or(Malformed("a row comes before its table"))?;
                row(table, change)?;
            }
            DiffEvent::Counted(_) => {
                table
                    .take()
                    .ok_or(Malformed("counts come before their table"))?;
            }
            DiffEvent::Problem { what, why } => {
                parts += 1;
                SUMMARY_PARTS.check(parts)?;
                text(what, &SUMMARY_TEXT)?;
                text(why, &SUMMARY_TEXT)?;
            }
        }
    }
    Ok(())
}

fn row(table: &TableChange, change: &RowChange) -> Checked {
    let sides = [&change.before, &change.after];
    if sides.iter().all(|side| side.is_none()) {
        return Err(Malformed("a row has neither old nor new values"));
    }
    if change.count == 0 {
        return Err(Malformed("a row occurs 0 times"));
    }
    let width = table.columns.len();
    for values in sides.into_iter().flatten() {
        if values.len() != width {
            return Err(Malformed(
                "a row has not as many values as its table has columns",
            ));
        }
        values.iter().try_for_each(value)?;
    }
    let is_sorted = change.changed.is_sorted_by(|one, next| one < next);
    if !is_sorted || change.changed.last().is_some_and(|last| *last >= width) {
        return Err(Malformed("a row has changed columns that are no columns"));
    }
    Ok(())
}

fn value(value: &Cell) -> Checked {
    match value {
        Cell::Null | Cell::Integer(_) => Ok(()),
        Cell::Text(value) => text(value, &SUMMARY_TEXT),
        Cell::Bytes { hex } => {
            text(hex, &SUMMARY_TEXT)?;
            match hex.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                true => Ok(()),
                false => Err(Malformed("a value is not in hexadecimal digits")),
            }
        }
        Cell::Long { begins, hash, .. } => {
            text(begins, &SUMMARY_TEXT)?;
            text(hash, &SUMMARY_NAME)
        }
        Cell::List(values) => values.iter().try_for_each(self::value),
        Cell::Map { map } => map.iter().try_for_each(|(field, value)| {
            self::value(field)?;
            self::value(value)
        }),
    }
}

fn store(store: &Store) -> Checked {
    if store.subdot.is_empty() {
        return Err(Malformed("a database is in no subdot"));
    }
    for name in [&store.subdot, &store.path, &store.version] {
        text(name, &SUMMARY_NAME)?;
    }
    Ok(())
}

fn table_name(name: &TableName) -> Checked {
    for name in [&name.database, &name.schema, &name.table] {
        text(name, &SUMMARY_NAME)?;
    }
    Ok(())
}

fn columns(columns: &[Column]) -> Checked {
    SUMMARY_COLUMNS.check(columns.len())?;
    for column in columns {
        text(&column.name, &SUMMARY_NAME)?;
        text(&column.kind, &SUMMARY_TEXT)?;
        text(&column.rest, &SUMMARY_TEXT)?;
    }
    Ok(())
}

fn key(key: &RowKey) -> Checked {
    SUMMARY_COLUMNS.check(key.columns().len())?;
    texts(key.columns(), &SUMMARY_NAME)
}

fn texts(list: &[String], limit: &'static Limit) -> Checked {
    list.iter().try_for_each(|one| text(one, limit))
}

fn text(text: &str, limit: &'static Limit) -> Checked {
    Ok(limit.check(text.len())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> DatabaseSummary {
        serde_json::from_str(text).expect(text)
    }

    const TABLE: &str = r#"{"table": {"store": {"subdot": "db", "path": "", "kind": "postgres", "version": "15"},
        "name": {"database": "app", "table": "users"}, "fate": "kept", "key": {"primary": ["id"]}, "columns": ["id", "name"]}}"#;

    fn of_events(events: &[&str]) -> Checked {
        let events = events.join(", ").replace("TABLE", TABLE);
        let json = format!(r#"{{"version": 1, "tables": [], "changes": [{events}]}}"#);
        check(&parsed(&json))
    }

    #[test]
    fn what_fits_together_is_taken() {
        for events in [
            &[][..],
            &["TABLE"],
            &[
                "TABLE",
                r#"{"counted": {"added": 1, "removed": 0, "changed": 0}}"#,
                "TABLE",
            ],
            &[
                "TABLE",
                r#"{"row": {"after": [1, "fred"]}}"#,
                r#"{"row": {"before": [2, null], "after": [2, ""], "changed": [1]}}"#,
            ],
            &[r#"{"problem": {"what": "db", "why": "it does not recover"}}"#],
        ] {
            assert_eq!(of_events(events), Ok(()), "{events:?}");
        }
    }

    #[test]
    fn what_does_not_is_refused() {
        let counted = r#"{"counted": {"added": 1, "removed": 0, "changed": 0}}"#;
        for events in [
            &[r#"{"row": {"after": [1, "fred"]}}"#][..],
            &[counted],
            &["TABLE", counted, counted],
            &["TABLE", counted, r#"{"row": {"after": [1, "fred"]}}"#],
            &["TABLE", r#"{"row": {}}"#],
            &["TABLE", r#"{"row": {"after": [1]}}"#],
            &["TABLE", r#"{"row": {"after": [1, "x"], "count": 0}}"#],
            &[
                "TABLE",
                r#"{"row": {"before": [1, "x"], "after": [1, "y"], "changed": [2]}}"#,
            ],
            &[
                "TABLE",
                r#"{"row": {"before": [1, "x"], "after": [1, "y"], "changed": [1, 1]}}"#,
            ],
            &["TABLE", r#"{"row": {"after": [1, {"hex": "<b>"}]}}"#],
        ] {
            let refused = of_events(events);
            assert!(
                matches!(refused, Err(Malformed(_))),
                "{events:?}: {refused:?}"
            );
        }
        let newer = parsed(r#"{"version": 2, "tables": []}"#);
        assert_eq!(check(&newer), Err(BadSummary::Version(2)));
    }

    #[test]
    fn what_is_too_much_is_refused() {
        let row = r#"{"row": {"after": [1, "x"]}}"#;
        let rows = |count: usize| {
            let mut events = vec!["TABLE"];
            events.extend(std::iter::repeat_n(row, count));
            of_events(&events)
        };
        assert_eq!(rows(SUMMARY_ROWS.most), Ok(()));
        assert_eq!(
            rows(SUMMARY_ROWS.most + 1),
            Err(Beyond(&SUMMARY_ROWS).into())
        );
        let long = "x".repeat(SUMMARY_TEXT.most + 1);
        let long = of_events(&[
            "TABLE",
            &format!(r#"{{"row": {{"after": [1, [[{{"map": [["k", "{long}"]]}}]]]}}}}"#),
        ]);
        assert_eq!(long, Err(Beyond(&SUMMARY_TEXT).into()));
        let name = "x".repeat(SUMMARY_NAME.most + 1);
        let long = of_events(&[&TABLE.replace("users", &name)]);
        assert_eq!(long, Err(Beyond(&SUMMARY_NAME).into()));
    }
}
