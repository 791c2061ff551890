//! The write-ahead logs of two copies of a PostgreSQL, which anybody may have made. Of whole logs it is known what has to be
//! found, and damaged ones must do no harm.

#![no_main]

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use crc::{CRC_32_ISCSI, Crc};
use dotmesh_rows::wal::is_quiet;
use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;

const BLOCK: usize = 8192;
const SEGMENT: u64 = 1 << 20;
const CRC: Crc<u32> = Crc::<u32>::new(&CRC_32_ISCSI);
/// The position of the first record: after the long header of the first block of the second file.
const FIRST: u64 = SEGMENT + 40;
const FILE: &str = "pg_wal/000000010000000000000001";

#[derive(Debug, Clone, Arbitrary)]
enum Step {
    /// The server's own work, with some bytes.
    Checkpoint(u8),
    Frozen(u8),
    /// A transaction writes statistics.
    Statistics(u8),
    /// A transaction writes a row of a user's table.
    Row(u8),
    Commit(u8),
    /// Up to some blocks of bytes.
    Large(u8, u16),
}

#[derive(Debug, Arbitrary)]
struct Input {
    before: Vec<Step>,
    after: Vec<Step>,
    next_transaction: u8,
    /// Bytes of the two logs and control files that are overwritten.
    damage: Vec<(u8, u16, u8)>,
    /// New positions in the control files.
    positions: Option<[u64; 4]>,
    most: Option<u32>,
}

/// A file of the log.
struct Writer {
    bytes: Vec<u8>,
    last: u64,
}

impl Writer {
    fn new() -> Self {
        let mut writer = Self {
            bytes: Vec::new(),
            last: 0,
        };
        writer.block(0);
        writer
    }

    fn block(&mut self, flags: u16) {
        let at = SEGMENT + self.bytes.len() as u64;
        let flags = match at % SEGMENT {
            0 => flags | 2,
            _ => flags,
        };
        self.bytes.extend(0xD110_u16.to_le_bytes());
        self.bytes.extend(flags.to_le_bytes());
        self.bytes.extend(1_u32.to_le_bytes());
        self.bytes.extend(at.to_le_bytes());
        self.bytes.extend([0; 8]);
        if flags & 2 != 0 {
            self.bytes.extend([0; 16]);
        }
    }

    /// Returns the position of the record.
    fn record(&mut self, manager: u8, kind: u8, transaction: u8, rest: &[u8]) -> u64 {
        self.bytes.resize(self.bytes.len().next_multiple_of(8), 0);
        if self.bytes.len() % BLOCK == 0 {
            self.block(0);
        }
        let mut record = Vec::new();
        record.extend((24 + rest.len() as u32).to_le_bytes());
        record.extend(u32::from(transaction).to_le_bytes());
        record.extend(self.last.to_le_bytes());
        record.extend([kind, manager, 0, 0]);
        let mut digest = CRC.digest();
        digest.update(rest);
        digest.update(&record);
        record.extend(digest.finalize().to_le_bytes());
        record.extend(rest);
        self.last = SEGMENT + self.bytes.len() as u64;
        for byte in record {
            if self.bytes.len() % BLOCK == 0 {
                self.block(1);
            }
            self.bytes.push(byte);
        }
        self.last
    }

    fn step(&mut self, step: &Step) {
        let table = |number: u32| {
            let mut block = vec![0, 0, 0, 0];
            block.extend([1663, 5, number, 0].map(u32::to_le_bytes).concat());
            block
        };
        match step {
            Step::Checkpoint(length) => self.record(0, 0x10, 0, &vec![1; usize::from(*length)]),
            Step::Frozen(length) => self.record(9, 0x20, 0, &vec![1; usize::from(*length)]),
            Step::Statistics(transaction) => self.record(10, 0, *transaction, &table(2619)),
            Step::Row(transaction) => self.record(10, 0, *transaction, &table(16384)),
            Step::Commit(transaction) => self.record(1, 0, *transaction, &[0; 8]),
            Step::Large(transaction, length) => {
                let length = usize::from(*length) % (3 * BLOCK);
                self.record(11, 0, *transaction, &vec![1; length])
            }
        };
    }
}

