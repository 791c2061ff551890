//! Shows that the specification is complete. A reader in another language was written from it alone, and must read
//! the same as this crate.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use bytes::Bytes;
use dotmesh_store::chunker::cut;
use dotmesh_store::{FilePage, Kind, StoredFrame, StoredPackReader, TreePage, references};

#[test]
fn a_second_reader_finds_the_same() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let testdata = here.join("../../testdata");
    let output = Command::new("python3")
        .arg(here.join("tests/second_reader.py"))
        .arg(&testdata)
        .output()
        .expect("python3");
    let problem = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{problem}");
    let told = String::from_utf8(output.stdout).expect("text");

    let mut expected = String::new();
    let folders = [
        "v1/tree-nodes",
        "v1/file-nodes",
        "v1/roots",
        "v1/packs",
        "v1/store",
        "v2/store",
    ];
    for folder in folders {
        let mut files = Vec::new();
        files_below(&testdata.join(folder), &mut files);
        files.sort();
        for file in files {
            let bytes = std::fs::read(&file).expect("read");
            let name = file.strip_prefix(&testdata).expect("below").display();
            writeln!(expected, "{name}: {}", tell(folder, bytes)).expect("a string takes all");
        }
    }
    expected += "cuts:";
    let data: Vec<u8> = numbers().take(1_000_000).collect();
    let mut rest = &data[..];
    while !rest.is_empty() {
        let length = cut(rest);
        write!(expected, " {length}").expect("a string takes all");
        rest = &rest[length..];
    }
    for (told, expected) in told.lines().zip(expected.lines()) {
        assert_eq!(told, expected);
    }
    assert_eq!(told.lines().count(), expected.lines().count());
}

/// The same numbers as in `second_reader.py`.
fn numbers() -> impl Iterator<Item = u8> {
    let mut state: u32 = 7;
    std::iter::repeat_with(move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    })
}

pub(crate) fn files_below(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("list") {
        let path = entry.expect("list").path();
        match path.is_dir() {
            true => files_below(&path, into),
            false => into.push(path),
        }
    }
}

fn tell(folder: &str, bytes: Vec<u8>) -> String {
    let (what, kind) = match folder {
        "v1/tree-nodes" => {
            let page = TreePage::decode(&bytes).expect("a page");
            let what = format!("level {} of {}", page.level(), page.count());
            (what, Kind::TreePage)
        }
        "v1/file-nodes" => {
            let page = FilePage::decode(&bytes).expect("a page");
            let what = format!("level {} of {}", page.level(), page.size());
            (what, Kind::FilePage)
        }
        "v1/roots" => ("root".to_owned(), Kind::Root),
        _ => return tell_pack(bytes.into()),
    };
    what + &named(kind, &bytes)
}

fn named(kind: Kind, bytes: &[u8]) -> String {
    let references = references(kind, bytes).expect("of the format");
    references
        .iter()
        .map(|(_, hash)| format!(" {hash}"))
        .collect()
}

/// Describes a pack: its frames, the references of raw objects, the bases of deltas, and what is in groups.
fn tell_pack(pack: Bytes) -> String {
    let mut told = "pack".to_owned();
    for frame in StoredPackReader::new(pack).expect("a pack") {
        let frame = match frame.expect("a frame") {
            StoredFrame::Single(frame) => frame,
            StoredFrame::Group(group) => {
                told += &format!(" group:{}", group.raw_length());
                if let Some(base) = group.base() {
                    told += &format!(" {}:{}:{}", base.pack, base.range.offset, base.range.length);
                }
                for entry in group.entries() {
                    told += &format!(" {}:{}:{}", entry.kind.number(), entry.length, entry.hash);
                }
                continue;
            }
        };
        let (kind, hash) = (frame.kind(), frame.hash());
        let header = format!(" {}:{}:{hash}", kind.number(), frame.raw_length());
        told += &header;
        match (frame.base(), frame.object()) {
            (Some(base), _) => told += &format!(" {base}"),
            // Byte 1 of a frame is its encoding.
            (None, Ok(object)) if frame.stored()[1] == 0 => told += &named(kind, object.bytes()),
            (None, object) => assert!(object.is_ok()),
        }
    }
    told
}
