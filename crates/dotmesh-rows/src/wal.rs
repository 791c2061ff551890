//! Reads PostgreSQL's write-ahead log, to see whether anybody but the server has changed something.
//!
//! Rows change when a transaction is committed. A server by itself commits none but those of autovacuum: statistics, and empty
//! pages at the end of a table. The formats are those of `xlog_internal.h` and `xlogrecord.h`, which PostgreSQL 10 to 18 share.

use std::collections::BTreeSet;
use std::fs::File;
use std::os::unix::fs::FileExt as _;

use crc::{CRC_32_ISCSI, Crc, Table};

/// The size of a block of the log.
const BLOCK: usize = 8192;

/// The largest record that is read.
const LARGEST: usize = 64 << 20;

/// No log gets that long, in bytes.
const LONGEST: u64 = 1 << 62;

/// The header of a record.
const HEADER: usize = 24;

const CRC: Crc<u32, Table<16>> = Crc::<u32, Table<16>>::new(&CRC_32_ISCSI);

/// The tables of statistics, and the tables of their long values: `pg_statistic` and `pg_statistic_ext_data`. A user's tables
/// have numbers from 16384 on.
const STATISTICS: [u32; 4] = [2619, 2840, 3429, 3430];

/// Since this version of blocks, that of PostgreSQL 15, a page in a record can be compressed in several ways.
const SEVERAL_COMPRESSIONS: u16 = 0xD110;

/// Opens a file of a cluster by its path. `None` if there is no regular file that may be read.
pub type Files<'a> = &'a dyn Fn(&str) -> Option<File>;

/// Whether nobody but the server has changed a cluster since an older state: the log of the newer state goes on from where that
/// of the older one ends, with nothing but the server's own work. A log that cannot be followed, or not within `most` bytes,
/// proves nothing.
pub fn is_quiet(old: Files<'_>, new: Files<'_>, most: u64) -> bool {
    follow(old, new, most).unwrap_or(false)
}

fn follow(old: Files<'_>, new: Files<'_>, most: u64) -> Option<bool> {
    let (before, after) = (Control::read(old)?, Control::read(new)?);
    let is_same = before.system == after.system
        && before.timeline == after.timeline
        && before.segment == after.segment;
    if !is_same {
        return None;
    }
    let mut head = Log::at(old, &before, before.redo, most);
    let mut next_transaction = before.next_transaction;
    let mut has_checkpoint = false;
    while let Some(record) = head.next() {
        has_checkpoint |= record.at == before.checkpoint;
        if record.transaction != 0 && is_since(record.transaction, next_transaction) {
            next_transaction = record.transaction.wrapping_add(1);
        }
    }
    let last = head.last.filter(|_| has_checkpoint)?;
    let mut log = Log::at(new, &after, head.position, most);
    log.last = Some(last);
    if !log.begins_like(&mut head, last)? {
        return None;
    }
    // A log that ends before the newest checkpoint has a hole.
    let mut has_checkpoint = after.checkpoint <= last;
    let mut maintenance = BTreeSet::new();
    while let Some(record) = log.next() {
        has_checkpoint |= record.at == after.checkpoint;
        match record.work()? {
            Work::None => {}
            Work::Maintenance => {
                maintenance.insert(record.transaction);
            }
            // One that was running at the older state may have written rows before it.
            Work::Commit
                if maintenance.contains(&record.transaction)
                    && is_since(record.transaction, next_transaction) => {}
            Work::Commit | Work::Change => return Some(false),
        }
    }
    has_checkpoint.then_some(true)
}

/// What the control file says.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Control {
    /// The number of the cluster.
    system: u64,
    /// Where the newest checkpoint is in the log.
    checkpoint: u64,
    /// Where recovery begins.
    redo: u64,
    timeline: u32,
    /// The transaction that was next at the checkpoint.
    next_transaction: u32,
    /// The size of a file of the log.
    segment: u64,
}

impl Control {
    /// The version of the file since which it has no second checkpoint: PostgreSQL 11.
    const ONE_CHECKPOINT: u32 = 1100;

