//! Reads the entries of an archive from anybody. Nothing that it reads is believed before it is checked, and memory for
//! an entry is bounded.

use std::io::{self, Read};

use crate::attributes::{ExtendedAttribute, InodeAttributes, Time};
use crate::error::ArchiveError;
use crate::header::BLOCK;
use crate::records::{decimal, parse};
use crate::sparse::{self, Part};

/// The most bytes of pax records of an entry: a few of the largest extended attributes.
const MAX_RECORDS: u64 = 4 << 20;

/// The longest name and the longest target of a link, in bytes: what Linux takes.
pub(crate) const MAX_NAME: usize = 4095;

/// The most parts in a header of GNU's old format for files with holes.
const OLD_PARTS: usize = 1 << 20;

/// The kind of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    File { size: u64, parts: Vec<Part> },
    Folder,
    Symlink(Vec<u8>),
    HardLink(Vec<u8>),
    Fifo,
    Device,
}

/// An entry. The bytes of a file are read with [`Reader::read`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) name: Vec<u8>,
    pub(crate) kind: Kind,
    pub(crate) attributes: InodeAttributes,
}

/// Reads an archive from its beginning to its end.
pub(crate) struct Reader<R> {
    input: R,
    /// What is left of the entry's bytes, and the padding after them.
    left: u64,
    padding: u64,
    is_begun: bool,
}

/// What comes before an entry and is about it.
#[derive(Default)]
struct Before {
    name: Option<Vec<u8>>,
    target: Option<Vec<u8>>,
    size: Option<u64>,
    uid: Option<u64>,
    gid: Option<u64>,
    mtime: Option<Time>,
    xattrs: Vec<ExtendedAttribute>,
    sparse_name: Option<Vec<u8>>,
    sparse_size: Option<u64>,
    sparse_version: [Option<u64>; 2],
    is_sparse: bool,
}

impl<R: Read> Reader<R> {
    pub(crate) fn new(input: R) -> Self {
        Self {
            input,
            left: 0,
            padding: 0,
            is_begun: false,
        }
    }

