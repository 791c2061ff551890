//! Pax records of the form `LENGTH NAME=VALUE\n`.

use crate::error::ArchiveError;

/// Records to write.
#[derive(Default)]
pub(crate) struct Records {
    bytes: Vec<u8>,
}

impl Records {
    pub(crate) fn add(&mut self, name: &[u8], value: &[u8]) {
        // Three bytes for the space, the `=` and the newline. The length includes its own digits.
        let rest = name.len() + value.len() + 3;
        let mut length = rest;
        while rest + length.to_string().len() != length {
            length = rest + length.to_string().len();
        }
        self.bytes.extend_from_slice(length.to_string().as_bytes());
        for part in [b" ", name, b"=", value, b"\n"] {
            self.bytes.extend_from_slice(part);
        }
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

/// A name and its value.
pub(crate) type Record<'a> = (&'a [u8], &'a [u8]);

/// Reads records.
pub(crate) fn parse(mut bytes: &[u8]) -> Result<Vec<Record<'_>>, ArchiveError> {
    let bad = || ArchiveError::malformed("a pax record is damaged");
    let mut records = Vec::new();
    // Some programs fill the block up with zeros.
    while bytes.first().is_some_and(|byte| *byte != 0) {
        let space = bytes
            .iter()
            .position(|byte| *byte == b' ')
            .ok_or_else(bad)?;
        let length = decimal(&bytes[..space]).and_then(|length| usize::try_from(length).ok());
        let length = length.filter(|length| *length > space + 1 && *length <= bytes.len());
        let (record, rest) = bytes.split_at(length.ok_or_else(bad)?);
        let record = record[space + 1..].strip_suffix(b"\n").ok_or_else(bad)?;
        let equals = record
            .iter()
            .position(|byte| *byte == b'=')
            .ok_or_else(bad)?;
        records.push((&record[..equals], &record[equals + 1..]));
        bytes = rest;
    }
    Ok(records)
}

/// A number in decimal digits.
pub(crate) fn decimal(digits: &[u8]) -> Option<u64> {
    let is_number = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(digits)
        .ok()
        .filter(|_| is_number)?
        .parse()
        .ok()
}
