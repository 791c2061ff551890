//! Formats of times, sizes and texts.

use std::borrow::Cow;

use dotmesh_model::message;
use jiff::Timestamp;

use crate::access::Forks;

/// Returns who may fork a private dot.
pub fn forks(forks: &Forks) -> &'static str {
    match forks {
        Forks::AnyoneWhoReads => "everyone who may read it",
        Forks::Writers => "everyone who may push to it",
        Forks::Nobody => "only its owner",
    }
}

/// `3 hours ago`, in the largest unit that fits.
pub fn ago(time: Timestamp, now: Timestamp) -> String {
    const UNITS: [(i64, &str); 6] = [
        (365 * 24 * 3600, "year"),
        (30 * 24 * 3600, "month"),
        (24 * 3600, "day"),
        (3600, "hour"),
        (60, "minute"),
        (1, "second"),
    ];
    let seconds = now.as_second() - time.as_second();
    if seconds < 0 {
        return time.strftime("%Y-%m-%d").to_string();
    }
    for (unit, name) in UNITS {
        let count = seconds / unit;
        if count > 0 {
            let plural = if count == 1 { "" } else { "s" };
            return format!("{count} {name}{plural} ago");
        }
    }
    "just now".to_owned()
}

/// `2026-01-31 12:00 UTC`.
pub fn date(time: &Timestamp) -> String {
    time.strftime("%Y-%m-%d %H:%M UTC").to_string()
}

/// The format of `datetime` attributes.
pub fn iso(time: &Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// `1 commit`, `2 commits`.
pub fn count(number: u64, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}

/// Returns a message's title and the rest.
pub fn split_message(message: &str) -> (Cow<'_, str>, &str) {
    match message::split(message) {
        (title, _) if title.is_empty() => ("(no message)".into(), ""),
        split => split,
    }
}

/// The longest title, in characters.
pub const MAX_TITLE: usize = 200;

/// The longest text below a title in a list, in characters.
pub const MAX_SUMMARY: usize = 500;

/// The longest text of a commit that its page shows, in characters.
pub const MAX_TEXT: usize = 64 << 10;

/// Cuts a text to a number of characters. A text that is cut ends with `…`.
pub fn cut(text: &str, characters: usize) -> Cow<'_, str> {
    match text.char_indices().nth(characters) {
        None => text.into(),
        Some((end, _)) => format!("{}…", text[..end].trim_end()).into(),
    }
}

/// `0 B`, `1.5 kB`, `12 MB`: powers of 1000.
pub fn bytes(number: u64) -> String {
    const UNITS: [&str; 7] = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
    let mut size = number as f64;
    let mut unit = 0;
    // A number that rounds to four digits belongs to the next unit.
    while size >= 999.5 && unit < 6 {
        size /= 1000.0;
        unit += 1;
    }
    let digits = usize::from(unit > 0 && size < 9.95);
    format!("{size:.digits$} {}", UNITS[unit])
}

/// `rwxr-x---`, with `s` and `t` for the special bits.
pub fn mode(bits: u16) -> String {
    let letters = (0..9).rev().map(|bit| {
        let is_set = bits >> bit & 1 == 1;
        let special = match bit {
            6 => bits & 0o4000 != 0,
            3 => bits & 0o2000 != 0,
            0 => bits & 0o1000 != 0,
            _ => false,
        };
        match (bit % 3, special, is_set) {
            (0, true, true) => {
                if bit == 0 {
                    't'
                } else {
                    's'
                }
            }
            (0, true, false) => {
                if bit == 0 {
                    'T'
                } else {
                    'S'
                }
            }
            (_, _, false) => '-',
            (2, _, true) => 'r',
            (1, _, true) => 'w',
            (_, _, true) => 'x',
        }
    });
    letters.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_ago() {
        let now: Timestamp = "2026-01-31T12:00:00Z".parse().expect("a time");
        let ago = |text: &str| ago(text.parse().expect("a time"), now);
        assert_eq!(ago("2026-01-31T12:00:00Z"), "just now");
        assert_eq!(ago("2026-01-31T11:59:59Z"), "1 second ago");
        assert_eq!(ago("2026-01-31T09:30:00Z"), "2 hours ago");
        assert_eq!(ago("2026-01-01T12:00:00Z"), "1 month ago");
        assert_eq!(ago("2019-01-01T12:00:00Z"), "7 years ago");
        assert_eq!(ago("2026-02-02T12:00:00Z"), "2026-02-02");
    }

    #[test]
    fn sizes_and_modes() {
        for (number, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (9_949, "9.9 kB"),
            (9_950, "10 kB"),
            (999_499, "999 kB"),
            (999_500, "1.0 MB"),
            (u64::MAX, "18 EB"),
        ] {
            assert_eq!(bytes(number), text);
        }
        for (bits, text) in [
            (0o644, "rw-r--r--"),
            (0o7777, "rwsrwsrwt"),
            (0o7000, "--S--S--T"),
            (0o000, "---------"),
        ] {
            assert_eq!(mode(bits), text);
        }
    }

    #[test]
    fn long_texts_are_cut() {
        assert_eq!(cut("écran", 5), "écran");
        assert_eq!(cut("écran", 2), "éc…");
        assert_eq!(cut("a b", 2), "a…");
        assert_eq!(cut("", 0), "");
    }

    #[test]
    fn messages() {
        assert_eq!(
            split_message("\n  Eek - register\n   as any\n\nmore"),
            ("Eek - register as any".into(), "more")
        );
        assert_eq!(split_message(" \n"), ("(no message)".into(), ""));
    }
}
