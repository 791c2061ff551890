//! Storage quotas of namespaces: what administrators set, and what remains.

use std::fmt;
use std::str::FromStr;

use dotmesh_model::UserName;
use dotmesh_model::size::{NotASize, parse_size};

/// The quota that is set for a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quota {
    /// The hub's default.
    Default,
    /// No limit.
    Unlimited,
    /// A number of bytes.
    Bytes(u64),
}

impl Quota {
    /// Returns the limit in bytes. `None` if there is none.
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

/// How much of a namespace's quota is in use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Usage {
    /// The namespace's owner.
    pub owner: UserName,
    /// The size of its packs and texts, in bytes.
    pub used: u64,
    /// The limit in bytes, if there is one.
    pub limit: Option<u64>,
}

impl Usage {
    /// Returns how many more bytes the namespace may store.
    pub fn room(&self) -> u64 {
        self.limit
            .map_or(u64::MAX, |limit| limit.saturating_sub(self.used))
    }

    /// Returns whether the namespace stores more than its limit.
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
