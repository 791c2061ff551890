//! The digest of the data in a snapshot file of Redis or Valkey, `dump.rdb`.
//!
//! Two files with the same data differ: each has the time of its making, and a server stores keys in a random order. So the
//! digest is a sum over the keys, and it leaves out everything that is not data.

use std::io::{self, Read};

/// The longest string that is read. A damaged length must not make the daemon allocate all memory.
const LONGEST: u64 = 512 << 20;

/// A digest of keys and values, whatever their order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct DataDigest {
    entries: u64,
    sum: [u64; 4],
}

impl DataDigest {
    fn add(&mut self, entry: &[u8]) {
        self.entries += 1;
        let hash = blake3::hash(entry);
        for (sum, word) in self.sum.iter_mut().zip(hash.as_bytes().chunks_exact(8)) {
            let word = u64::from_le_bytes(word.try_into().expect("eight bytes"));
            *sum = sum.wrapping_add(word);
        }
    }

    fn write_to(&self, entry: &mut Vec<u8>) {
        entry.extend(self.entries.to_le_bytes());
        for word in self.sum {
            entry.extend(word.to_le_bytes());
        }
    }
}

/// Reads a file to its end. `None` if it is damaged, or has something that this code does not know.
pub(super) fn digest(file: impl Read) -> Option<DataDigest> {
    let mut reader = Reader {
        file,
        entry: Vec::new(),
    };
    reader.whole().ok().flatten()
}

/// The kinds of strings that are stored as a number, and how many bytes the number has.
const INTEGERS: [(u8, usize); 3] = [(0, 1), (1, 2), (2, 4)];

/// The kind of a compressed string.
const COMPRESSED: u8 = 3;

/// A length, or a kind of string that has none.
enum Length {
    Plain(u64),
    Special(u8),
}

struct Reader<R> {
    file: R,
    /// What is digested of the present key.
    entry: Vec<u8>,
}

impl<R: Read> Reader<R> {
    fn whole(&mut self) -> io::Result<Option<DataDigest>> {
        let magic = self.bytes(9)?;
        if !magic.starts_with(b"REDIS") && !magic.starts_with(b"VALKEY") {
            return Ok(None);
        }
        let mut digest = DataDigest::default();
        let mut database = 0;
        loop {
            self.entry.clear();
            let code = self.byte()?;
            match code {
                // Remarks, such as the time.
                0xFA => {
                    self.string()?;
                    self.string()?;
                    continue;
                }
                // The number of keys, of a database and of a slot.
                0xFB => {
                    self.length()?;
                    self.length()?;
                    continue;
                }
                0xF4 => {
                    for _ in 0..3 {
                        self.length()?;
                    }
                    continue;
                }
                0xFE => {
                    database = self.length()?;
                    continue;
                }
                0xFF => return Ok(Some(digest)),
                // The code of a function.
                0xF5 => self.keep_string()?,
                _ => {
                    self.entry.extend(database.to_le_bytes());
                    if !self.key(code)? {
                        return Ok(None);
                    }
                }
            }
            digest.add(&self.entry);
        }
    }

    /// A key with its expiry and value. Returns whether the type of the value is known.
    fn key(&mut self, mut code: u8) -> io::Result<bool> {
        loop {
            match code {
                0xFC => self.keep(8)?,
                0xFD => self.keep(4)?,
                // How recently and how often it was used.
                0xF8 => drop(self.length()?),
                0xF9 => drop(self.byte()?),
                _ => break,
            }
            code = self.byte()?;
        }
        self.entry.push(code);
        self.keep_string()?;
        self.value(code)
    }

