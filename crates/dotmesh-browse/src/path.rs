//! Paths in a commit. Names can be any bytes, so they need an encoding for addresses and another for people.

use std::fmt;
use std::str::FromStr;

use dotmesh_model::branch_name::is_deceptive;
use dotmesh_store::EntryName;
use dotmesh_store::tree::MAX_DEPTH;
use serde::{Deserialize, Serialize};

use crate::TreeError;

/// A path in a commit: the names from the root down. The root has no names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TreePath(Vec<EntryName>);

impl TreePath {
    /// Parses names separated by slashes. No name may be empty, `.` or `..`.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, TreeError> {
        let names = bytes.split(|byte| *byte == b'/');
        Self::from_names(names.map(EntryName::new))
    }

    fn from_names<E>(names: impl Iterator<Item = Result<EntryName, E>>) -> Result<Self, TreeError> {
        let names: Vec<EntryName> = names
            .take(MAX_DEPTH + 1)
            .collect::<Result<_, E>>()
            .map_err(|_| TreeError::BadPath)?;
        if names.len() > MAX_DEPTH {
            return Err(TreeError::BadPath);
        }
        Ok(Self(names))
    }

    /// Returns the names, from the root down.
    pub fn names(&self) -> &[EntryName] {
        &self.0
    }

    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the last name. `None` for the root.
    pub fn last(&self) -> Option<&EntryName> {
        self.0.last()
    }

    /// Returns the folder that contains the path. `None` for the root.
    pub fn parent(&self) -> Option<Self> {
        let (_, above) = self.0.split_last()?;
        Some(Self(above.to_vec()))
    }

    /// Returns the path of a name in this folder.
    pub fn join(&self, name: &EntryName) -> Self {
        let mut names = Vec::with_capacity(self.0.len() + 1);
        names.extend_from_slice(&self.0);
        names.push(name.clone());
        Self(names)
    }

    /// Returns the path of each folder on the way, from the first one down, and the path itself.
    pub fn ancestors(&self) -> impl Iterator<Item = Self> {
        (1..=self.0.len()).map(|length| Self(self.0[..length].to_vec()))
    }

    /// Returns the path relative to a folder that contains it.
    pub fn below(&self, folder: &Self) -> Option<Self> {
        let names = self.0.strip_prefix(folder.0.as_slice())?;
        Some(Self(names.to_vec()))
    }

    /// Returns the bytes, with slashes between the names.
    pub fn to_bytes(&self) -> Vec<u8> {
        let names: Vec<&[u8]> = self.0.iter().map(EntryName::as_bytes).collect();
        names.join(&b'/')
    }

    /// Returns the path for an address. All bytes except unreserved characters are percent-encoded, so the text is also
    /// safe in HTML and in headers.
    pub fn address(&self) -> String {
        let names: Vec<String> = self.0.iter().map(address_of).collect();
        names.join("/")
    }
}

impl From<EntryName> for TreePath {
    fn from(name: EntryName) -> Self {
        Self(vec![name])
    }
}

/// Parses a path in an address, whose segments are percent-encoded bytes. No name contains an encoded slash.
impl FromStr for TreePath {
    type Err = TreeError;

    fn from_str(text: &str) -> Result<Self, TreeError> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        Self::from_names(text.split('/').map(|segment| {
            let bytes = decode(segment).ok_or(TreeError::BadPath)?;
            EntryName::new(&bytes).map_err(|_| TreeError::BadPath)
        }))
    }
}

impl TryFrom<String> for TreePath {
    type Error = TreeError;

    fn try_from(text: String) -> Result<Self, TreeError> {
        text.parse()
    }
}

impl From<TreePath> for String {
    fn from(path: TreePath) -> Self {
        path.address()
    }
}

/// The path for people.
impl fmt::Display for TreePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, name) in self.0.iter().enumerate() {
            let slash = if n == 0 { "" } else { "/" };
            write!(f, "{slash}{}", shown(name.as_bytes()))?;
        }
        Ok(())
    }
}

/// Returns a name for an address.
fn address_of(name: &EntryName) -> String {
    use fmt::Write as _;
    let mut text = String::new();
    for byte in name.as_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                text.push(char::from(*byte));
            }
            _ => {
                let _ = write!(text, "%{byte:02X}");
            }
        }
    }
    text
}

/// Decodes a percent-encoded segment of an address.
pub fn decode(segment: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        if *byte != b'%' {
            bytes.push(*byte);
            continue;
        }
        let (digits, after) = rest.split_at_checked(2)?;
        let digit = |at: usize| char::from(digits[at]).to_digit(16);
        bytes.push(u8::try_from(digit(0)? * 16 + digit(1)?).ok()?);
        rest = after;
    }
    Some(bytes)
}

/// Returns bytes as text for people. It escapes invisible characters, characters that change the writing direction, and
/// invalid UTF-8. None of these can make a name look like another one.
pub fn shown(bytes: &[u8]) -> String {
    use fmt::Write as _;
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '\n' => text.push_str("\\n"),
                '\t' => text.push_str("\\t"),
                character if is_deceptive(character) => {
                    let _ = write!(text, "\\u{{{:x}}}", u32::from(character));
                }
                character => text.push(character),
            }
        }
        for byte in chunk.invalid() {
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{TreePath, shown};

    #[test]
    fn addresses_of_paths() {
        for (bytes, address) in [
            (&b"a/b.txt"[..], "a/b.txt"),
            (b"with space/%2f", "with%20space/%252f"),
            (b"<script>\"'&?#", "%3Cscript%3E%22%27%26%3F%23"),
            (b"\xff\n", "%FF%0A"),
            ("\u{202e}x".as_bytes(), "%E2%80%AEx"),
        ] {
            let path = TreePath::from_bytes(bytes).expect("a path");
            assert_eq!(path.address(), address);
            let parsed: TreePath = address.parse().expect("a path");
            assert_eq!(parsed, path);
            assert_eq!(parsed.to_bytes(), bytes);
        }
    }

    #[test]
    fn what_is_no_path() {
        let deep = ["a"; 257].join("/");
        let long = "a".repeat(256);
        for text in [
            "/",
            "a/",
            "/a",
            "a//b",
            ".",
            "..",
            "a/../b",
            "%2e%2e",
            "a/%2E%2e/b",
            "%2e",
            "a%2fb",
            "%2F",
            "a%00b",
            "%",
            "a%2",
            "%zz",
            "%+1",
            &deep,
            &long,
        ] {
            assert!(text.parse::<TreePath>().is_err(), "{text}");
        }
        assert!("".parse::<TreePath>().expect("the root").is_root());
        assert!(TreePath::from_bytes(b"").is_err());
    }

    #[test]
    fn names_before_peoples_eyes() {
        assert_eq!(shown("größe <b> 🦀".as_bytes()), "größe <b> 🦀");
        assert_eq!(shown(b"a\nb\tc\x1b\x00"), "a\\nb\\tc\\u{1b}\\u{0}");
        assert_eq!(
            shown("gpj\u{202e}exe\u{200b}".as_bytes()),
            "gpj\\u{202e}exe\\u{200b}"
        );
        assert_eq!(shown(b"\xff\xfex"), "\\xff\\xfex");
    }
}
