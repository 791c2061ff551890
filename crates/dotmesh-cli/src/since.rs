//! Parses points in time as people write them: `2026-01-31`, `2d`, `2 days ago`.

use jiff::civil::DateTime;
use jiff::{Span, Timestamp, Zoned};

/// Parses a point in time. A date without a time zone is in the zone of `now`.
pub fn parse(text: &str, now: &Zoned) -> std::result::Result<Timestamp, String> {
    let text = text.trim();
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time);
    }
    if let Ok(local) = text.parse::<DateTime>()
        && let Ok(time) = local.to_zoned(now.time_zone().clone())
    {
        return Ok(time.timestamp());
    }
    let ago = text.parse::<Span>().ok();
    let time = ago.and_then(|span| now.checked_sub(span.abs()).ok());
    time.map(|time| time.timestamp()).ok_or_else(|| {
        "not a time: use for instance 2d, '2 days ago', 2026-01-31, or 2026-01-31T12:00:00Z"
            .to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_people_write_them() {
        let now: Zoned = "2026-03-31T12:00:00+02:00[Europe/Berlin]"
            .parse()
            .expect("a time");
        let read = |text: &str| parse(text, &now).map(|time| time.to_string());
        for (text, time) in [
            ("2026-01-31T12:00:00Z", "2026-01-31T12:00:00Z"),
            ("2026-01-31T12:00:00+01:00", "2026-01-31T11:00:00Z"),
            ("2026-01-31", "2026-01-30T23:00:00Z"),
            ("2026-01-31 12:30", "2026-01-31T11:30:00Z"),
            // Daylight saving time started on the 29th.
            ("2d", "2026-03-29T10:00:00Z"),
            ("2 days ago", "2026-03-29T10:00:00Z"),
            ("3 days", "2026-03-28T11:00:00Z"),
            ("90m", "2026-03-31T08:30:00Z"),
            ("1 month ago", "2026-02-28T11:00:00Z"),
            ("1w 2h", "2026-03-24T09:00:00Z"),
        ] {
            assert_eq!(read(text).as_deref(), Ok(time), "{text}");
        }
        for text in ["", "soon", "2", "2026-13-01", "9999999 years"] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
