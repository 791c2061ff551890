//! Redis: values of all types, with any bytes.

use std::process::Command;

use dotmesh_rows::Scan;
use dotmesh_rows::compare::{Options, compare};
use dotmesh_rows::model::{Cell, DatabaseKind, DiffEvent};

use crate::server::{Opened, here, open};

fn ask(opened: &Opened, lines: &str) {
    let run = opened.adapter.statement(Some("0"), lines.as_bytes());
    let mut answer = opened.adapter.run(run).expect("redis-cli");
    let mut text = String::new();
    std::io::Read::read_to_string(&mut answer, &mut text).expect("an answer");
    assert!(!text.contains("(error)"), "{text}");
}

fn rows(opened: &Opened) -> Vec<Vec<Cell>> {
    let table = opened.adapter.tables("0").expect("tables").remove(0);
    let scan = Scan {
        columns: ["key", "type", "expires", "value"]
            .map(str::to_owned)
            .to_vec(),
        is_sorted: true,
        filter: None,
        limit: None,
        places: None,
        longest: 100,
    };
    let rows = opened.adapter.scan(&table, &scan).expect("rows");
    rows.map(|row| row.expect("a row").values).collect()
}

#[test]
fn keys_come_sorted_with_values_by_structure() {
    let (old, new) = (
        tempfile::tempdir().expect("a folder"),
        tempfile::tempdir().expect("a folder"),
    );
    let (old, new) = (
        open(here(), old.path(), DatabaseKind::Redis),
        open(here(), new.path(), DatabaseKind::Redis),
    );
    let make = "SET \"a\\x00\\xff\\n\" \"b\\\"\\\\\"\nSET long xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\n\
        RPUSH list 1 2 3\nSADD set z y\nHSET hash b 1 a 2\nZADD sorted 2 x 1.5 y\nXADD stream 1-1 f v\nSET user:1 a PX 100000000\nSET user:2 b\n";
    ask(&old, make);
    ask(&new, make);
    ask(
        &new,
        "HSET hash b 3\nSADD set new\nDEL user:2\nPERSIST user:1\nSET user:30 c\n",
    );
    let found = rows(&old);
    let text = |text: &str| Cell::Text(text.to_owned());
    assert_eq!(found[0][0], Cell::of_bytes(b"a\0\xff\n".to_vec()));
    assert_eq!(found[0][3], text("b\"\\"));
    assert_eq!(found[1][0..2], [text("hash"), text("hash")]);
    let pairs = vec![(text("a"), text("2")), (text("b"), text("1"))];
    assert_eq!(found[1][3], Cell::Map { map: pairs });
    assert_eq!(
        found[2][3],
        Cell::List(vec![text("1"), text("2"), text("3")])
    );
    assert!(matches!(found[3][3], Cell::Long { .. }), "{:?}", found[3]);
    let mut events = Vec::new();
    let options = Options {
        database: None,
        table: None,
        limit: Some(10),
        longest: 1000,
    };
    compare(
        &new.store,
        Some(&*old.adapter),
        Some(&*new.adapter),
        &options,
        None,
        &mut |event| {
            events.push(event);
            Ok(())
        },
    )
    .expect("both are compared");
    let told: Vec<String> = events
        .iter()
        .filter_map(|event| match event {
            DiffEvent::Table(table) => Some(table.name.table.clone()),
            DiffEvent::Counted(counts) => Some(format!(
                "+{} -{} ~{}",
                counts.added, counts.removed, counts.changed
            )),
            _ => None,
        })
        .collect();
    assert_eq!(
        told,
        ["hash", "+0 -0 ~1", "set", "+0 -0 ~1", "user:*", "+1 -1 ~1"]
    );
    assert!(Command::new("redis-cli").arg("--version").output().is_ok());
}
