//! The header with the identity of the dot that a request means, whatever its name is.

use std::fmt;
use std::str::FromStr;

use dotmesh_model::DotIdentity;

/// The name of the header, in requests and in the answer to a finished push.
pub const IDENTITY_HEADER: &str = "dotmesh-identity";

/// The dot that a request is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meant {
    /// The dot with this identity, and no other dot of that name.
    Known(DotIdentity),
    /// A dot that a push is about to create. The hub does not follow the former names of other dots.
    New,
}

/// A text that is no value of the header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a dot that is meant is named by its identity, or 'new'")]
pub struct InvalidMeant;

impl FromStr for Meant {
    type Err = InvalidMeant;

    fn from_str(text: &str) -> Result<Self, InvalidMeant> {
        match text {
            "new" => Ok(Self::New),
            text => text.parse().map(Self::Known).map_err(|_| InvalidMeant),
        }
    }
}

impl fmt::Display for Meant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Known(identity) => identity.fmt(f),
            Self::New => f.write_str("new"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_read_as_it_is_written() {
        let known = Meant::Known(DotIdentity::from_bytes([0xab; 16]));
        for meant in [known, Meant::New] {
            assert_eq!(meant.to_string().parse(), Ok(meant));
        }
        for bad in ["", "New", "ab", &"AB".repeat(16), &"ab".repeat(17)] {
            assert_eq!(bad.parse::<Meant>(), Err(InvalidMeant), "{bad}");
        }
    }
}
