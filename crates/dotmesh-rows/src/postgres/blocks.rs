//! Finds which blocks of a table differ between two copies, without reading the table through the server.
//!
//! Blocks with equal bytes have equal rows, with one exception: whether a row is visible depends on what became of its
//! transaction, which is stored elsewhere. A transaction that ran when the older copy was taken, and was committed when the
//! newer one was, can have left its rows in equal blocks. So the states of all transactions that both copies know are
//! compared, and equal blocks that name one whose state differs count as different. Both copies must have been recovered and
//! checkpointed, since before that the files lack what is only in the log.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt as _;

use rustix::fs::{Dir, OFlags};

use crate::detect::open_below;

/// The size of a block. A server that was built with another one has a different control file, and is compared in full.
const BLOCK: usize = 8192;

/// Blocks in a file. A larger table has several files.
const SEGMENT: u32 = 131_072;

/// Ranges of blocks. The ends are not part of them.
pub type Ranges = Vec<(u32, u32)>;

/// More ranges than this are not worth their statement.
const MOST_RANGES: usize = 60_000;

/// More transactions than this are not looked for one by one.
const MOST_TRANSACTIONS: usize = 100_000;

/// How two tables differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Blocks {
    /// Not at all.
    Same,
    /// Only in these blocks.
    Some(Ranges),
    /// Perhaps everywhere.
    All,
}

/// Says which ranges of bytes of a file may differ, if anybody knows: `path` is below the data folder. Both files have the
/// same bytes outside of them.
pub trait MayDiffer: Send + Sync {
    /// The ranges, ascending. `None` means that the files must be read.
    fn ranges(&self, path: &str) -> Option<Vec<std::ops::Range<u64>>>;
}

/// Nobody knows.
pub struct Unknown;

impl MayDiffer for Unknown {
    fn ranges(&self, _: &str) -> Option<Vec<std::ops::Range<u64>>> {
        None
    }
}

/// The data folder of a copy.
pub struct Side {
    /// The folder.
    pub folder: OwnedFd,
    /// The number of the next transaction.
    pub next: u64,
}

/// Two copies of a server's data.
pub struct Pair<'a> {
    old: &'a Side,
    new: &'a Side,
    /// The transactions whose states differ. `None` if there are too many, or they cannot be compared.
    differing: Option<BTreeSet<u32>>,
    /// Whether the lists of transactions that share rows may mean different ones.
    shares_differ: bool,
    hints: &'a dyn MayDiffer,
}

impl<'a> Pair<'a> {
    /// Compares the states of transactions.
    pub fn new(old: &'a Side, new: &'a Side, hints: &'a dyn MayDiffer) -> io::Result<Self> {
        let is_same = |path: &str, from: usize, to: usize| -> io::Result<bool> {
            let (one, two) = (read(&old.folder, path)?, read(&new.folder, path)?);
            Ok(one
                .get(from..to)
                .is_some_and(|part| two.get(from..to) == Some(part)))
        };
        // The control file begins with the identity of the database and its versions.
        let is_one_line = is_same("global/pg_control", 0, 16)?;
        let near = old.next.abs_diff(new.next) < 1 << 31;
        let differing = match is_one_line && near && has_usual_blocks(&old.folder)? {
            true => transactions(old, new)?,
            false => None,
        };
        Ok(Self {
            old,
            new,
            differing,
            shares_differ: !shares_agree(&old.folder, &new.folder)?,
            hints,
        })
    }

    /// Whether any table must be read in full, since blocks say nothing.
    pub fn is_useless(&self) -> bool {
        self.differing.is_none()
    }

    /// How a table differs, whose first file has this path in both data folders.
    pub fn table(&self, path: &str) -> io::Result<Blocks> {
        let Some(differing) = &self.differing else {
            return Ok(Blocks::All);
        };
        let mut ranges = Ranges::new();
        let mut total = 0;
        for number in 0.. {
            let path = match number {
                0 => path.to_owned(),
                number => format!("{path}.{number}"),
            };
            let (one, two) = (
                open(&self.old.folder, &path)?,
                open(&self.new.folder, &path)?,
            );
            if one.is_none() && two.is_none() {
                break;
            }
            let blocks = blocks_in(one.as_ref())?.max(blocks_in(two.as_ref())?);
            total += blocks;
            let first = number * SEGMENT;
            match (one, two) {
                (Some(one), Some(two)) => {
                    let mut file = Files {
                        one,
                        two,
                        first,
                        differing,
                        shares_differ: self.shares_differ,
                    };
                    file.compare(blocks, self.hints.ranges(&path), &mut ranges)?;
                }
                _ => add(&mut ranges, first, first + blocks),
            }
        }
        let changed: u32 = ranges.iter().map(|(from, to)| to - from).sum();
        Ok(match changed {
            0 => Blocks::Same,
            _ if changed > total / 2 && total > 64 || ranges.len() > MOST_RANGES => Blocks::All,
            _ => Blocks::Some(ranges),
        })
    }
}