    fn value(&mut self, kind: u8) -> io::Result<bool> {
        match kind {
            // A string, and small collections, which are stored as one.
            0 | 9..=13 | 16 | 17 | 20 => self.keep_string()?,
            // Lists, whose order counts.
            1 | 14 => {
                for _ in 0..self.keep_length()? {
                    self.keep_string()?;
                }
            }
            18 => {
                for _ in 0..self.keep_length()? {
                    self.keep_length()?;
                    self.keep_string()?;
                }
            }
            2 => self.collection(Self::keep_string)?,
            3 => self.collection(|reader| {
                reader.keep_string()?;
                let length = reader.byte()?;
                reader.entry.push(length);
                // The longest lengths stand for infinity and the like.
                reader.keep(if length > 252 { 0 } else { length.into() })
            })?,
            4 => self.collection(|reader| {
                reader.keep_string()?;
                reader.keep_string()
            })?,
            5 => self.collection(|reader| {
                reader.keep_string()?;
                reader.keep(8)
            })?,
            7 => return self.module(),
            15 | 19 | 21 => self.stream(kind)?,
            // Hashes whose fields expire.
            24 => {
                self.keep(8)?;
                self.collection(|reader| {
                    reader.keep_length()?;
                    reader.keep_string()?;
                    reader.keep_string()
                })?;
            }
            25 => {
                self.keep(8)?;
                self.keep_string()?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// A collection in any order.
    fn collection(
        &mut self,
        mut element: impl FnMut(&mut Self) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut elements = DataDigest::default();
        let mut whole = std::mem::take(&mut self.entry);
        for _ in 0..self.length()? {
            element(self)?;
            elements.add(&self.entry);
            self.entry.clear();
        }
        elements.write_to(&mut whole);
        self.entry = whole;
        Ok(())
    }

    /// A value of a module: parts, each with its type.
    fn module(&mut self) -> io::Result<bool> {
        self.keep_length()?;
        loop {
            match self.keep_length()? {
                0 => return Ok(true),
                1 | 2 => drop(self.keep_length()?),
                3 => self.keep(4)?,
                4 => self.keep(8)?,
                5 => self.keep_string()?,
                _ => return Ok(false),
            }
        }
    }

    fn stream(&mut self, kind: u8) -> io::Result<()> {
        let is_newer = kind >= 19;
        for _ in 0..self.keep_length()? {
            self.keep_string()?;
            self.keep_string()?;
        }
        // Its length, and its last id. Then the first id, the largest deleted one, and how many were ever added.
        for _ in 0..if is_newer { 8 } else { 3 } {
            self.keep_length()?;
        }
        for _ in 0..self.keep_length()? {
            self.keep_string()?;
            for _ in 0..if is_newer { 3 } else { 2 } {
                self.keep_length()?;
            }
            for _ in 0..self.keep_length()? {
                self.keep(16 + 8)?;
                self.keep_length()?;
            }
            for _ in 0..self.keep_length()? {
                self.keep_string()?;
                self.keep(if kind == 21 { 16 } else { 8 })?;
                for _ in 0..self.keep_length()? {
                    self.keep(16)?;
                }
            }
        }
        Ok(())
    }

    fn byte(&mut self) -> io::Result<u8> {
        let mut byte = [0];
        self.file.read_exact(&mut byte)?;
        Ok(byte[0])
    }

    fn bytes(&mut self, count: u64) -> io::Result<Vec<u8>> {
        if count > LONGEST {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut bytes = Vec::new();
        let read = (&mut self.file).take(count).read_to_end(&mut bytes)?;
        match read as u64 == count {
            true => Ok(bytes),
            false => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    fn keep(&mut self, count: u64) -> io::Result<()> {
        let bytes = self.bytes(count)?;
        self.entry.extend(bytes);
        Ok(())
    }

    fn any_length(&mut self) -> io::Result<Length> {
        let first = self.byte()?;
        let low = first & 0x3F;
        Ok(match first >> 6 {
            0 => Length::Plain(low.into()),
            1 => Length::Plain(u64::from(low) << 8 | u64::from(self.byte()?)),
            2 if first == 0x80 => Length::Plain(self.big_endian(4)?),
            2 if first == 0x81 => Length::Plain(self.big_endian(8)?),
            3 => Length::Special(low),
            _ => return Err(io::ErrorKind::InvalidData.into()),
        })
    }

    fn big_endian(&mut self, count: u64) -> io::Result<u64> {
        let bytes = self.bytes(count)?;
        Ok(bytes
            .iter()
            .fold(0, |all, byte| all << 8 | u64::from(*byte)))
    }

    fn length(&mut self) -> io::Result<u64> {
        match self.any_length()? {
            Length::Plain(length) => Ok(length),
            Length::Special(_) => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    fn keep_length(&mut self) -> io::Result<u64> {
        let length = self.length()?;
        self.entry.extend(length.to_le_bytes());
        Ok(length)
    }

    /// A string as it was before it was packed. The same string can be packed in several ways.
    fn string(&mut self) -> io::Result<Vec<u8>> {
        match self.any_length()? {
            Length::Plain(length) => self.bytes(length),
            Length::Special(COMPRESSED) => {
                let (packed, length) = (self.length()?, self.length()?);
                let packed = self.bytes(packed)?;
                unpack(&packed, length).ok_or_else(|| io::ErrorKind::InvalidData.into())
            }
            Length::Special(kind) => {
                let width = INTEGERS.iter().find(|(integer, _)| *integer == kind);
                let (_, width) = width.ok_or(io::ErrorKind::InvalidData)?;
                let mut number = [0; 8];
                number[..*width].copy_from_slice(&self.bytes(*width as u64)?);
                let unused = 64 - 8 * *width as u32;
                let number = i64::from_le_bytes(number) << unused >> unused;
                Ok(number.to_string().into_bytes())
            }
        }
    }

    fn keep_string(&mut self) -> io::Result<()> {
        let string = self.string()?;
        self.entry.extend((string.len() as u64).to_le_bytes());
        self.entry.extend(string);
        Ok(())
    }
}

/// Unpacks LZF, the format in which Redis compresses strings.
fn unpack(packed: &[u8], length: u64) -> Option<Vec<u8>> {
    if length > LONGEST {
        return None;
    }
    let mut whole = Vec::new();
    let mut rest = packed.iter().copied();
    while let Some(first) = rest.next() {
        if first < 32 {
            for _ in 0..=first {
                whole.push(rest.next()?);
            }
        } else {
            let mut count = usize::from(first >> 5);
            if count == 7 {
                count += usize::from(rest.next()?);
            }
            let back = (usize::from(first & 0x1F) << 8) + usize::from(rest.next()?) + 1;
            let from = whole.len().checked_sub(back)?;
            // The copy may go on into what it has just written.
            for at in from..from + count + 2 {
                whole.push(whole[at]);
            }
        }
        if whole.len() as u64 > length {
            return None;
        }
    }
    (whole.len() as u64 == length).then_some(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file with the keys `name` → value, and a remark.
    fn file(remark: &str, keys: &[(&str, &[u8])]) -> Vec<u8> {
        let string = |text: &str| [&[text.len() as u8][..], text.as_bytes()].concat();
        let mut file = b"REDIS0011\xFA".to_vec();
        file.extend(string("ctime"));
        file.extend(string(remark));
        file.extend(b"\xFE\x00\xFB\x03\x00");
        for (name, value) in keys {
            file.push(0);
            file.extend(string(name));
            file.extend(*value);
        }
        file.extend(b"\xFF12345678");
        file
    }

    #[test]
    fn order_time_and_packing_do_not_count_and_data_does() {
        let of = |file: &[u8]| digest(file).expect("a digest");
        let one = of(&file("1", &[("a", b"\x03one"), ("b", b"\xC0\x05")]));
        assert_eq!(one, of(&file("2", &[("b", b"\x015"), ("a", b"\x03one")])));
        assert_ne!(one, of(&file("1", &[("a", b"\x03one"), ("b", b"\x016")])));
        assert_ne!(one, of(&file("1", &[("a", b"\x03one")])));
        assert_ne!(one, of(&file("1", &[("b", b"\x03one"), ("a", b"\x015")])));
        // Sixty times `x`, compressed: one literal, and a copy of 59.
        let packed = b"\xC3\x05\x3C\x00x\xE0\x32\x00";
        let plain = [&[60][..], &[b'x'; 60]].concat();
        let packed = of(&file("1", &[("a", packed)]));
        assert_eq!(packed, of(&file("1", &[("a", &plain)])));
        assert_eq!(of(b"REDIS0011\xFF"), DataDigest::default());
    }

    #[test]
    fn what_is_damaged_or_unknown_has_no_digest() {
        let whole = file("1", &[("a", b"\x03one")]);
        for end in 0..whole.len() - 8 {
            assert_eq!(digest(&whole[..end]), None, "{end}");
        }
        assert_eq!(digest(&b"REDIS0099\xC8\x01a"[..]), None);
        assert_eq!(digest(&b"SQLite format 3\0"[..]), None);
        // A length of four gigabytes allocates nothing.
        assert_eq!(digest(&b"REDIS0011\x00\x01a\x80\xFF\xFF\xFF\xFF"[..]), None);
    }
}
