//! Sizes in bytes as people write and read them.

/// `1.50 MiB`; a dash for nothing.
pub fn format_size(bytes: u64) -> String {
    const KIB: f64 = 1024.0;
    let n = bytes as f64;
    match bytes {
        0 => "-".to_owned(),
        1..0x10_0000 => format!("{:.2} kiB", n / KIB),
        0x10_0000..0x4000_0000 => format!("{:.2} MiB", n / KIB / KIB),
        _ => format!("{:.2} GiB", n / KIB / KIB / KIB),
    }
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
