//! Finds which rows of a table differ between two copies, without reading the table through the server.
//!
//! Rows with equal bytes at equal places are the same, with one exception: whether a row is visible depends on what became of
//! its transaction, which is stored elsewhere. A transaction that ran when the older copy was taken, and was committed when
//! the newer one was, can have left its rows in equal blocks. So the states of all transactions that both copies know are
//! compared, and rows that name one whose state differs count as different. Both copies must have been recovered and
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

/// The places of rows: a block, and a number in it.
pub type Places = Vec<(u32, u16)>;

/// More places than this are not worth their statement.
const MOST_PLACES: usize = 500_000;

/// More transactions than this are not looked for one by one.
const MOST_TRANSACTIONS: usize = 100_000;

/// How two tables differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Blocks {
    /// Not at all.
    Same,
    /// Only in the rows at these places.
    Some(Places),
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
    /// What is known of transactions. `None` if it cannot be compared.
    known: Option<Known>,
    /// Whether the lists of transactions that share rows may mean different ones.
    shares_differ: bool,
    hints: &'a dyn MayDiffer,
}

/// What is known of the transactions of two copies.
struct Known {
    /// Those whose states differ.
    differing: BTreeSet<u32>,
    /// The files of states that both copies have.
    files: BTreeSet<u32>,
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
        let known = match is_one_line && near && has_usual_blocks(&old.folder)? {
            true => transactions(old, new)?,
            false => None,
        };
        Ok(Self {
            old,
            new,
            known,
            shares_differ: !shares_agree(&old.folder, &new.folder)?,
            hints,
        })
    }

    /// Whether any table must be read in full, since blocks say nothing.
    pub fn is_useless(&self) -> bool {
        self.known.is_none()
    }

    /// How a table differs, whose first file has this path in both data folders.
    pub fn table(&self, path: &str) -> io::Result<Blocks> {
        let Some(known) = &self.known else {
            return Ok(Blocks::All);
        };
        let mut places = Places::new();
        for number in 0..=u32::MAX / SEGMENT {
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
            // No server writes such a file. Somebody has made it, for instance to keep this busy.
            if blocks > SEGMENT {
                return Ok(Blocks::All);
            }
            let files = Files {
                one,
                two,
                first: number * SEGMENT,
                known,
                shares_differ: self.shares_differ,
            };
            if !files.compare(blocks, self.hints.ranges(&path), &mut places)? {
                return Ok(Blocks::All);
            }
        }
        Ok(match places.is_empty() {
            true => Blocks::Same,
            false => Blocks::Some(places),
        })
    }
}

/// The same file of both copies.
struct Files<'a> {
    one: Option<File>,
    two: Option<File>,
    first: u32,
    known: &'a Known,
    shares_differ: bool,
}

impl Files<'_> {
    /// Adds the places of rows that differ. Returns whether that tells the whole difference.
    fn compare(
        &self,
        blocks: u32,
        hints: Option<Vec<std::ops::Range<u64>>>,
        places: &mut Places,
    ) -> io::Result<bool> {
        const AT_ONCE: usize = 64;
        let looks_inside = !self.known.differing.is_empty() || self.shares_differ;
        let all = 0..u64::from(blocks) * BLOCK as u64;
        let parts = match hints {
            Some(hints) if !looks_inside => hints,
            _ => vec![all],
        };
        let (mut one, mut two) = (vec![0; BLOCK * AT_ONCE], vec![0; BLOCK * AT_ONCE]);
        let mut block = 0;
        for part in parts {
            // Two parts may be of one block.
            let first = u32::try_from(part.start / BLOCK as u64).unwrap_or(u32::MAX);
            block = first.max(block);
            let end = u32::try_from(part.end.div_ceil(BLOCK as u64)).unwrap_or(u32::MAX);
            let end = end.min(blocks);
            while block < end {
                let count = AT_ONCE.min((end - block) as usize);
                let place = u64::from(block) * BLOCK as u64;
                let has_one = fill(self.one.as_ref(), &mut one[..count * BLOCK], place)?;
                let has_two = fill(self.two.as_ref(), &mut two[..count * BLOCK], place)?;
                for number in 0..count {
                    let at = number * BLOCK..(number + 1) * BLOCK;
                    let one = if has_one >= at.end {
                        &one[at.clone()]
                    } else {
                        &[]
                    };
                    let two = if has_two >= at.end { &two[at] } else { &[] };
                    if one == two && !looks_inside {
                        continue;
                    }
                    let block = self.first + block + number as u32;
                    if !self.look(block, one, two, places) || places.len() > MOST_PLACES {
                        return Ok(false);
                    }
                }
                block += count as u32;
            }
        }
        Ok(true)
    }

    /// Compares the rows of a block. Returns `false` if it has another form than that of a table.
    fn look(&self, block: u32, one: &[u8], two: &[u8], places: &mut Places) -> bool {
        let (Some(one), Some(two)) = (rows(one), rows(two)) else {
            return false;
        };
        for number in 0..one.len().max(two.len()) {
            let is_same = match (nth(&one, number), nth(&two, number)) {
                (None, None) => true,
                (Some(one), Some(two)) => self.is_same(&one, &two),
                _ => false,
            };
            if !is_same {
                places.push((block, u16::try_from(number + 1).unwrap_or(u16::MAX)));
            }
        }
        true
    }

    /// Whether both rows have the same values and are visible in the same states.
    fn is_same(&self, one: &Row<'_>, two: &Row<'_>) -> bool {
        // What readers have noted about the end of transactions.
        const MAKER: u16 = 0x0300;
        const ENDER: u16 = 0x0c00;
        const NOTES: u16 = MAKER | ENDER;
        const SHARED: u16 = 0x1000;
        const ONLY_LOCKED: u16 = 0x0080;
        let (was, is) = (one.flags(), two.flags());
        let is_equal = one.0[..20] == two.0[..20] && one.0[22..] == two.0[22..];
        if was & !NOTES != is & !NOTES || !is_equal {
            return false;
        }
        let (maker, ender) = (one.long(0), one.long(4));
        let is_shared = was & SHARED != 0;
        // The one of several transactions that changed the row is not told by the row.
        let is_certain = self.known.differing.is_empty() && !self.shares_differ;
        if is_shared && was & ONLY_LOCKED == 0 && !is_certain {
            return false;
        }
        if self.known.differing.contains(&maker)
            || !is_shared && self.known.differing.contains(&ender)
        {
            return false;
        }
        // A missing note is looked up, and a committed row may be noted as frozen later.
        let agree = |notes: u16, transaction: u32| match ordered(was & notes, is & notes) {
            (one, two) if one == two => true,
            (0, _) => self.has_state(transaction),
            (0x0100, 0x0300) => true,
            _ => false,
        };
        agree(MAKER, maker) && (agree(ENDER, ender) && (!is_shared || was & ENDER == is & ENDER))
    }

    /// Whether both copies know the state of a transaction. The first numbers are of the server itself.
    fn has_state(&self, transaction: u32) -> bool {
        transaction < 3 || self.known.files.contains(&(transaction / IN_A_FILE))
    }
}