    /// Reads the bytes of the present file. `false` if there are fewer.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> Result<(), ArchiveError> {
        match self.left.checked_sub(buffer.len() as u64) {
            Some(left) => self.left = left,
            None => {
                return Err(ArchiveError::malformed(
                    "a file has fewer bytes than its list of holes says",
                ));
            }
        }
        read_exactly(&mut self.input, buffer)
    }

    /// The next entry, or `None` at the end.
    pub(crate) fn next(&mut self) -> Result<Option<Entry>, ArchiveError> {
        let mut before = Before::default();
        loop {
            self.skip()?;
            let mut block = [0; BLOCK];
            self.read_block(&mut block)?;
            if block == [0; BLOCK] {
                return Ok(None);
            }
            self.check(&block)?;
            self.is_begun = true;
            let size = number(&block[124..136])?;
            match block[156] {
                b'x' => {
                    let records = self.take(size, MAX_RECORDS)?;
                    before.read(&records)?;
                }
                b'L' => before.name = Some(self.long_name(size)?),
                b'K' => before.target = Some(self.long_name(size)?),
                // Values for all entries, and a volume's label.
                b'g' | b'V' => self.set_length(size)?,
                flag => return self.entry(&block, flag, before).map(Some),
            }
        }
    }

    /// Reads a header. A compressed archive may be shorter than one.
    fn read_block(&mut self, block: &mut [u8; BLOCK]) -> Result<(), ArchiveError> {
        let mut read = Vec::with_capacity(BLOCK);
        let whole = (&mut self.input).take(BLOCK as u64).read_to_end(&mut read);
        let count = whole.map_err(ArchiveError::Stream)?;
        block[..count].copy_from_slice(&read);
        match (count, self.compression(block)) {
            (_, Some(name)) => Err(ArchiveError::Compressed(name)),
            (BLOCK, None) => Ok(()),
            _ => Err(ArchiveError::EndsEarly),
        }
    }

    /// What the archive is compressed with, if its first bytes say so.
    fn compression(&self, block: &[u8; BLOCK]) -> Option<&'static str> {
        let known = [
            (&[0x1f, 0x8b][..], "gzip"),
            (&[0x28, 0xb5, 0x2f, 0xfd], "zstd"),
            (&[0xfd, b'7', b'z', b'X', b'Z'], "xz"),
            (b"BZh", "bzip2"),
        ];
        let mut known = known.iter().filter(|_| !self.is_begun);
        let found = known.find(|(magic, _)| block.starts_with(magic))?;
        // A name may begin like that, too. Then the rest is a header.
        let is_header = &block[257..262] == b"ustar";
        (!is_header).then_some(found.1)
    }

    fn set_length(&mut self, length: u64) -> Result<(), ArchiveError> {
        let padded = length.checked_next_multiple_of(BLOCK as u64);
        let padded = padded.filter(|padded| i64::try_from(*padded).is_ok());
        let padded = padded.ok_or_else(|| ArchiveError::malformed("an entry is too large"))?;
        (self.left, self.padding) = (length, padded - length);
        Ok(())
    }

    /// Skips what is left of an entry.
    fn skip(&mut self) -> Result<(), ArchiveError> {
        let rest = self.left + self.padding;
        (self.left, self.padding) = (0, 0);
        let skipped = io::copy(&mut (&mut self.input).take(rest), &mut io::sink());
        match skipped.map_err(ArchiveError::Stream)? == rest {
            true => Ok(()),
            false => Err(ArchiveError::EndsEarly),
        }
    }

    /// All bytes of a small entry.
    fn take(&mut self, size: u64, most: u64) -> Result<Vec<u8>, ArchiveError> {
        if size > most {
            return Err(ArchiveError::malformed(
                "the records before an entry are too large",
            ));
        }
        self.set_length(size)?;
        let mut bytes = vec![0; usize::try_from(size).unwrap_or(0)];
        self.read(&mut bytes)?;
        Ok(bytes)
    }

    fn long_name(&mut self, size: u64) -> Result<Vec<u8>, ArchiveError> {
        let mut name = self.take(size, MAX_NAME as u64 + 1)?;
        while name.last() == Some(&0) {
            name.pop();
        }
        Ok(name)
    }

    fn check(&self, block: &[u8; BLOCK]) -> Result<(), ArchiveError> {
        let sum = |is_own: fn(usize) -> bool| -> u64 {
            let bytes = block.iter().enumerate();
            bytes
                .map(|(at, byte)| if is_own(at) { 32 } else { u64::from(*byte) })
                .sum()
        };
        if number(&block[148..156]).ok() == Some(sum(|at| (148..156).contains(&at))) {
            return Ok(());
        }
        Err(ArchiveError::malformed("the checksum of a header is wrong"))
    }

    fn entry(
        &mut self,
        block: &[u8; BLOCK],
        flag: u8,
        before: Before,
    ) -> Result<Entry, ArchiveError> {
        let target = before
            .target
            .clone()
            .unwrap_or_else(|| text(&block[157..257]));
        let name = before.name(block);
        let size = match before.size {
            Some(size) => size,
            None => number(&block[124..136])?,
        };
        let kind = match flag {
            // The first archives mark folders by their names only.
            0 if name.ends_with(b"/") => Kind::Folder,
            0 | b'0' | b'7' => {
                self.set_length(size)?;
                self.file(&before, size)?
            }
            b'S' => {
                self.set_length(size)?;
                self.old_sparse(block, size)?
            }
            b'1' => Kind::HardLink(target),
            b'2' => Kind::Symlink(target),
            b'3' | b'4' => Kind::Device,
            b'5' => Kind::Folder,
            b'6' => Kind::Fifo,
            flag => {
                let flag = char::from(flag);
                return Err(ArchiveError::malformed(format!(
                    "an entry has the unknown type {flag:?}"
                )));
            }
        };
        let owner = |told: Option<u64>, field: &[u8]| {
            let id = told.map_or_else(|| number(field), Ok)?;
            // The largest number means "no change" to Linux.
            let id = u32::try_from(id).ok().filter(|id| *id != u32::MAX);
            id.ok_or_else(|| ArchiveError::malformed("an owner's number is too large"))
        };
        let mtime = match before.mtime {
            Some(mtime) => mtime,
            None => Time {
                seconds: signed(&block[136..148])?,
                nanoseconds: 0,
            },
        };
        Ok(Entry {
            name,
            kind,
            attributes: InodeAttributes {
                mode: (number(&block[100..108])? & 0o7777) as u16,
                uid: owner(before.uid, &block[108..116])?,
                gid: owner(before.gid, &block[116..124])?,
                mtime,
                xattrs: before.xattrs,
            },
        })
    }

    fn file(&mut self, before: &Before, stored: u64) -> Result<Kind, ArchiveError> {
        if !before.is_sparse {
            let part = Part {
                at: 0,
                length: stored,
            };
            return Ok(Kind::File {
                size: stored,
                parts: vec![part],
            });
        }
        let (Some(size), [Some(1), Some(0)]) = (before.sparse_size, before.sparse_version) else {
            return Err(ArchiveError::malformed(
                "it has files with holes in an old format, so make it with 'tar --sparse-version=1.0'",
            ));
        };
        let (parts, taken) = sparse::read_list(&mut self.input)?;
        let left = stored.checked_sub(taken);
        self.left =
            left.ok_or_else(|| ArchiveError::malformed("the list of a file's holes is too long"))?;
        sparse::check(&parts, size, self.left)?;
        Ok(Kind::File { size, parts })
    }

    /// GNU's own format for files with holes: some parts in the header, the others in blocks after it.
    fn old_sparse(&mut self, block: &[u8; BLOCK], stored: u64) -> Result<Kind, ArchiveError> {
        let mut parts = Vec::new();
        let mut read = |fields: &[u8]| -> Result<(), ArchiveError> {
            for field in fields
                .chunks_exact(24)
                .filter(|field| field[0] != 0 && field[12] != 0)
            {
                parts.push(Part {
                    at: number(&field[..12])?,
                    length: number(&field[12..])?,
                });
            }
            match parts.len() > OLD_PARTS {
                true => Err(ArchiveError::malformed("a file has too many holes")),
                false => Ok(()),
            }
        };
        read(&block[386..482])?;
        let mut goes_on = block[482] != 0;
        while goes_on {
            let mut more = [0; BLOCK];
            read_exactly(&mut self.input, &mut more)?;
            read(&more[..504])?;
            goes_on = more[504] != 0;
        }
        let size = number(&block[483..495])?;
        sparse::check(&parts, size, stored)?;
        Ok(Kind::File { size, parts })
    }
}

