//! Compares two states of an SQLite database, each a file with its write-ahead log.
//!
//! When the last program closes a database, SQLite moves the pages of the log into the file and deletes the log. The data
//! stays the same, so both states are compared as SQLite would read them.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

/// The first bytes of a database.
const MAGIC: &[u8; 16] = b"SQLite format 3\0";

/// The first bytes of a rollback journal that is in use.
const JOURNAL: [u8; 8] = [0xD9, 0xD5, 0x05, 0xF9, 0x20, 0xA1, 0x63, 0xD7];

const LOG_HEADER: u64 = 32;
const FRAME_HEADER: u64 = 24;

/// The files of one state of a database. A database without a log has `None`.
#[derive(Default)]
pub(super) struct Files {
    pub(super) database: Option<File>,
    pub(super) log: Option<File>,
    pub(super) journal: Option<File>,
}

/// Whether a file is a database.
pub(super) fn is_database(file: &File) -> bool {
    let mut first = [0; 16];
    file.read_exact_at(&mut first, 0).is_ok() && first == *MAGIC
}

/// Whether SQLite reads the same from both states. A state that it would first roll back equals no other.
pub(super) fn same(old: &Files, new: &Files) -> bool {
    match (State::of(old), State::of(new)) {
        (Ok(Some(old)), Ok(Some(new))) => old.equals(&new).unwrap_or(false),
        _ => false,
    }
}

/// A database as SQLite reads it: the pages of the log stand for those of the file.
struct State<'a> {
    database: &'a File,
    log: Option<&'a File>,
    page_size: u64,
    pages: u64,
    /// Where the log has the newest version of a page.
    newer: HashMap<u64, u64>,
}

impl<'a> State<'a> {
    /// `None` if it is not a database, or not one that can be read as it is.
    fn of(files: &'a Files) -> io::Result<Option<Self>> {
        let Some(database) = &files.database else {
            return Ok(None);
        };
        let mut header = [0; 100];
        database.read_exact_at(&mut header, 0)?;
        let page_size = match u16::from_be_bytes([header[16], header[17]]) {
            1 => 65536,
            size => u64::from(size),
        };
        if header[..16] != *MAGIC || !page_size.is_power_of_two() || page_size < 512 {
            return Ok(None);
        }
        if files.journal.as_ref().is_some_and(is_in_use) {
            return Ok(None);
        }
        let mut state = Self {
            database,
            log: files.log.as_ref(),
            page_size,
            pages: database.metadata()?.len() / page_size,
            newer: HashMap::new(),
        };
        if let Some(log) = state.log {
            state.read_log(log)?;
        }
        Ok(Some(state))
    }

    /// Reads which pages the committed transactions of the log have. It ends at the first frame that is not of this log.
    fn read_log(&mut self, log: &File) -> io::Result<()> {
        let mut header = [0; LOG_HEADER as usize];
        if log.read_exact_at(&mut header, 0).is_err() {
            return Ok(());
        }
        let magic = word(&header, 0);
        let is_big_endian = magic & 1 == 1;
        let sum = checksum((0, 0), &header[..24], is_big_endian);
        if magic | 1 != 0x377F_0683
            || u64::from(word(&header, 8)) != self.page_size
            || sum != (word(&header, 24), word(&header, 28))
        {
            return Ok(());
        }
        let mut sum = sum;
        let mut transaction = Vec::new();
        let mut frame = vec![0; (FRAME_HEADER + self.page_size) as usize];
        for number in 0.. {
            let at = LOG_HEADER + number * (FRAME_HEADER + self.page_size);
            if log.read_exact_at(&mut frame, at).is_err() || frame[8..16] != header[16..24] {
                break;
            }
            sum = checksum(sum, &frame[..8], is_big_endian);
            sum = checksum(sum, &frame[FRAME_HEADER as usize..], is_big_endian);
            if sum != (word(&frame, 16), word(&frame, 20)) {
                break;
            }
            transaction.push((u64::from(word(&frame, 0)), at + FRAME_HEADER));
            // The last frame of a transaction says how large the database is after it.
            let pages = u64::from(word(&frame, 4));
            if pages > 0 {
                self.newer.extend(transaction.drain(..));
                self.pages = pages;
            }
        }
        Ok(())
    }

    fn equals(&self, other: &State<'_>) -> io::Result<bool> {
        if (self.page_size, self.pages) != (other.page_size, other.pages) {
            return Ok(false);
        }
        let mut one = vec![0; self.page_size as usize];
        let mut two = one.clone();
        for page in 1..=self.pages {
            self.read(page, &mut one)?;
            other.read(page, &mut two)?;
            if one != two {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn read(&self, page: u64, buffer: &mut [u8]) -> io::Result<()> {
        match (self.log, self.newer.get(&page)) {
            (Some(log), Some(at)) => log.read_exact_at(buffer, *at),
            _ => {
                let at = (page - 1) * self.page_size;
                self.database.read_exact_at(buffer, at)
            }
        }
    }
}

/// Whether a rollback journal must be rolled back. SQLite also leaves journals that are empty or have a blank header.
fn is_in_use(journal: &File) -> bool {
    let mut first = [0; 8];
    journal.read_exact_at(&mut first, 0).is_ok() && first == JOURNAL
}

fn word(bytes: &[u8], at: usize) -> u32 {
    let word = bytes[at..at + 4].try_into().expect("four bytes");
    u32::from_be_bytes(word)
}

/// The checksum of SQLite's log, continued.
fn checksum((mut one, mut two): (u32, u32), bytes: &[u8], is_big_endian: bool) -> (u32, u32) {
    for pair in bytes.chunks_exact(8) {
        let word = |at: usize| {
            let word = pair[at..at + 4].try_into().expect("four bytes");
            match is_big_endian {
                true => u32::from_be_bytes(word),
                false => u32::from_le_bytes(word),
            }
        };
        one = one.wrapping_add(word(0)).wrapping_add(two);
        two = two.wrapping_add(word(4)).wrapping_add(one);
    }
    (one, two)
}