    /// `None` if the server has sizes of blocks other than the usual ones.
    fn read(files: Files<'_>) -> Option<Self> {
        let mut bytes = [0; 512];
        let file = files("global/pg_control")?;
        file.read_exact_at(&mut bytes, 0).ok()?;
        let at_copy = match number(&bytes, 8)? < Self::ONE_CHECKPOINT {
            true => 48,
            false => 40,
        };
        // The sizes of a block, of a table's file and of a block of the log stand just before it, wherever that is.
        let sizes = [BLOCK as u32, 131_072, BLOCK as u32];
        let words = bytes.chunks_exact(4).map(|word| number(word, 0));
        let words: Vec<u32> = words.collect::<Option<_>>()?;
        let at_sizes = words
            .windows(sizes.len())
            .position(|window| window == sizes)?;
        let segment = u64::from(*words.get(at_sizes + sizes.len())?);
        let (checkpoint, redo) = (long(&bytes, 32)?, long(&bytes, at_copy)?);
        let is_sane = segment.is_power_of_two()
            && (1 << 20..=1 << 30).contains(&segment)
            && redo <= checkpoint
            && checkpoint < LONGEST;
        is_sane.then_some(Self {
            system: long(&bytes, 0)?,
            checkpoint,
            redo,
            timeline: number(&bytes, at_copy + 8)?,
            next_transaction: number(&bytes, at_copy + 24)?,
            segment,
        })
    }
}

/// Whether a transaction's number is the same or a later one. The numbers begin again after the last one.
fn is_since(transaction: u32, than: u32) -> bool {
    transaction.wrapping_sub(than) < 1 << 31
}

/// What a record tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Work {
    /// Nothing that a reader of tables sees.
    None,
    /// A part of a transaction that the server may have begun by itself.
    Maintenance,
    /// The end of a transaction, which makes its work visible.
    Commit,
    /// A change.
    Change,
}

struct Record {
    at: u64,
    transaction: u32,
    kind: u8,
    manager: u8,
    bytes: Vec<u8>,
    /// The version of the block that it is in.
    version: u16,
}

impl Record {
    /// `None` if it cannot be read.
    fn work(&self) -> Option<Work> {
        Some(match (self.manager, self.kind & 0x70) {
            // Checkpoints and the like, files, states of transactions, row locks, times of commits.
            (0 | 2 | 3 | 6 | 18, _) => Work::None,
            // Indexes say nothing that tables do not say: trees, hashes, inverted indexes, ranges.
            (11..=14 | 16 | 17, _) => Work::None,
            // Transactions: a commit; an abort, an assignment, an invalidation; what is prepared.
            (1, 0x00) => Work::Commit,
            (1, 0x20 | 0x50 | 0x60) => Work::None,
            // An exclusive lock, as before a table's empty end is cut off.
            (8, 0x00) => Work::Maintenance,
            (8, _) => Work::None,
            // Dead rows are removed, old rows frozen, pages marked as visible to all. Counts in catalogues are overwritten.
            (9, 0x10..=0x40) | (10, 0x70) => Work::None,
            (9 | 10, _) if STATISTICS.contains(&self.table()?) => Work::Maintenance,
            _ => Work::Change,
        })
    }

    /// The number of the first table that the record is about.
    fn table(&self) -> Option<u32> {
        const HAS_PAGE: u8 = 0x10;
        const HAS_HOLE: u8 = 0x01;
        const LARGEST_BLOCK_ID: u8 = 32;
        let rest = self.bytes.get(HEADER..)?;
        let (id, flags) = (*rest.first()?, *rest.get(1)?);
        let mut at = 4;
        if flags & HAS_PAGE != 0 {
            let page = *rest.get(at + 4)?;
            let compressed = match self.version >= SEVERAL_COMPRESSIONS {
                true => 0x1C,
                false => 0x02,
            };
            at += match page & compressed != 0 && page & HAS_HOLE != 0 {
                true => 7,
                false => 5,
            };
        }
        // The numbers of the table space and of the database come first.
        (id <= LARGEST_BLOCK_ID).then(|| number(rest, at + 8))?
    }
}

/// A log, read from a position on.
struct Log<'a> {
    files: Files<'a>,
    timeline: u32,
    segment: u64,
    /// The file that was read last, with its number.
    open: Option<(u64, File)>,
    /// The block that was read last.
    block: Option<(u64, Box<[u8; BLOCK]>)>,
    /// How many bytes may still be read.
    budget: u64,
    position: u64,
    /// Where the record before the position is.
    last: Option<u64>,
}

