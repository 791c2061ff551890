//! Reads two sorted streams of rows side by side, and tells their differences. Memory holds one row of each.

use std::borrow::Cow;
use std::cmp::Ordering;

use crate::adapter::{Row, Rows};
use crate::error::RowsError;
use crate::model::{Cell, RowChange};

/// Compares parts of keys as both databases sorted them: numbers by value, all else by bytes.
fn order(one: &[Cell], two: &[Cell]) -> Ordering {
    for (one, two) in one.iter().zip(two) {
        let order = match (one, two) {
            (Cell::Integer(one), Cell::Integer(two)) => one.cmp(two),
            (Cell::Integer(_), _) => Ordering::Less,
            (_, Cell::Integer(_)) => Ordering::Greater,
            (one, two) => bytes(one).cmp(&bytes(two)),
        };
        if order != Ordering::Equal {
            return order;
        }
    }
    one.len().cmp(&two.len())
}

fn bytes(value: &Cell) -> Cow<'_, [u8]> {
    match value {
        Cell::Text(text) => Cow::Borrowed(text.as_bytes()),
        Cell::Integer(number) => Cow::Owned(number.to_string().into_bytes()),
        Cell::Bytes { hex } => {
            let digits = hex.as_bytes().chunks_exact(2);
            let byte = |pair: &[u8]| {
                std::str::from_utf8(pair)
                    .ok()
                    .and_then(|pair| u8::from_str_radix(pair, 16).ok())
            };
            Cow::Owned(digits.filter_map(byte).collect())
        }
        Cell::Long { begins, .. } => Cow::Borrowed(begins.as_bytes()),
        Cell::Null | Cell::List(_) | Cell::Map { .. } => Cow::Borrowed(b""),
    }
}

/// A stream that must be sorted.
struct Sorted<'a> {
    rows: Rows<'a>,
    next: Option<Row>,
    repeats: bool,
}

impl<'a> Sorted<'a> {
    fn new(rows: Rows<'a>, repeats: bool) -> Result<Self, RowsError> {
        let mut sorted = Self {
            rows,
            next: None,
            repeats,
        };
        sorted.next = sorted.rows.next().transpose()?;
        Ok(sorted)
    }

    fn take(&mut self) -> Result<Option<Row>, RowsError> {
        let taken = self.next.take();
        self.next = self.rows.next().transpose()?;
        if let (Some(one), Some(two)) = (&taken, &self.next) {
            let order = order(&one.key, &two.key);
            if order == Ordering::Greater || order == Ordering::Equal && !self.repeats {
                return Err(RowsError::Order);
            }
        }
        Ok(taken)
    }

    /// Takes all rows that equal the next one, and counts them.
    fn take_equal(&mut self) -> Result<Option<(Row, u64)>, RowsError> {
        let Some(first) = self.take()? else {
            return Ok(None);
        };
        let mut count = 1;
        while self.next.as_ref().is_some_and(|next| next.key == first.key) {
            self.take()?;
            count += 1;
        }
        Ok(Some((first, count)))
    }
}

/// Which columns of rows of both sides are compared.
pub(crate) trait Differ {
    /// The numbers of the columns that differ.
    fn changed(&self, old: &[Cell], new: &[Cell]) -> Vec<usize>;
}

