//! Blocks as a server writes them, and as somebody may have made them.

use tempfile::TempDir;

use super::*;

fn block(rows: &[&[u8]]) -> Vec<u8> {
    let mut block = vec![0; BLOCK];
    let lower = 24 + rows.len() * 4;
    block[12..14].copy_from_slice(&(lower as u16).to_le_bytes());
    let mut at = BLOCK;
    for (number, row) in rows.iter().enumerate() {
        at -= row.len();
        block[at..at + row.len()].copy_from_slice(row);
        let pointer = at as u32 | 1 << 15 | (row.len() as u32) << 17;
        block[24 + number * 4..28 + number * 4].copy_from_slice(&pointer.to_le_bytes());
    }
    block
}

fn row(maker: u32, ender: u32, flags: u16, value: u8) -> Vec<u8> {
    let mut row = vec![0; 25];
    row[..4].copy_from_slice(&maker.to_le_bytes());
    row[4..8].copy_from_slice(&ender.to_le_bytes());
    row[20..22].copy_from_slice(&flags.to_le_bytes());
    row[24] = value;
    row
}

fn places(one: &[u8], two: &[u8]) -> Option<Vec<u16>> {
    let known = Known {
        differing: BTreeSet::from([50]),
        files: BTreeSet::from([0]),
    };
    let files = Files {
        one: None,
        two: None,
        first: 0,
        known: &known,
        shares_differ: false,
    };
    let mut places = Vec::new();
    let is_whole = files.look(7, one, two, &mut places);
    is_whole.then(|| places.into_iter().map(|(_, number)| number).collect())
}

#[test]
fn rows_differ_by_values_and_by_transactions_and_not_by_notes() {
    let old = block(&[
        &row(10, 0, 0, 1),
        &row(10, 0, 0x0100, 1),
        &row(10, 20, 0, 1),
        &row(50, 0, 0, 1),
    ]);
    let new = block(&[
        &row(10, 0, 0x0900, 1),
        &row(10, 0, 0x0b00, 2),
        &row(10, 20, 0x0400, 1),
        &row(50, 0, 0, 1),
    ]);
    assert_eq!(places(&old, &new), Some(vec![2, 4]));
    let more = block(&[&row(10, 0, 0, 1), &row(11, 0, 0, 1)]);
    assert_eq!(places(&block(&[&row(10, 0, 0, 1)]), &more), Some(vec![2]));
    assert_eq!(places(&[], &more), Some(vec![1, 2]));
    assert_eq!(places(&vec![0; BLOCK], &[]), Some(vec![]));
    // Notes that contradict each other, or that nobody can look up.
    let notes = |one, two, maker| {
        places(
            &block(&[&row(maker, 0, one, 1)]),
            &block(&[&row(maker, 0, two, 1)]),
        )
    };
    assert_eq!(notes(0x0100, 0x0200, 10), Some(vec![1]));
    assert_eq!(notes(0x0100, 0x0300, 10), Some(vec![]));
    assert_eq!(notes(0, 0x0100, 5 * IN_A_FILE), Some(vec![1]));
}

#[test]
fn blocks_of_other_forms_are_left_to_the_server() {
    let mut bad = block(&[&row(10, 0, 0, 1)]);
    bad[12..14].copy_from_slice(&9000_u16.to_le_bytes());
    assert_eq!(places(&bad, &[]), None);
    let garbage: Vec<u8> = (0..BLOCK).map(|at| (at * 7919 % 251) as u8).collect();
    let _ = places(&garbage, &bad);
}

fn put(folder: &TempDir, path: &str, bytes: &[u8]) {
    let path = folder.path().join(path);
    std::fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
    std::fs::write(path, bytes).expect("a file");
}

/// A data folder without tables, in which the first four transactions are committed.
fn data_folder() -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let sizes = [BLOCK as u32, SEGMENT].map(u32::to_le_bytes).concat();
    let control = [vec![7; 16], sizes].concat();
    put(&folder, "global/pg_control", &control);
    put(&folder, "pg_xact/0000", &[0x55]);
    folder
}

#[test]
fn files_that_no_server_writes_keep_nobody_busy() {
    let folder = data_folder();
    let put = |path: &str, bytes: &[u8]| put(&folder, path, bytes);
    put("pg_xact/FFFFFFFFFFFFFFFF", &[0x55]);
    put("pg_multixact/offsets/0000", &[]);
    put("pg_multixact/members/0000", &[]);
    put("base/5/1", &block(&[&row(10, 0, 0, 1)]));
    put("base/5/2", &[]);
    let file = File::options()
        .write(true)
        .open(folder.path().join("base/5/2"));
    let sparse = file.and_then(|file| file.set_len(8 << 40));
    sparse.expect("a sparse file");
    let side = || Side {
        folder: File::open(folder.path()).expect("the folder").into(),
        next: 100,
    };
    let (old, new) = (side(), side());
    let pair = Pair::new(&old, &new, &Unknown).expect("the files are read");
    assert!(!pair.is_useless());
    assert_eq!(pair.table("base/5/1").expect("a table"), Blocks::Same);
    assert_eq!(pair.table("base/5/2").expect("a table"), Blocks::All);
}

#[test]
fn a_state_is_the_same_as_itself_also_without_shared_rows() {
    let folder = data_folder();
    let put = |path: &str, bytes: &[u8]| put(&folder, path, bytes);
    // Several transactions share this row, and there is no list of them.
    put("base/5/1", &block(&[&row(10, 20, 0x1000, 1)]));
    let side = || Side {
        folder: File::open(folder.path()).expect("the folder").into(),
        next: 100,
    };
    let (old, new) = (side(), side());
    let pair = Pair::new(&old, &new, &Unknown).expect("the files are read");
    assert_eq!(pair.table("base/5/1").expect("a table"), Blocks::Same);
}
