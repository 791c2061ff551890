//! The files of two copies of a PostgreSQL, which anybody may have made. What is found does not depend on which copy is the
//! older one, nor on knowing which bytes differ, and nothing is found in files that are the same.

#![no_main]

use std::fs::{self, File};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use dotmesh_rows::blocks::{Blocks, MayDiffer, Pair, Side, Unknown};
use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;

const BLOCK: usize = 8192;
const TABLE: &str = "base/5/16384";

/// A row. Numbers of transactions are small, so that their states are often known.
#[derive(Debug, Clone, Arbitrary)]
struct Row {
    maker: u8,
    ender: u8,
    flags: u16,
    value: u8,
}

#[derive(Debug, Clone, Arbitrary)]
struct Block {
    rows: Vec<Row>,
    /// Bytes that are overwritten.
    damage: Vec<(u16, u8)>,
}

/// What a copy has.
#[derive(Debug, Clone, Arbitrary)]
struct Copy {
    next: u16,
    has_control: bool,
    states: Vec<u8>,
    /// States in a file of another number, which may be a name that no server gives.
    more_states: Vec<(u8, u8)>,
    offsets: Vec<u8>,
    members: Option<Vec<u8>>,
    blocks: Vec<Block>,
    /// The bytes of a block that was not written to its end.
    tail: Vec<u8>,
}

#[derive(Debug, Arbitrary)]
struct Input {
    one: Copy,
    /// What the other copy has instead, as far as it differs.
    next: u16,
    states: Option<Vec<u8>>,
    members: Option<Option<Vec<u8>>>,
    blocks: Vec<(u8, Block)>,
    is_short: bool,
}

impl Block {
    fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0; BLOCK];
        let rows = &self.rows[..self.rows.len().min(8)];
        bytes[12..14].copy_from_slice(&(24 + rows.len() as u16 * 4).to_le_bytes());
        for (number, row) in rows.iter().enumerate() {
            let at = BLOCK - (number + 1) * 32;
            let pointer = at as u32 | 1 << 15 | 28 << 17;
            bytes[24 + number * 4..28 + number * 4].copy_from_slice(&pointer.to_le_bytes());
            bytes[at] = row.maker;
            bytes[at + 4] = row.ender;
            bytes[at + 20..at + 22].copy_from_slice(&row.flags.to_le_bytes());
            bytes[at + 24] = row.value;
        }
        for (at, byte) in &self.damage {
            bytes[usize::from(*at) % BLOCK] = *byte;
        }
        bytes
    }
}

impl Copy {
    fn table(&self) -> Vec<u8> {
        let blocks = self.blocks.iter().take(4);
        let mut bytes: Vec<u8> = blocks.flat_map(Block::bytes).collect();
        bytes.extend(self.tail.iter().take(BLOCK - 1));
        bytes
    }

    fn write(&self, folder: &Path) -> Side {
        let _ = fs::remove_dir_all(folder);
        let put = |path: &str, bytes: &[u8]| {
            let path = folder.join(path);
            fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
            fs::write(path, bytes).expect("a file");
        };
        let mut control = vec![7; 64];
        if self.has_control {
            control[32..36].copy_from_slice(&(BLOCK as u32).to_le_bytes());
            control[36..40].copy_from_slice(&131_072_u32.to_le_bytes());
        }
        put("global/pg_control", &control);
        put("pg_xact/0000", &self.states);
        let names = ["0001", "0FFF", "1000", "FFFFFFFF", "FFFFFFFFFFFFFFFF", "0"];
        for (name, states) in &self.more_states {
            let name = names[usize::from(*name) % names.len()];
            put(&format!("pg_xact/{name}"), &[*states]);
        }
        put("pg_multixact/offsets/0000", &self.offsets);
        if let Some(members) = &self.members {
            put("pg_multixact/members/0000", members);
        }
        put(TABLE, &self.table());
        Side {
            folder: File::open(folder).expect("the folder").into(),
            next: u64::from(self.next),
        }
    }

    /// Whether a state is that of a part of a transaction, which is never trusted.
    fn has_parts(&self) -> bool {
        let is_part = |byte: &u8| byte & (byte >> 1) & 0x55 != 0;
        let more = self.more_states.iter().map(|(_, states)| states);
        self.states.iter().chain(more).any(is_part)
    }
}

/// Knows exactly where the bytes differ.
struct Exact(Vec<Range<u64>>);

impl Exact {
    fn of(one: &[u8], two: &[u8]) -> Self {
        let mut ranges: Vec<Range<u64>> = Vec::new();
        for at in 0..one.len().max(two.len()) {
            if one.get(at) != two.get(at) {
                let at = at as u64;
                match ranges.last_mut() {
                    Some(last) if last.end == at => last.end += 1,
                    _ => ranges.push(at..at + 1),
                }
            }
        }
        Self(ranges)
    }
}

impl MayDiffer for Exact {
    fn ranges(&self, _: &str) -> Option<Vec<Range<u64>>> {
        Some(self.0.clone())
    }
}

static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
    let shared = Path::new("/dev/shm");
    let parent = match shared.is_dir() {
        true => shared.to_owned(),
        false => std::env::temp_dir(),
    };
    parent.join(format!("dotmesh-fuzz-{}", std::process::id()))
});

fn found(one: &Side, two: &Side, hints: &dyn MayDiffer) -> Blocks {
    let pair = Pair::new(one, two, hints).expect("the files can be read");
    pair.table(TABLE).expect("the table can be read")
}

fuzz_target!(|input: Input| {
    let one = input.one;
    let mut two = one.clone();
    two.next = input.next;
    if let Some(states) = input.states {
        two.states = states;
    }
    if let Some(members) = input.members {
        two.members = members;
    }
    for (place, block) in input.blocks {
        if let Some(own) = two.blocks.get_mut(usize::from(place)) {
            *own = block;
        }
    }
    if input.is_short {
        two.blocks.pop();
    }
    let (first, second) = (FOLDER.join("one"), FOLDER.join("two"));
    let (old, new) = (one.write(&first), two.write(&second));

    let told = found(&old, &new, &Unknown);
    assert_eq!(found(&new, &old, &Unknown), told);
    let exact = Exact::of(&one.table(), &two.table());
    assert_eq!(found(&old, &new, &exact), told);
    if let Blocks::Some(places) = &told {
        assert!(places.is_sorted_by(|one, next| one < next));
        assert!(
            places
                .iter()
                .all(|(block, number)| *block < 5 && *number > 0)
        );
    }
    if !one.has_parts() {
        assert!(matches!(
            found(&old, &old, &Unknown),
            Blocks::Same | Blocks::All
        ));
    }
    fs::remove_dir_all(&*FOLDER).expect("the folder is removed");
});