/// The same file of both copies.
struct Files<'a> {
    one: File,
    two: File,
    first: u32,
    differing: &'a BTreeSet<u32>,
    shares_differ: bool,
}

impl Files<'_> {
    fn compare(
        &mut self,
        blocks: u32,
        hints: Option<Vec<std::ops::Range<u64>>>,
        ranges: &mut Ranges,
    ) -> io::Result<()> {
        const AT_ONCE: usize = 64;
        let looks_inside = !self.differing.is_empty() || self.shares_differ;
        let all = 0..u64::from(blocks) * BLOCK as u64;
        let parts = match hints {
            Some(hints) if !looks_inside => hints,
            _ => vec![all],
        };
        let (mut one, mut two) = (vec![0; BLOCK * AT_ONCE], vec![0; BLOCK * AT_ONCE]);
        for part in parts {
            let mut block = u32::try_from(part.start / BLOCK as u64).unwrap_or(u32::MAX);
            let end = u32::try_from(part.end.div_ceil(BLOCK as u64)).unwrap_or(u32::MAX);
            let end = end.min(blocks);
            while block < end {
                let count = AT_ONCE.min((end - block) as usize);
                let place = u64::from(block) * BLOCK as u64;
                let has_one = fill(&self.one, &mut one[..count * BLOCK], place)?;
                let has_two = fill(&self.two, &mut two[..count * BLOCK], place)?;
                for number in 0..count {
                    let at = number * BLOCK..(number + 1) * BLOCK;
                    let is_there = has_one >= at.end && has_two >= at.end;
                    let is_same = is_there && one[at.clone()] == two[at.clone()];
                    if !is_same || looks_inside && self.names_other_rows(&one[at]) {
                        let block = self.first + block + number as u32;
                        add(ranges, block, block + 1);
                    }
                }
                block += count as u32;
            }
        }
        Ok(())
    }

    /// Whether a block has a row whose visibility may differ although its bytes are equal.
    fn names_other_rows(&self, block: &[u8]) -> bool {
        const HEADER: usize = 24;
        const SHARED: u16 = 0x1000;
        const ONLY_LOCKED: u16 = 0x0080;
        let short = |at: usize| {
            block
                .get(at..at + 2)
                .map(|bytes| u16::from_le_bytes([bytes[0], bytes[1]]))
        };
        let long = |at: usize| {
            let bytes = block.get(at..at + 4)?;
            Some(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
        };
        let lower = short(12).map_or(0, usize::from).min(block.len());
        let mut pointer = HEADER;
        while pointer + 4 <= lower {
            let item = long(pointer).unwrap_or(0);
            pointer += 4;
            let (at, is_normal) = ((item & 0x7fff) as usize, (item >> 15) & 3 == 1);
            if !is_normal {
                continue;
            }
            let (Some(made), Some(ended), Some(flags)) = (long(at), long(at + 4), short(at + 20))
            else {
                return true;
            };
            let is_shared = flags & SHARED != 0 && flags & ONLY_LOCKED == 0;
            if is_shared || self.differing.contains(&made) || self.differing.contains(&ended) {
                return true;
            }
        }
        false
    }
}

fn add(ranges: &mut Ranges, from: u32, to: u32) {
    match ranges.last_mut() {
        // A gap of a few blocks costs less than another range.
        Some(last) if last.1 + 2 >= from => last.1 = last.1.max(to),
        _ => ranges.push((from, to)),
    }
}