fn control(checkpoint: u64, redo: u64, next_transaction: u8) -> Vec<u8> {
    let mut bytes = vec![0; 512];
    bytes[..8].copy_from_slice(&7_u64.to_le_bytes());
    bytes[8..12].copy_from_slice(&1300_u32.to_le_bytes());
    bytes[32..40].copy_from_slice(&checkpoint.to_le_bytes());
    bytes[40..48].copy_from_slice(&redo.to_le_bytes());
    bytes[48] = 1;
    bytes[64] = next_transaction;
    let sizes = [BLOCK as u32, 131_072, BLOCK as u32, SEGMENT as u32];
    bytes[216..232].copy_from_slice(&sizes.map(u32::to_le_bytes).concat());
    bytes
}

/// Whether the steps after the older state are the server's own.
fn is_own_work(before: &[Step], after: &[Step], next_transaction: u8) -> bool {
    let transaction = |step: &Step| match step {
        Step::Statistics(number) | Step::Row(number) | Step::Commit(number) => *number,
        Step::Large(number, _) => *number,
        Step::Checkpoint(_) | Step::Frozen(_) => 0,
    };
    let numbers = before.iter().map(transaction).filter(|number| *number > 0);
    let next = numbers
        .map(|number| u32::from(number) + 1)
        .fold(u32::from(next_transaction), u32::max);
    let mut own = BTreeSet::new();
    after.iter().all(|step| match step {
        Step::Checkpoint(_) | Step::Frozen(_) | Step::Large(..) => true,
        Step::Statistics(number) => {
            own.insert(*number);
            true
        }
        Step::Commit(number) => own.contains(number) && u32::from(*number) >= next,
        Step::Row(_) => false,
    })
}

static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
    let shared = Path::new("/dev/shm");
    let parent = match shared.is_dir() {
        true => shared.to_owned(),
        false => std::env::temp_dir(),
    };
    parent.join(format!("dotmesh-fuzz-log-{}", std::process::id()))
});

fn write(folder: &Path, control: &[u8], log: &[u8]) {
    fs::create_dir_all(folder.join("global")).expect("a folder");
    fs::create_dir_all(folder.join("pg_wal")).expect("a folder");
    fs::write(folder.join("global/pg_control"), control).expect("a file");
    let file = File::create(folder.join(FILE)).expect("a file");
    file.set_len(SEGMENT).expect("a file of the log");
    std::os::unix::fs::FileExt::write_all_at(&file, log, 0).expect("the log");
}

fuzz_target!(|input: Input| {
    let (before, after) = (cut(&input.before), cut(&input.after));
    let mut log = Writer::new();
    let checkpoint = log.record(0, 0x10, 0, &[0; 88]);
    before.iter().for_each(|step| log.step(step));
    let mut old = [
        control(checkpoint, FIRST, input.next_transaction),
        log.bytes.clone(),
    ];
    after.iter().for_each(|step| log.step(step));
    let checkpoint = log.record(0, 0, 0, &[0; 88]);
    let mut new = [
        control(checkpoint, checkpoint, input.next_transaction),
        log.bytes,
    ];
    let mut is_whole = input.most.is_none();
    if let Some([one, two, three, four]) = input.positions {
        old[0] = control(one, two, input.next_transaction);
        new[0] = control(three, four, input.next_transaction);
        is_whole = false;
    }
    for (which, at, byte) in &input.damage {
        let file = match which % 4 {
            which @ (0 | 1) => &mut old[usize::from(which)],
            which => &mut new[usize::from(which) - 2],
        };
        let at = usize::from(*at) % file.len();
        file[at] = *byte;
        is_whole = false;
    }
    let (first, second) = (FOLDER.join("old"), FOLDER.join("new"));
    write(&first, &old[0], &old[1]);
    write(&second, &new[0], &new[1]);
    let most = input.most.map_or(u64::MAX, u64::from);
    let quiet = is_quiet(
        &|path| File::open(first.join(path)).ok(),
        &|path| File::open(second.join(path)).ok(),
        most,
    );
    if is_whole {
        assert_eq!(quiet, is_own_work(before, after, input.next_transaction));
    }
    fs::remove_dir_all(&*FOLDER).expect("the folder is removed");
});

/// As many steps as fit into a file of the log.
fn cut(steps: &[Step]) -> &[Step] {
    &steps[..steps.len().min(12)]
}