fn nth<'a>(rows: &[Option<Row<'a>>], number: usize) -> Option<Row<'a>> {
    rows.get(number).cloned().flatten()
}

fn ordered(one: u16, two: u16) -> (u16, u16) {
    (one.min(two), one.max(two))
}

/// A row with its header.
#[derive(Clone)]
struct Row<'a>(&'a [u8]);

impl Row<'_> {
    fn long(&self, at: usize) -> u32 {
        let bytes = &self.0[at..at + 4];
        u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
    }

    fn flags(&self) -> u16 {
        u16::from_le_bytes([self.0[20], self.0[21]])
    }
}

/// The rows of a block by their numbers. `None` if it has another form than that of a table.
fn rows(block: &[u8]) -> Option<Vec<Option<Row<'_>>>> {
    const HEADER: usize = 24;
    const ROW_HEADER: usize = 23;
    let lower = match block.get(12..14) {
        None => return Some(Vec::new()),
        Some(bytes) => usize::from(u16::from_le_bytes([bytes[0], bytes[1]])),
    };
    // A block that was never written.
    if lower == 0 {
        return Some(Vec::new());
    }
    let pointers = block.get(HEADER..lower)?;
    let mut rows = Vec::with_capacity(pointers.len() / 4);
    for pointer in pointers.chunks_exact(4) {
        let pointer = u32::from_le_bytes([pointer[0], pointer[1], pointer[2], pointer[3]]);
        let (at, length) = ((pointer & 0x7fff) as usize, (pointer >> 17) as usize);
        rows.push(match (pointer >> 15) & 3 {
            1 if length < ROW_HEADER => return None,
            1 => Some(Row(block.get(at..at + length)?)),
            _ => None,
        });
    }
    Some(rows)
}

fn fill(file: Option<&File>, buffer: &mut [u8], at: u64) -> io::Result<usize> {
    let Some(file) = file else {
        return Ok(0);
    };
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

/// The files of a folder whose names are numbers. `None` if there is no such folder.
fn names(folder: &OwnedFd, path: &str) -> io::Result<Option<BTreeSet<String>>> {
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
}

/// The transactions whose states a file has.
const IN_A_FILE: u32 = 32 * BLOCK as u32 * 4;

/// Which transactions only one copy says that they were committed. `None` if there are too many.
fn transactions(old: &Side, new: &Side) -> io::Result<Option<Known>> {
    // Before PostgreSQL 10 the folder was `pg_clog`.
    let both = (
        names(&old.folder, "pg_xact")?,
        names(&new.folder, "pg_xact")?,
    );
    let (Some(one), Some(two)) = both else {
        return Ok(None);
    };
    let next = old.next.min(new.next);
    let (mut differing, mut files) = (BTreeSet::new(), BTreeSet::new());
    for name in one.intersection(&two) {
        // A file of another name is none of the server's.
        let number = u32::from_str_radix(name, 16).ok();
        let Some(number) = number.filter(|number| *number <= u32::MAX / IN_A_FILE) else {
            continue;
        };
        files.insert(number);
        let path = format!("pg_xact/{name}");
        let (one, two) = (read(&old.folder, &path)?, read(&new.folder, &path)?);
        for (at, (one, two)) in one.iter().zip(&two).enumerate() {
            // The state of a part of a transaction depends on the whole, so it is never trusted.
            let is_part = |byte: &u8| byte & (byte >> 1) & 0x55 != 0;
            if one == two && !is_part(one) {
                continue;
            }
            for place in 0..4 {
                let id = u64::from(number) * u64::from(IN_A_FILE) + at as u64 * 4 + place;
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
    Ok(Some(Known { differing, files }))
}

/// Whether the lists of transactions that share rows mean the same in both copies. They only grow.
fn shares_agree(one: &OwnedFd, two: &OwnedFd) -> io::Result<bool> {
    for folder in ["pg_multixact/offsets", "pg_multixact/members"] {
        let names = match (names(one, folder)?, names(two, folder)?) {
            (Some(names), Some(others)) => names.intersection(&others).cloned().collect(),
            (None, None) => Vec::new(),
            _ => return Ok(false),
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

#[cfg(test)]
mod tests;