fn fill(file: &File, buffer: &mut [u8], at: u64) -> io::Result<usize> {
    let mut done = 0;
    while done < buffer.len() {
        match file.read_at(&mut buffer[done..], at + done as u64) {
            Ok(0) => break,
            Ok(count) => done += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

fn open(folder: &OwnedFd, path: &str) -> io::Result<Option<File>> {
    match open_below(folder, path, OFlags::RDONLY | OFlags::NONBLOCK) {
        Ok(file) => {
            let file = File::from(file);
            match file.metadata()?.is_file() {
                true => Ok(Some(file)),
                false => Err(io::Error::other(format!("{path} is no file"))),
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn blocks_in(file: Option<&File>) -> io::Result<u32> {
    let length = match file {
        Some(file) => file.metadata()?.len(),
        None => 0,
    };
    Ok(u32::try_from(length.div_ceil(BLOCK as u64)).unwrap_or(u32::MAX))
}

/// A file of at most 16 MiB. A missing one is empty.
fn read(folder: &OwnedFd, path: &str) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if let Some(file) = open(folder, path)? {
        file.take(16 << 20).read_to_end(&mut bytes)?;
    }
    Ok(bytes)
}

/// The control file states the sizes that the server was built with. The usual ones follow each other in it.
fn has_usual_blocks(folder: &OwnedFd) -> io::Result<bool> {
    let control = read(folder, "global/pg_control")?;
    let usual: Vec<u8> = [BLOCK as u32, SEGMENT]
        .iter()
        .flat_map(|number| number.to_le_bytes())
        .collect();
    Ok(control.windows(8).any(|part| part == usual))
}

/// The names of the files of a folder that both copies have.
fn names(one: &OwnedFd, two: &OwnedFd, path: &str) -> io::Result<Option<Vec<String>>> {
    let list = |folder: &OwnedFd| -> io::Result<Option<BTreeSet<String>>> {
        let folder = match open_below(folder, path, OFlags::DIRECTORY) {
            Ok(folder) => folder,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let entries = Dir::read_from(&folder)?;
        let names = entries.flatten().filter_map(|entry| {
            let name = entry.file_name().to_str().ok()?;
            name.bytes()
                .all(|byte| byte.is_ascii_hexdigit())
                .then(|| name.to_owned())
        });
        Ok(Some(names.collect()))
    };
    let (Some(one), Some(two)) = (list(one)?, list(two)?) else {
        return Ok(None);
    };
    Ok(Some(one.intersection(&two).cloned().collect()))
}

/// The transactions of which only one copy says that they were committed. `None` if there are too many.
fn transactions(old: &Side, new: &Side) -> io::Result<Option<BTreeSet<u32>>> {
    const IN_A_FILE: u64 = 32 * BLOCK as u64 * 4;
    // Before PostgreSQL 10 the folder was `pg_clog`.
    let Some(names) = names(&old.folder, &new.folder, "pg_xact")? else {
        return Ok(None);
    };
    let next = old.next.min(new.next);
    let mut differing = BTreeSet::new();
    for name in names {
        let Ok(number) = u64::from_str_radix(&name, 16) else {
            continue;
        };
        let path = format!("pg_xact/{name}");
        let (one, two) = (read(&old.folder, &path)?, read(&new.folder, &path)?);
        for (at, (one, two)) in one.iter().zip(&two).enumerate() {
            // The state of a part of a transaction depends on the whole, so it is never trusted.
            let is_part = |byte: &u8| byte & (byte >> 1) & 0x55 != 0;
            if one == two && !is_part(one) {
                continue;
            }
            for place in 0..4 {
                let id = number * IN_A_FILE + at as u64 * 4 + place;
                let states = ((one >> (place * 2)) & 3, (two >> (place * 2)) & 3);
                // Numbers are used again and again, so only a half of them is in the past.
                let age = next.wrapping_sub(id) & u64::from(u32::MAX);
                let is_known = age > 0 && age < 1 << 31 && age <= next;
                let is_equal = (states.0 == 1) == (states.1 == 1) && states.0 != 3 && states.1 != 3;
                if is_known && !is_equal {
                    differing.insert(u32::try_from(id).unwrap_or(u32::MAX));
                }
            }
            if differing.len() > MOST_TRANSACTIONS {
                return Ok(None);
            }
        }
    }
    Ok(Some(differing))
}

/// Whether the lists of transactions that share rows mean the same in both copies. They only grow.
fn shares_agree(one: &OwnedFd, two: &OwnedFd) -> io::Result<bool> {
    for folder in ["pg_multixact/offsets", "pg_multixact/members"] {
        let Some(names) = names(one, two, folder)? else {
            return Ok(false);
        };
        for name in names {
            let path = format!("{folder}/{name}");
            let (one, two) = (read(one, &path)?, read(two, &path)?);
            let mut words = one.chunks_exact(4).zip(two.chunks_exact(4));
            let agree = |(one, two): (&[u8], &[u8])| one == two || one == [0; 4] || two == [0; 4];
            if !words.all(agree) {
                return Ok(false);
            }
        }
    }
    Ok(true)
}