/// Tells all differences of two streams. Without a key, equal rows of a side are counted.
pub(crate) fn merge(
    old: Rows<'_>,
    new: Rows<'_>,
    has_key: bool,
    differ: &dyn Differ,
    tell: &mut dyn FnMut(RowChange, Option<String>) -> Result<(), RowsError>,
) -> Result<(), RowsError> {
    let (mut old, mut new) = (Sorted::new(old, !has_key)?, Sorted::new(new, !has_key)?);
    loop {
        let order = match (&old.next, &new.next) {
            (None, None) => return Ok(()),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(old), Some(new)) => order(&old.key, &new.key),
        };
        let before = if order == Ordering::Greater {
            None
        } else {
            old.take_equal()?
        };
        let after = if order == Ordering::Less {
            None
        } else {
            new.take_equal()?
        };
        let change = |before: Option<Vec<Cell>>, after: Option<Vec<Cell>>, count| RowChange {
            before,
            after,
            changed: Vec::new(),
            count,
        };
        match (before, after) {
            (Some((before, was)), Some((after, is))) => {
                let group = after.group.or(before.group);
                match was.cmp(&is) {
                    Ordering::Less => tell(change(None, Some(after.values), is - was), group)?,
                    Ordering::Greater => tell(change(Some(before.values), None, was - is), group)?,
                    Ordering::Equal if has_key => {
                        let changed = differ.changed(&before.values, &after.values);
                        if !changed.is_empty() {
                            let mut row = change(Some(before.values), Some(after.values), 1);
                            row.changed = changed;
                            tell(row, group)?;
                        }
                    }
                    Ordering::Equal => {}
                }
            }
            (Some((row, count)), None) => tell(change(Some(row.values), None, count), row.group)?,
            (None, Some((row, count))) => tell(change(None, Some(row.values), count), row.group)?,
            (None, None) => return Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    struct All;

    impl Differ for All {
        fn changed(&self, old: &[Cell], new: &[Cell]) -> Vec<usize> {
            (0..new.len())
                .filter(|place| old.get(*place) != new.get(*place))
                .collect()
        }
    }

    fn rows(rows: Vec<(i64, i64)>) -> Rows<'static> {
        Box::new(rows.into_iter().map(|(key, value)| {
            Ok(Row {
                key: vec![Cell::Integer(key)],
                values: vec![Cell::Integer(key), Cell::Integer(value)],
                group: None,
            })
        }))
    }

    fn told(
        old: Vec<(i64, i64)>,
        new: Vec<(i64, i64)>,
        has_key: bool,
    ) -> Result<Vec<RowChange>, RowsError> {
        let mut all = Vec::new();
        merge(rows(old), rows(new), has_key, &All, &mut |change, _| {
            all.push(change);
            Ok(())
        })?;
        Ok(all)
    }

    #[test]
    fn rows_that_are_not_sorted_are_an_error_and_no_wrong_answer() {
        assert!(matches!(
            told(vec![(2, 0), (1, 0)], vec![], true),
            Err(RowsError::Order)
        ));
        assert!(matches!(
            told(vec![], vec![(1, 0), (1, 0)], true),
            Err(RowsError::Order)
        ));
        assert!(told(vec![], vec![(1, 0), (1, 0)], false).is_ok());
    }

    proptest! {
        #[test]
        fn applying_the_changes_to_the_older_rows_gives_the_newer_ones(
            old in proptest::collection::btree_map(-20_i64..20, 0_i64..3, 0..20),
            new in proptest::collection::btree_map(-20_i64..20, 0_i64..3, 0..20),
        ) {
            let list = |map: &BTreeMap<i64, i64>| map.iter().map(|(key, value)| (*key, *value)).collect::<Vec<_>>();
            let changes = told(list(&old), list(&new), true).expect("sorted rows");
            let mut made = old.clone();
            for change in changes {
                let pair = |row: &[Cell]| match row {
                    [Cell::Integer(key), Cell::Integer(value)] => (*key, *value),
                    _ => panic!("two integers"),
                };
                match (change.before, change.after) {
                    (before, Some(after)) => {
                        let (key, value) = pair(&after);
                        prop_assert_eq!(made.insert(key, value), before.map(|before| pair(&before).1));
                        prop_assert!(change.changed.is_empty() || change.changed == [1]);
                    }
                    (Some(before), None) => prop_assert!(made.remove(&pair(&before).0).is_some()),
                    (None, None) => prop_assert!(false),
                }
            }
            prop_assert_eq!(made, new);
        }

        #[test]
        fn without_a_key_rows_are_counted(
            mut old in proptest::collection::vec(0_i64..4, 0..12),
            mut new in proptest::collection::vec(0_i64..4, 0..12),
        ) {
            old.sort_unstable();
            new.sort_unstable();
            let list = |rows: &[i64]| rows.iter().map(|row| (*row, 0)).collect::<Vec<_>>();
            let changes = told(list(&old), list(&new), false).expect("sorted rows");
            for value in 0..4 {
                let count = |rows: &[i64]| rows.iter().filter(|row| **row == value).count() as i64;
                let difference: i64 = changes
                    .iter()
                    .map(|change| {
                        let sign = if change.after.is_some() { 1 } else { -1 };
                        let row = change.after.as_ref().or(change.before.as_ref());
                        match row.is_some_and(|row| row[0] == Cell::Integer(value)) {
                            true => sign * change.count as i64,
                            false => 0,
                        }
                    })
                    .sum();
                prop_assert_eq!(difference, count(&new) - count(&old));
            }
        }
    }
}
