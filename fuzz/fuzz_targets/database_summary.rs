//! Database summaries, which a client sends to a hub. One that passes the check reads the same again, and can be put together
//! with others for a page.

#![no_main]

use dotmesh_hub_model::database_summary::check;
use dotmesh_rows::compose::{Composer, TableDiff, tables};
use dotmesh_rows::model::DatabaseSummary;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    // Several summaries are of commits that follow each other.
    let summaries: Vec<DatabaseSummary> = serde_json::Deserializer::from_slice(data)
        .into_iter()
        .take(4)
        .map_while(Result::ok)
        .filter(|summary| check(summary).is_ok())
        .collect();
    let mut composer = Composer::default();
    for summary in &summaries {
        let written = serde_json::to_string(summary).expect("what was read can be written");
        let again: DatabaseSummary = serde_json::from_str(&written).expect("and read again");
        assert_eq!(again, *summary);
        let (tables, _) = tables(again.changes);
        tables.iter().for_each(fits);
        for table in tables {
            let mut same = table.clone().reversed().reversed();
            same.table.ddl.clone_from(&table.table.ddl);
            assert_eq!(same, table);
        }
        composer.add(summary.clone());
    }
    let composed = composer.finish();
    composed.tables.iter().for_each(fits);
    if let [summary] = summaries.as_slice() {
        assert_eq!(composed.is_cut, summary.is_cut);
    }
});

/// The rows of a table have as many values as it has columns, and are not more than are counted.
fn fits(table: &TableDiff) {
    let width = table.table.columns.len();
    for row in &table.rows {
        assert!(row.before.is_some() || row.after.is_some());
        for values in [&row.before, &row.after].into_iter().flatten() {
            assert_eq!(values.len(), width);
        }
        assert!(row.changed.iter().all(|place| *place < width));
    }
    let _ = table.missing();
}
