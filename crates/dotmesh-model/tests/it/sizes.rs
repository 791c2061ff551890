//! Sizes, as users write and read them.

use dotmesh_model::size::{NotASize, format_size, parse_size};

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
fn sizes_are_read_in_powers_of_1000_and_of_1024() {
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
