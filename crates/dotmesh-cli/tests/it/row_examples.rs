//! An example of what each command about rows returns, and how people see it.

use dotmesh_cli::commands::diff::rows::{Form, RowChanges, summary, whole};
use dotmesh_cli::commands::{rows, sql};
use dotmesh_rows::model::{
    Cell, Column, Counts, DatabaseKind, DiffEvent, Fate, RowChange, RowKey, Store, TableChange,
    TableName, TableSize,
};

use crate::given::{id, name};
use crate::json::Example;

fn store(subdot: &str, kind: DatabaseKind, version: &str) -> Store {
    Store {
        subdot: subdot.to_owned(),
        path: String::new(),
        kind,
        version: version.to_owned(),
    }
}

fn table(database: &str, schema: &str, table: &str) -> TableName {
    TableName {
        database: database.to_owned(),
        schema: schema.to_owned(),
        table: table.to_owned(),
    }
}

fn text(text: &str) -> Cell {
    Cell::Text(text.to_owned())
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn row(before: Option<Vec<Cell>>, after: Option<Vec<Cell>>, changed: &[usize]) -> DiffEvent {
    DiffEvent::Row(RowChange {
        before,
        after,
        changed: changed.to_vec(),
        count: 1,
    })
}

fn changes() -> RowChanges {
    let mut changes = RowChanges {
        from: id(0xa1),
        to: Some(id(0xb2)),
        tables: Vec::new(),
        problems: Vec::new(),
        form: Form::Rows,
    };
    let users = TableChange {
        store: store("users-db", DatabaseKind::Postgres, "15"),
        name: table("postgres", "public", "users"),
        fate: Fate::Kept,
        key: RowKey::Primary(names(&["id"])),
        columns: names(&["id", "username", "image"]),
        generated: Vec::new(),
        ddl: names(&["ALTER TABLE \"public\".\"users\" ADD COLUMN \"image\" text"]),
    };
    let user = |id: i64, name: &str| vec![Cell::Integer(id), text(name), Cell::Null];
    let clicks = TableChange {
        store: store("clicks-db", DatabaseKind::Redis, ""),
        name: table("0", "", "whales"),
        fate: Fate::Kept,
        key: RowKey::Primary(names(&["key"])),
        columns: names(&["key", "type", "expires", "value"]),
        generated: Vec::new(),
        ddl: Vec::new(),
    };
    let list = |clicks: &[&str]| {
        let clicks = clicks.iter().map(|click| text(click)).collect();
        vec![text("whales"), text("list"), Cell::Null, Cell::List(clicks)]
    };
    let counts = |added, removed, changed| {
        DiffEvent::Counted(Counts {
            added,
            removed,
            changed,
        })
    };
    let events = [
        DiffEvent::Table(users),
        row(Some(user(1, "ann")), Some(user(1, "bea")), &[1]),
        row(Some(user(2, "o\u{1b}[31m")), None, &[]),
        row(None, Some(user(3, "fred")), &[]),
        counts(12, 1, 1),
        DiffEvent::Table(clicks),
        row(
            Some(list(&["10:10"])),
            Some(list(&["10:10", "50:50"])),
            &[3],
        ),
        counts(0, 0, 1),
        DiffEvent::Problem {
            what: "old-db".to_owned(),
            why: "no image that opens old-db (PostgreSQL 9.6) is on this machine".to_owned(),
        },
    ];
    for event in events {
        changes.take(event, Form::Rows);
    }
    changes
}

fn contents() -> rows::Contents {
    rows::Contents {
        dot: name("mobycounter_app"),
        revision: "many-users".to_owned(),
        tables: vec![TableSize {
            store: store("users-db", DatabaseKind::Postgres, "15"),
            name: table("postgres", "public", "users"),
            rows: Some(11),
            bytes: 49_152,
            columns: vec![Column {
                name: "id".to_owned(),
                kind: "integer".to_owned(),
                rest: "NOT NULL".to_owned(),
                is_generated: false,
                number: 1,
            }],
            key: RowKey::Primary(names(&["id"])),
        }],
        rows: Some(rows::TableContent {
            store: store("users-db", DatabaseKind::Postgres, "15"),
            name: table("postgres", "public", "users"),
            columns: names(&["id", "username"]),
            rows: vec![vec![Cell::Integer(1), text("user1")]],
            is_cut: true,
        }),
        problems: Vec::new(),
    }
}

/// The examples.
pub(crate) fn rows() -> Vec<Example> {
    vec![
        Example::of("dm diff --rows", &changes()),
        Example::of("dm rows", &contents()),
        Example::of(
            "dm sql",
            &sql::Asked {
                dot: name("mobycounter_app"),
                revision: "many-users".to_owned(),
                target: "users-db".to_owned(),
                output: " count \n-------\n    11\n(1 row)\n".to_owned(),
            },
        ),
    ]
}

#[test]
fn people_see_a_summary_and_then_rows() {
    let changes = changes();
    let told = " users-db/postgres/users | definition changed; 12 rows added, 1 removed, 1 changed
 clicks-db/0/whales      | 1 key changed
";
    assert_eq!(summary(&changes), told);
    let rest = "
@@ users-db/postgres/users, by id @@
 ALTER TABLE \"public\".\"users\" ADD COLUMN \"image\" text;
~ id=1
-   username: ann
+   username: bea
- id=2  username=o\u{fffd}[31m
+ id=3  username=fred
 … 11 more, which --limit shows

@@ clicks-db/0/whales, by key @@
~ key=whales
+   value[1]: 50:50
";
    assert_eq!(whole(&changes), format!("{told}{rest}"));
    let contents = contents();
    let tables = "users-db (PostgreSQL 15)
  DATABASE  TABLE  ROWS  SIZE
  postgres  users  11    48.00 KiB
";
    assert_eq!(rows::tables(&contents.tables), tables);
    let table = contents.rows.expect("rows");
    assert_eq!(rows::rows(&table), "id  username\n1   user1\n");
}