impl<'a> Log<'a> {
    fn at(files: Files<'a>, control: &Control, position: u64, most: u64) -> Self {
        Self {
            files,
            timeline: control.timeline,
            segment: control.segment,
            open: None,
            block: None,
            budget: most,
            position,
            last: None,
        }
    }

    /// The next record. `None` at the end, which is the first record that is not whole.
    fn next(&mut self) -> Option<Record> {
        let mut position = self.position;
        let first = self.read(&mut position, 4, false)?;
        let length = number(&first, 0)? as usize;
        if !(HEADER..=LARGEST).contains(&length) {
            return None;
        }
        let at = position - 4;
        let version = short(&self.block.as_ref()?.1[..], 0)?;
        let mut bytes = first;
        bytes.extend(self.read(&mut position, length - 4, true)?);
        let mut digest = CRC.digest();
        digest.update(&bytes[HEADER..]);
        digest.update(&bytes[..20]);
        let follows = self.last.is_none_or(|last| long(&bytes, 8) == Some(last));
        if digest.finalize() != number(&bytes, 20)? || !follows {
            return None;
        }
        let record = Record {
            at,
            transaction: number(&bytes, 4)?,
            kind: bytes[16],
            manager: bytes[17],
            bytes,
            version,
        };
        self.last = Some(at);
        // After a switch to the next file, the rest of this one is empty.
        let is_switch = record.manager == 0 && record.kind & 0xF0 == 0x40;
        self.position = match is_switch {
            true => position.next_multiple_of(self.segment),
            false => position.next_multiple_of(8),
        };
        Some(record)
    }

    /// Reads bytes from a position on, over the headers of blocks. `is_rest` if a block that they go on to must say so.
    fn read(&mut self, position: &mut u64, length: usize, is_rest: bool) -> Option<Vec<u8>> {
        const IS_REST: u16 = 1;
        const IS_LONG: u16 = 2;
        let mut bytes = Vec::with_capacity(length);
        while bytes.len() < length {
            let at = *position % BLOCK as u64;
            let block = self.block(*position - at)?;
            let mut at = at as usize;
            if at == 0 {
                let flags = short(block, 2)?;
                if is_rest && flags & IS_REST == 0 {
                    return None;
                }
                at = match flags & IS_LONG {
                    0 => 24,
                    _ => 40,
                };
                *position += at as u64;
            }
            let part = &block[at..BLOCK.min(at + length - bytes.len())];
            bytes.extend_from_slice(part);
            *position += part.len() as u64;
        }
        Some(bytes)
    }

    /// A block that belongs to its place. A file that is used again still has the blocks of another one.
    fn block(&mut self, at: u64) -> Option<&[u8; BLOCK]> {
        if self.block.as_ref().is_none_or(|(place, _)| *place != at) {
            self.budget = self.budget.checked_sub(BLOCK as u64)?;
            let number = at / self.segment;
            if self.open.as_ref().is_none_or(|(open, _)| *open != number) {
                let in_group = (1 << 32) / self.segment;
                let (group, place) = (number / in_group, number % in_group);
                let name = format!("pg_wal/{:08X}{group:08X}{place:08X}", self.timeline);
                self.open = Some((number, (self.files)(&name)?));
            }
            let mut bytes = Box::new([0; BLOCK]);
            let (_, file) = self.open.as_ref()?;
            file.read_exact_at(&mut bytes[..], at % self.segment).ok()?;
            self.block = Some((at, bytes));
        }
        let (_, bytes) = self.block.as_ref()?;
        (long(&bytes[..], 8)? == at).then_some(bytes)
    }

    /// Whether this log has the same bytes as another one, from the beginning of the file with the record at `last` up to the
    /// position.
    fn begins_like(&mut self, other: &mut Self, last: u64) -> Option<bool> {
        self.budget = self.budget.saturating_add(self.segment);
        other.budget = other.budget.saturating_add(self.segment);
        let begin = last - last % self.segment;
        for at in (begin..self.position).step_by(BLOCK) {
            let length = BLOCK.min((self.position - at) as usize);
            if self.block(at)?[..length] != other.block(at)?[..length] {
                return Some(false);
            }
        }
        Some(true)
    }
}

fn short(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn long(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}
