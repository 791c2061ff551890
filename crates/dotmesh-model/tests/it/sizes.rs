//! Sizes as people write and read them.

use dotmesh_model::size::{format_size, parse_size};

#[test]
fn sizes_are_shown_in_the_largest_unit_that_fits() {
    let shown: Vec<_> = [
        0,
        1,
        1023,
        1024,
        (1 << 20) - 1,
        1 << 20,
        3 << 29,
        5 << 30,
        u64::MAX,
    ]
    .map(format_size)
    .into();
    assert_eq!(
        shown,
        [
            "-",
            "1 B",
            "1023 B",
            "1.00 KiB",
            "1.00 MiB",
            "1.00 MiB",
            "1.50 GiB",
            "5.00 GiB",
            "16.00 EiB"
        ]
    );
}

#[test]
fn sizes_are_read_with_and_without_units() {
    for (text, bytes) in [
        ("7", 7),
        ("64K", 65536),
        ("1M", 1 << 20),
        ("10GiB", 10 << 30),
        ("1tb", 1 << 40),
    ] {
        assert_eq!(parse_size(text), Ok(bytes), "{text}");
    }
    for text in ["", "G", "-1", "1.5G", "1X", "99999999999T", "1 G", "1GG"] {
        assert!(parse_size(text).is_err(), "{text}");
    }
}
