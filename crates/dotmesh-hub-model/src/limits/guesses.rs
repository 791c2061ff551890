//! How many wrong passwords are looked at.

use jiff::SignedDuration;

/// How long they are counted.
pub const WINDOW: SignedDuration = SignedDuration::from_mins(15);

/// For one name from one address.
pub const OF_NAME_FROM_ADDRESS: i64 = 10;

/// For one name from everywhere.
pub const OF_NAME: i64 = 100;

/// From one address, which may be a company's, for any names.
const FROM_ADDRESS: i64 = 50;

/// In all. While there are more, an address gets no more than
const IN_ALL: i64 = 2_000;

/// this: who types a password right is not held up by those who guess from many addresses.
const FROM_ADDRESS_AMID_MANY: i64 = 3;

/// From one address, while there are so many in all.
pub fn from_address(in_all: i64) -> i64 {
    match in_all {
        IN_ALL.. => FROM_ADDRESS_AMID_MANY,
        _ => FROM_ADDRESS,
    }
}

/// The rows of the table.
pub fn rows() -> [(String, i64); 4] {
    [
        (
            "for one user name from one address".to_owned(),
            OF_NAME_FROM_ADDRESS,
        ),
        ("for one user name from all addresses".to_owned(), OF_NAME),
        (
            "for all user names from one address".to_owned(),
            FROM_ADDRESS,
        ),
        (
            format!("the same, while there are {IN_ALL} in all from all addresses"),
            FROM_ADDRESS_AMID_MANY,
        ),
    ]
}
