//! Files with holes: the parts that have data.

use std::io::Read;

use crate::error::ArchiveError;
use crate::header::BLOCK;
use crate::records::decimal;

/// The most parts of a file in an archive that somebody else made.
const MAX_PARTS: u64 = 4 << 20;

/// A part of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) at: u64,
    pub(crate) length: u64,
}

/// The list of parts before the data, in GNU's format 1.0. Its length is a multiple of the block size.
pub(crate) fn list(parts: &[Part]) -> Vec<u8> {
    let mut text = format!("{}\n", parts.len());
    for part in parts {
        text.push_str(&format!("{}\n{}\n", part.at, part.length));
    }
    let mut bytes = text.into_bytes();
    bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
    bytes
}

/// Reads such a list. Returns the parts, and how many bytes were read.
pub(crate) fn read_list(input: &mut impl Read) -> Result<(Vec<Part>, u64), ArchiveError> {
    let mut numbers = Numbers {
        input,
        block: [0; BLOCK],
        at: BLOCK,
        taken: 0,
    };
    let count = numbers.next()?;
    if count > MAX_PARTS {
        return Err(ArchiveError::malformed("a file has too many holes"));
    }
    let mut parts = Vec::new();
    for _ in 0..count {
        let (at, length) = (numbers.next()?, numbers.next()?);
        parts.push(Part { at, length });
    }
    Ok((parts, numbers.taken))
}

/// Fails unless the parts are in order, inside the file, and exactly what is stored.
pub(crate) fn check(parts: &[Part], size: u64, stored: u64) -> Result<(), ArchiveError> {
    let (mut end, mut sum) = (0u64, 0u64);
    for part in parts {
        let after = part.at.checked_add(part.length);
        let fits = after.filter(|after| part.at >= end && *after <= size);
        end = fits.ok_or_else(|| ArchiveError::malformed("the list of a file's holes is wrong"))?;
        sum += part.length;
    }
    match sum == stored {
        true => Ok(()),
        false => Err(ArchiveError::malformed(
            "the list of a file's holes does not fit its data",
        )),
    }
}

struct Numbers<'a, R> {
    input: &'a mut R,
    block: [u8; BLOCK],
    at: usize,
    taken: u64,
}

impl<R: Read> Numbers<'_, R> {
    fn next(&mut self) -> Result<u64, ArchiveError> {
        let mut digits = Vec::new();
        loop {
            if self.at == BLOCK {
                crate::reader::read_exactly(self.input, &mut self.block)?;
                (self.at, self.taken) = (0, self.taken + BLOCK as u64);
            }
            let byte = self.block[self.at];
            self.at += 1;
            if byte == b'\n' {
                break;
            }
            digits.push(byte);
            if digits.len() > 20 {
                break;
            }
        }
        decimal(&digits)
            .ok_or_else(|| ArchiveError::malformed("the list of a file's holes is damaged"))
    }
}
