//! How much a namespace may store: what administrators set, and what follows from it.

use std::fmt;
use std::str::FromStr;

use dotmesh_model::UserName;
use dotmesh_model::size::{NotASize, parse_size};

/// What is set for a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quota {
    /// The hub's default.
    Default,
    /// As much as they like.
    Unlimited,
    /// So many bytes.
    Bytes(u64),
}

impl Quota {
    /// How many bytes that is, where there is a limit.
    pub fn limit(self, default: Option<u64>) -> Option<u64> {
        match self {
            Self::Default => default,
            Self::Unlimited => None,
            Self::Bytes(bytes) => Some(bytes),
        }
    }
}

impl fmt::Display for Quota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Unlimited => f.write_str("none"),
            Self::Bytes(bytes) => write!(f, "{bytes}"),
        }
    }
}

impl FromStr for Quota {
    type Err = NotASize;

    fn from_str(text: &str) -> Result<Self, NotASize> {
        match text.trim() {
            "default" => Ok(Self::Default),
            "none" => Ok(Self::Unlimited),
            size => parse_size(size).map(Self::Bytes),
        }
    }
}

/// How much of it is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Usage {
    /// Whose namespace.
    pub owner: UserName,
    /// Bytes of its packs and texts.
    pub used: u64,
    /// How many it may have, where there is a limit.
    pub limit: Option<u64>,
}

impl Usage {
    /// How many bytes more it may have.
    pub fn room(&self) -> u64 {
        self.limit
            .map_or(u64::MAX, |limit| limit.saturating_sub(self.used))
    }

    /// Whether it has more than it may.
    pub fn is_exceeded(&self) -> bool {
        self.limit.is_some_and(|limit| self.used > limit)
    }
}

#[cfg(test)]
mod tests {
    use dotmesh_model::size::NotASize;

    use super::Quota;

    #[test]
    fn quotas() {
        for (text, limit) in [("default", Some(7)), ("none", None), ("1kB", Some(1000))] {
            let quota: Quota = text.parse().expect(text);
            assert_eq!(quota.limit(Some(7)), limit);
            assert_eq!(quota.to_string().parse(), Ok(quota));
        }
        assert_eq!("".parse::<Quota>(), Err(NotASize));
    }
}
