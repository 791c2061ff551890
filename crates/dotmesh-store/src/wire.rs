//! Reads and writes the little-endian fields of tree pages, file pages, roots and packs.

use dotmesh_model::ObjectHash;

use crate::error::InvalidNode;

/// The version byte at the start of every tree page, file page and root.
pub(crate) const NODE_VERSION: u8 = 1;

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

    pub(crate) fn take(&mut self, length: usize) -> Result<&'a [u8], InvalidNode> {
        let (taken, rest) = self
            .rest
            .split_at_checked(length)
            .ok_or(InvalidNode::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], InvalidNode> {
        let (taken, rest) = self
            .rest
            .split_first_chunk()
            .ok_or(InvalidNode::Truncated)?;
        self.rest = rest;
        Ok(*taken)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, InvalidNode> {
        self.array().map(u8::from_le_bytes)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, InvalidNode> {
        self.array().map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, InvalidNode> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, InvalidNode> {
        self.array().map(u64::from_le_bytes)
    }

    pub(crate) fn i32(&mut self) -> Result<i32, InvalidNode> {
        self.array().map(i32::from_le_bytes)
    }

    pub(crate) fn i64(&mut self) -> Result<i64, InvalidNode> {
        self.array().map(i64::from_le_bytes)
    }

    pub(crate) fn hash(&mut self) -> Result<ObjectHash, InvalidNode> {
        self.array().map(ObjectHash::from_bytes)
    }

    pub(crate) fn version(&mut self) -> Result<(), InvalidNode> {
        match self.u8()? {
            NODE_VERSION => Ok(()),
            version => Err(InvalidNode::UnknownVersion { version }),
        }
    }

    pub(crate) fn finish(self) -> Result<(), InvalidNode> {
        if self.is_empty() {
            Ok(())
        } else {
            Err(InvalidNode::TrailingBytes)
        }
    }
}
