//! Sizes in bytes as people write and read them.

/// `1.50 MiB`, in powers of 1024; a dash for nothing.
pub fn format_size(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    match bytes {
        0 => return "-".to_owned(),
        1..1024 => return format!("{bytes} B"),
        _ => {}
    }
    let mut size = bytes as f64;
    let mut unit = 0;
    // What would be shown as 1024.00 is of the next unit.
    while size >= 1023.995 && unit + 1 < UNITS.len() {
        size /= 1024.0;
        unit += 1;
    }
    format!("{size:.2} {}", UNITS[unit])
}

/// Reads `512`, `64K`, `100M`, `10G`, `1T`, with `iB` or `B` after the letter if liked; powers of 1024.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let wrong = || format!("'{text}' is not a size: write a number with K, M, G or T, e.g. 10G");
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let number: u64 = text[..digits].parse().map_err(|_| wrong())?;
    let unit = text[digits..].to_ascii_uppercase();
    let shift = match unit.trim_end_matches('B').trim_end_matches('I') {
        "" => 0,
        "K" => 10,
        "M" => 20,
        "G" => 30,
        "T" => 40,
        _ => return Err(wrong()),
    };
    number.checked_mul(1 << shift).ok_or_else(wrong)
}
