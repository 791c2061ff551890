//! Passwords that are guessed first: those that many people have, and those that follow from who has it where.

use std::collections::HashSet;
use std::sync::LazyLock;

/// The most common ones, in lower case.
static COMMON: LazyLock<HashSet<&str>> = LazyLock::new(|| {
    let lines = include_str!("common_passwords.txt").lines();
    lines.filter(|line| !line.starts_with('#')).collect()
});

/// Whether many people have it, or would: `12345678`, `aaaaaaaa`.
pub(super) fn is_common(password: &str) -> bool {
    let folded = password.to_lowercase();
    let steps: HashSet<i64> = folded
        .chars()
        .zip(folded.chars().skip(1))
        .map(|(one, next)| i64::from(u32::from(next)) - i64::from(u32::from(one)))
        .collect();
    let is_row = steps.len() == 1 && steps.iter().all(|step| (-1..=1).contains(step));
    is_row || COMMON.contains(folded.as_str())
}

/// Whether it is no more than one of these names, with digits or signs around it, or repeated: `Alice2026!`.
pub(super) fn is_named(password: &str, names: &[&str]) -> bool {
    let folded = password.to_lowercase();
    let is_word = |c: char| c.is_alphabetic();
    let letters = |text: &str| text.chars().filter(|c| is_word(*c)).collect::<String>();
    let word = letters(&folded);
    names.iter().any(|name| {
        let name = name.to_lowercase();
        let plain = letters(&name);
        folded.contains(&name) && word.replace(&plain, "").is_empty() && !plain.is_empty()
            || folded == name
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn common_ones() {
        for common in [
            "password",
            "PassWord1",
            "qwertyuiop",
            "aaaaaaaa",
            "87654321",
            "abcdefghij",
        ] {
            assert!(is_common(common), "{common}");
        }
        for good in ["correct horse", "aaaaaaab", "aababababa", "13579135"] {
            assert!(!is_common(good), "{good}");
        }
        // The list is of passwords that could be taken.
        assert!(COMMON.len() >= 3000 && COMMON.iter().all(|common| common.len() >= 8));
        assert!(COMMON.iter().all(|common| *common == common.to_lowercase()));
    }

    #[test]
    fn names() {
        let names = ["alice", "user-17", "12345", "dothub", "hub.example.com"];
        for named in [
            "alice123",
            "Alice2026!",
            "AliceAlice",
            "1alice2alice3",
            "user-1717",
            "DotHub!!",
            "hub.example.com1",
        ] {
            assert!(is_named(named, &names), "{named}");
        }
        for good in [
            "alice likes bob",
            "malice123",
            "userlike",
            "1234567a",
            "example.org",
        ] {
            assert!(!is_named(good, &names), "{good}");
        }
    }
}
