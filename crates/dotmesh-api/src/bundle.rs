//! A bundle: a pack of objects and a JSON text in one body, so that a small transfer takes one request.
//!
//! It begins with the pack's length, so that a sender can write the JSON text while it makes it.

use bytes::Bytes;
use serde::Serialize;

/// The largest bundle that a client sends, and the largest pack in a bundle from a hub, in bytes.
pub const MAX_BUNDLE_LENGTH: usize = 1 << 20;

/// The bytes of the field before the pack.
const LENGTH: usize = size_of::<u32>();

/// The parts of a bundle, neither of them verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bundle {
    /// The pack.
    pub pack: Bytes,
    /// The JSON text.
    pub json: Bytes,
}

impl Bundle {
    /// A bundle of a pack and what there is to say about it.
    pub fn new(pack: Bytes, message: &impl Serialize) -> serde_json::Result<Self> {
        let json = serde_json::to_vec(message)?.into();
        Ok(Self { pack, json })
    }

    /// Splits a bundle. Returns `None` if it is shorter than its pack.
    pub fn decode(bytes: &Bytes) -> Option<Self> {
        let length = u32::from_le_bytes(*bytes.first_chunk::<LENGTH>()?);
        let end = LENGTH.checked_add(usize::try_from(length).ok()?)?;
        (end <= bytes.len()).then(|| Self {
            pack: bytes.slice(LENGTH..end),
            json: bytes.slice(end..),
        })
    }

    /// The bytes of the bundle.
    pub fn encode(&self) -> Bytes {
        [&*begin(&self.pack), &self.json].concat().into()
    }
}

/// The bytes before the JSON text.
///
/// # Panics
///
/// If the pack has 4 GiB or more. No pack has.
pub fn begin(pack: &[u8]) -> Bytes {
    let length = u32::try_from(pack.len()).expect("a pack is far shorter than 4 GiB");
    [&length.to_le_bytes(), pack].concat().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bundle_is_split_where_it_was_joined_and_nowhere_else() {
        for (pack, json) in [
            (&b"dotpack\x01..."[..], &b"{}"[..]),
            (b"", b""),
            (b"", b"{}"),
        ] {
            let bundle = Bundle {
                pack: pack.into(),
                json: json.into(),
            };
            let bytes = bundle.encode();
            assert_eq!(bytes.len(), 4 + pack.len() + json.len());
            assert_eq!(Bundle::decode(&bytes), Some(bundle));
        }
        for bytes in [&b""[..], b"\0\0\0", b"\x01\0\0\0", b"\xff\xff\xff\xff1234"] {
            assert_eq!(Bundle::decode(&bytes.into()), None, "{bytes:?}");
        }
    }
}
