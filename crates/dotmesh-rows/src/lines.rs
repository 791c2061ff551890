//! Reads rows that a client prints as lines of fields with tabs between them. Memory is bounded, whatever the fields have.

use std::io::{BufRead, BufReader, Read};

use crate::adapter::{Row, Rows};
use crate::error::RowsError;
use crate::model::Cell;

/// The most fields that a line may have. Databases allow 1,600 to 4,096 columns, and a comparison adds keys.
const MOST_FIELDS: usize = 10_000;

/// A field of a line, without its escapes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Field {
    /// The first bytes.
    pub(crate) head: Vec<u8>,
    /// The number of all bytes.
    pub(crate) length: u64,
    /// The hash of all bytes, if they are more than the first ones.
    hash: Option<String>,
    /// Whether it was written as `\N`.
    pub(crate) is_null: bool,
}

impl Field {
    /// The value as text, or as bytes.
    pub(crate) fn value(self) -> Cell {
        match self.hash {
            _ if self.is_null => Cell::Null,
            None => Cell::of_bytes(self.head),
            Some(hash) => Cell::Long {
                begins: String::from_utf8_lossy(&self.head).into_owned(),
                bytes: self.length,
                hash,
            },
        }
    }

    /// The value as an integer if it is one.
    pub(crate) fn integer(self) -> Cell {
        let number = std::str::from_utf8(&self.head).ok();
        match number.and_then(|text| text.parse().ok()) {
            Some(number) if self.hash.is_none() => Cell::Integer(number),
            _ => self.value(),
        }
    }

    /// The text, for names.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.head).into_owned()
    }

    /// Removes the first byte, which says of what type the rest is.
    pub(crate) fn take_mark(&mut self) -> Option<u8> {
        let mark = *self.head.first()?;
        self.head.remove(0);
        self.length -= 1;
        Some(mark)
    }
}

/// Lines of fields.
pub(crate) struct Lines<R> {
    reader: BufReader<R>,
    longest: usize,
}

/// A field that is being read.
#[derive(Default)]
struct Begun {
    head: Vec<u8>,
    rest: Vec<u8>,
    length: u64,
    hasher: Option<blake3::Hasher>,
    raw: usize,
    is_null: bool,
}

impl Begun {
    fn push(&mut self, byte: u8, longest: usize) {
        self.length += 1;
        if self.head.len() < longest {
            self.head.push(byte);
            return;
        }
        if self.hasher.is_none() {
            let mut hasher = blake3::Hasher::new();
            hasher.update(&self.head);
            self.hasher = Some(hasher);
        }
        self.rest.push(byte);
        if self.rest.len() == 16 << 10 {
            self.flush();
        }
    }

    fn flush(&mut self) {
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&self.rest);
            self.rest.clear();
        }
    }

    fn finish(&mut self) -> Field {
        self.flush();
        let begun = std::mem::take(self);
        Field {
            is_null: begun.is_null && begun.raw == 2,
            hash: begun
                .hasher
                .map(|hasher| hasher.finalize().to_hex().as_str()[..32].to_owned()),
            head: begun.head,
            length: begun.length,
        }
    }
}

impl<R: Read> Lines<R> {
    /// The rows that the lines are. `values` makes the values of a row from its fields. The first `keys` of them are its key.
    pub(crate) fn rows<'a>(
        mut self,
        keys: usize,
        mut values: impl FnMut(Vec<Field>) -> Result<Vec<Cell>, RowsError> + Send + 'a,
    ) -> Rows<'a>
    where
        R: Send + 'a,
    {
        Box::new(std::iter::from_fn(move || {
            let fields = self.next_line().transpose()?;
            Some(fields.and_then(&mut values).map(|mut key| Row {
                values: key.split_off(keys.min(key.len())),
                key,
                group: None,
            }))
        }))
    }

    /// Reads lines. Of a field that has more than `longest` bytes, the beginning and a hash are kept.
    pub(crate) fn new(reader: R, longest: usize) -> Self {
        Self {
            reader: BufReader::with_capacity(128 << 10, reader),
            longest,
        }
    }

    /// The next line.
    pub(crate) fn next_line(&mut self) -> Result<Option<Vec<Field>>, RowsError> {
        let mut fields = Vec::new();
        let mut begun = Begun::default();
        let mut is_escaped = false;
        let mut is_empty = true;
        loop {
            let bytes = self.reader.fill_buf()?;
            if bytes.is_empty() {
                if is_empty {
                    return Ok(None);
                }
                fields.push(begun.finish());
                return Ok(Some(fields));
            }
            is_empty = false;
            let mut used = 0;
            let mut is_whole = false;
            for &byte in bytes {
                used += 1;
                if is_escaped {
                    is_escaped = false;
                    begun.raw += 1;
                    let plain = match byte {
                        b'N' => {
                            begun.is_null = true;
                            continue;
                        }
                        b'b' => 8,
                        b'f' => 12,
                        b'n' => b'\n',
                        b'r' => b'\r',
                        b't' => b'\t',
                        b'v' => 11,
                        b'0' => 0,
                        other => other,
                    };
                    begun.push(plain, self.longest);
                    continue;
                }
                match byte {
                    b'\\' => {
                        is_escaped = true;
                        begun.raw += 1;
                    }
                    b'\t' => {
                        fields.push(begun.finish());
                        if fields.len() > MOST_FIELDS {
                            return Err(RowsError::Failed {
                                message: format!("a row has more than {MOST_FIELDS} columns"),
                            });
                        }
                    }
                    b'\n' => {
                        fields.push(begun.finish());
                        is_whole = true;
                        break;
                    }
                    byte => {
                        begun.raw += 1;
                        begun.push(byte, self.longest);
                    }
                }
            }
            self.reader.consume(used);
            if is_whole {
                return Ok(Some(fields));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(text: &[u8], longest: usize) -> Vec<Vec<Cell>> {
        let mut lines = Lines::new(text, longest);
        let mut all = Vec::new();
        while let Some(fields) = lines.next_line().expect("lines") {
            all.push(fields.into_iter().map(Field::value).collect());
        }
        all
    }

    fn text(text: &str) -> Cell {
        Cell::Text(text.to_owned())
    }

    #[test]
    fn escapes_nulls_and_empty_fields_are_told_apart() {
        let found = values(b"a\\tb\t\\N\t\t\\\\N\nx", 100);
        assert_eq!(
            found,
            [
                vec![text("a\tb"), Cell::Null, text(""), text("\\N")],
                vec![text("x")]
            ]
        );
        assert_eq!(values(b"", 100), Vec::<Vec<Cell>>::new());
        assert_eq!(values(b"\n", 100), [vec![text("")]]);
    }

    #[test]
    fn long_fields_differ_by_their_hash() {
        let found = values(b"aaaaab\naaaaac\naaaaab\naaa\n", 3);
        assert_eq!(found[0], found[2]);
        assert_ne!(found[0], found[1]);
        assert_eq!(found[3], [text("aaa")]);
        assert!(matches!(&found[0][0], Cell::Long { begins, bytes: 6, .. } if begins == "aaa"));
    }
}
