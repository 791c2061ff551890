//! Reads and writes the little-endian fields of tree pages, file pages, roots and packs.

use dotmesh_model::ObjectHash;

use crate::error::InvalidObject;

/// The version byte at the start of every tree page, file page and root.
pub(crate) const PAGE_VERSION: u8 = 1;

/// Reads fields from the front of untrusted bytes.
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(crate) fn len(&self) -> usize {
        self.rest.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(crate) fn take(&mut self, length: usize) -> Result<&'a [u8], InvalidObject> {
        let (taken, rest) = self
            .rest
            .split_at_checked(length)
            .ok_or(InvalidObject::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], InvalidObject> {
        let (taken, rest) = self
            .rest
            .split_first_chunk()
            .ok_or(InvalidObject::Truncated)?;
        self.rest = rest;
        Ok(*taken)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, InvalidObject> {
        self.array().map(u8::from_le_bytes)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, InvalidObject> {
        self.array().map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, InvalidObject> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, InvalidObject> {
        self.array().map(u64::from_le_bytes)
    }

    pub(crate) fn i32(&mut self) -> Result<i32, InvalidObject> {
        self.array().map(i32::from_le_bytes)
    }

    pub(crate) fn i64(&mut self) -> Result<i64, InvalidObject> {
        self.array().map(i64::from_le_bytes)
    }

    pub(crate) fn hash(&mut self) -> Result<ObjectHash, InvalidObject> {
        self.array().map(ObjectHash::from_bytes)
    }

    pub(crate) fn version(&mut self) -> Result<(), InvalidObject> {
        match self.u8()? {
            PAGE_VERSION => Ok(()),
            version => Err(InvalidObject::UnknownVersion { version }),
        }
    }

    pub(crate) fn finish(self) -> Result<(), InvalidObject> {
        if self.is_empty() {
            Ok(())
        } else {
            Err(InvalidObject::TrailingBytes)
        }
    }
}
