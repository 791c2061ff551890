//! How times, sizes and texts are shown.

use jiff::Timestamp;

/// `3 hours ago`; the largest unit that fits.
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

/// For `datetime` attributes.
pub fn iso(time: &Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// `1 commit`, `2 commits`.
pub fn count(number: u64, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}

/// `3.4 MiB`; the largest unit that fits.
pub fn size(bytes: &u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if *bytes < 1024 {
        return count(*bytes, "byte");
    }
    let mut number = *bytes as f64 / 1024.0;
    let mut units = UNITS.iter();
    let mut unit = units.next();
    while number >= 1023.95 {
        let Some(larger) = units.next() else { break };
        unit = Some(larger);
        number /= 1024.0;
    }
    format!("{number:.1} {}", unit.unwrap_or(&""))
}

/// A message's first line and the rest.
pub fn split_message(message: &str) -> (&str, &str) {
    let message = message.trim();
    match message.split_once('\n') {
        Some((title, body)) => (title.trim_end(), body.trim()),
        None if message.is_empty() => ("(no message)", ""),
        None => (message, ""),
    }
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
    fn sizes() {
        assert_eq!(size(&0), "0 bytes");
        assert_eq!(size(&1023), "1023 bytes");
        assert_eq!(size(&1024), "1.0 KiB");
        assert_eq!(size(&((1 << 20) - 1)), "1.0 MiB");
        assert_eq!(size(&(3 << 29)), "1.5 GiB");
        assert_eq!(size(&u64::MAX), "16384.0 PiB");
    }

    #[test]
    fn messages() {
        assert_eq!(
            split_message("\n  Eek - register\n   as any\n"),
            ("Eek - register", "as any")
        );
        assert_eq!(split_message("one"), ("one", ""));
        assert_eq!(split_message(" \n"), ("(no message)", ""));
    }
}
