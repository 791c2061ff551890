//! Sizes in bytes, as users write and read them.

/// Formats a size such as `1.50 MiB`, in powers of 1024. 0 becomes a dash.
pub fn format_size(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    match bytes {
        0 => return "-".to_owned(),
        1..1024 => return format!("{bytes} B"),
        _ => {}
    }
    let mut size = bytes as f64;
    let mut unit = 0;
    // A size that would be shown as 1024.00 takes the next unit.
    while size >= 1023.995 && unit + 1 < UNITS.len() {
        size /= 1024.0;
        unit += 1;
    }
    format!("{size:.2} {}", UNITS[unit])
}

/// A text that is not a size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("write a size such as 500MB, 2GB or 1GiB")]
pub struct NotASize;

/// Reads `2GB`, `2 G`, `1.5TB` or `2000000000` in powers of 1000, and `1GiB` in powers of 1024.
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
    // Databases and files have signed sizes.
    i64::try_from(bytes)
        .ok()
        .and_then(|bytes| u64::try_from(bytes).ok())
        .ok_or(NotASize)
}
