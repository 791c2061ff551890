//! How much a namespace may store: what administrators set, and what follows from it.

use std::fmt;
use std::str::FromStr;

use dotmesh_model::UserName;

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

/// A text that is no size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("write a size such as 500MB, 2GB or 1GiB")]
pub struct NotASize;

/// Reads `2GB`, `2 G`, `1.5TB` or `2000000000`: powers of 1000; `1GiB`: of 1024.
pub fn parse_size(text: &str) -> Result<u64, NotASize> {
    const UNITS: [&str; 6] = ["", "K", "M", "G", "T", "P"];
    let text = text.trim();
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let unit = unit.trim().to_ascii_uppercase();
    let unit = unit.strip_suffix('B').unwrap_or(&unit);
    let (unit, base) = match unit.strip_suffix('I') {
        Some(unit) if !unit.is_empty() => (unit, 1024_u128),
        _ => (unit, 1000),
    };
    let power = UNITS.iter().position(|other| *other == unit);
    let power = u32::try_from(power.ok_or(NotASize)?).map_err(|_| NotASize)?;
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    if part.len() > 9 || part.contains('.') {
        return Err(NotASize);
    }
    let digits: u128 = format!("{whole}{part}").parse().map_err(|_| NotASize)?;
    let parts = 10_u128.pow(u32::try_from(part.len()).map_err(|_| NotASize)?);
    let bytes = digits.checked_mul(base.pow(power)).ok_or(NotASize)? / parts;
    // More than a database's numbers hold is no size.
    i64::try_from(bytes)
        .ok()
        .and_then(|bytes| u64::try_from(bytes).ok())
        .ok_or(NotASize)
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
    use super::{NotASize, Quota, parse_size};

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("0", 0),
            ("17", 17),
            ("2000000000", 2_000_000_000),
            ("500MB", 500_000_000),
            ("500 mb", 500_000_000),
            ("2G", 2_000_000_000),
            ("1.5kB", 1500),
            ("0.5 TB", 500_000_000_000),
            ("1KiB", 1024),
            ("1GiB", 1 << 30),
            ("3B", 3),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for bad in [
            "",
            "GB",
            ".",
            "-1",
            "1.2.3",
            "1XB",
            "1i",
            "1 G B",
            "99999999PB",
            "0.0000000001GB",
            "two",
        ] {
            assert_eq!(parse_size(bad), Err(NotASize), "{bad}");
        }
    }

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