impl Before {
    fn read(&mut self, records: &[u8]) -> Result<(), ArchiveError> {
        let bad = || ArchiveError::malformed("a pax record has no valid number");
        for (key, value) in parse(records)? {
            let number = || decimal(value).ok_or_else(bad);
            match key {
                b"path" => self.name = Some(value.to_vec()),
                b"linkpath" => self.target = Some(value.to_vec()),
                b"size" => self.size = Some(number()?),
                b"uid" => self.uid = Some(number()?),
                b"gid" => self.gid = Some(number()?),
                b"mtime" => self.mtime = Some(time(value).ok_or_else(bad)?),
                b"GNU.sparse.major" => self.sparse_version[0] = Some(number()?),
                b"GNU.sparse.minor" => self.sparse_version[1] = Some(number()?),
                b"GNU.sparse.name" => self.sparse_name = Some(value.to_vec()),
                b"GNU.sparse.realsize" => self.sparse_size = Some(number()?),
                _ => {}
            }
            self.is_sparse |= key.starts_with(b"GNU.sparse.");
            if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
                let (name, value) = (name.to_vec(), value.to_vec());
                self.xattrs.push(ExtendedAttribute { name, value });
            }
        }
        Ok(())
    }

    fn name(&self, block: &[u8; BLOCK]) -> Vec<u8> {
        if let Some(name) = self.sparse_name.as_ref().or(self.name.as_ref()) {
            return name.clone();
        }
        let (name, folder) = (text(&block[..100]), text(&block[345..500]));
        // GNU's own headers have something else there.
        let is_posix = &block[257..263] == b"ustar\0" && block[156] != b'S';
        match is_posix && !folder.is_empty() {
            true => [&folder[..], b"/", &name].concat(),
            false => name,
        }
    }
}

/// Fills the buffer.
pub(crate) fn read_exactly(input: &mut impl Read, buffer: &mut [u8]) -> Result<(), ArchiveError> {
    input
        .read_exact(buffer)
        .map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => ArchiveError::EndsEarly,
            _ => ArchiveError::Stream(error),
        })
}

/// A field up to its first zero.
fn text(field: &[u8]) -> Vec<u8> {
    field
        .split(|byte| *byte == 0)
        .next()
        .unwrap_or_default()
        .to_vec()
}

/// A number that is not negative.
fn number(field: &[u8]) -> Result<u64, ArchiveError> {
    u64::try_from(signed(field)?).map_err(|_| ArchiveError::malformed("a number is negative"))
}

/// A number in octal digits, or in binary if the first bit says so.
fn signed(field: &[u8]) -> Result<i64, ArchiveError> {
    let bad = || ArchiveError::malformed("a header has no valid number");
    if field[0] & 0x80 != 0 {
        let is_negative = field[0] == 0xff;
        let mut value = if is_negative {
            -1i128
        } else {
            i128::from(field[0] & 0x7f)
        };
        for byte in &field[1..] {
            value = value.checked_mul(256).ok_or_else(bad)? + i128::from(*byte);
        }
        return i64::try_from(value).map_err(|_| bad());
    }
    let digits = field.iter().copied().skip_while(|byte| *byte == b' ');
    let mut value = 0i64;
    for byte in digits.take_while(|byte| !matches!(byte, 0 | b' ')) {
        let digit = byte
            .checked_sub(b'0')
            .filter(|digit| *digit < 8)
            .ok_or_else(bad)?;
        value = value.checked_mul(8).ok_or_else(bad)? + i64::from(digit);
    }
    Ok(value)
}

/// Seconds with a fraction.
fn time(text: &[u8]) -> Option<Time> {
    let text = std::str::from_utf8(text).ok()?;
    let (is_negative, text) = match text.strip_prefix('-') {
        Some(text) => (true, text),
        None => (false, text),
    };
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let whole = i64::try_from(decimal(whole.as_bytes())?).ok()?;
    let digits: String = fraction
        .chars()
        .chain("000000000".chars())
        .take(9)
        .collect();
    let nanoseconds = i64::try_from(decimal(digits.as_bytes())?).ok()?;
    let (seconds, nanoseconds) = match (is_negative, nanoseconds) {
        (false, _) => (whole, nanoseconds),
        (true, 0) => (-whole, 0),
        (true, _) => (-whole - 1, 1_000_000_000 - nanoseconds),
    };
    let nanoseconds = u32::try_from(nanoseconds).ok()?;
    Some(Time {
        seconds,
        nanoseconds,
    })
}
