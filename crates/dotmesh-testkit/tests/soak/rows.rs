//! The rows that databases have, and those that they may have. Pure.
//!
//! The writers number the rows 1, 2, 3 … and sign each with their own number, which no earlier writer had. So a
//! database's rows show where its data comes from: another branch has rows of other writers.

use std::fmt;

/// The databases, in the order in which each row is written to them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Store {
    Redis,
    Postgres,
    MariaDb,
}

impl Store {
    pub(crate) const ALL: [Store; 3] = [Store::Redis, Store::Postgres, Store::MariaDb];
}

/// Rows 1 to n and their writers, as runs of the same writer.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Line {
    runs: Vec<Run>,
}

/// The rows of one writer, up to and including `last`.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Run {
    writer: u32,
    last: u64,
}

impl Line {
    /// The number of rows, which is also the number of the last one.
    pub(crate) fn len(&self) -> u64 {
        self.runs.last().map_or(0, |run| run.last)
    }

    /// Adds the next row.
    pub(crate) fn push(&mut self, writer: u32) {
        let next = self.len() + 1;
        match self.runs.last_mut() {
            Some(run) if run.writer == writer => run.last = next,
            _ => self.runs.push(Run { writer, last: next }),
        }
    }

    /// The first `length` rows.
    pub(crate) fn prefix(&self, length: u64) -> Line {
        let mut line = Line::default();
        for &run in &self.runs {
            if line.len() < length {
                let last = run.last.min(length);
                line.runs.push(Run { last, ..run });
            }
        }
        line
    }

    /// The writer of a row.
    pub(crate) fn writer(&self, row: u64) -> Option<u32> {
        let run = self.runs.iter().find(|run| row <= run.last)?;
        Some(run.writer)
    }

    /// Parses lines of `NUMBER:WRITER`, which must be rows 1, 2, 3 … without a gap.
    pub(crate) fn parse(text: &str) -> Result<Line, String> {
        let mut line = Line::default();
        for row in text.lines().filter(|row| !row.is_empty()) {
            let parsed = row.split_once(':').and_then(|(number, writer)| {
                Some((number.parse::<u64>().ok()?, writer.parse().ok()?))
            });
            let (number, writer) = parsed.ok_or_else(|| format!("{row:?} is no row"))?;
            if number != line.len() + 1 {
                return Err(format!("row {number} comes after row {}", line.len()));
            }
            line.push(writer);
        }
        Ok(line)
    }
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} rows (", self.len())?;
        for (at, run) in self.runs.iter().enumerate() {
            let space = if at == 0 { "" } else { " " };
            write!(f, "{space}writer {} to {}", run.writer, run.last)?;
        }
        write!(f, ")")
    }
}

/// The rows of the databases, in the order of [`Store::ALL`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Contents(pub(crate) [Line; 3]);

/// The possible rows of the databases in a state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Expected {
    /// All rows that were sent.
    pub(crate) line: Line,
    /// The number of rows that each database had acknowledged before the capture began.
    pub(crate) at_least: [u64; 3],
    /// The number of rows that had been sent to each database when the capture ended.
    pub(crate) at_most: [u64; 3],
}

impl Expected {
    /// A state that was captured between two observations of the same writer.
    pub(crate) fn between(before: &Expected, after: &Expected) -> Expected {
        Expected {
            line: after.line.clone(),
            at_least: before.at_least,
            at_most: after.at_most,
        }
    }

    /// Exactly these rows, which are known to be in order.
    pub(crate) fn exactly(contents: &Contents) -> Expected {
        let lengths = contents.0.each_ref().map(Line::len);
        Expected {
            line: contents.0[0].clone(),
            at_least: lengths,
            at_most: lengths,
        }
    }

    /// Whether a state may have these rows. Each database must have a prefix of the line, within its bounds, and the
    /// prefixes must follow the order of the writes.
    pub(crate) fn check(&self, contents: &Contents) -> Result<(), String> {
        for (at, store) in Store::ALL.into_iter().enumerate() {
            let found = &contents.0[at];
            if *found != self.line.prefix(found.len()) {
                return Err(format!(
                    "{store:?} holds {found:?}, which is no beginning of {:?}",
                    self.line
                ));
            }
            if found.len() < self.at_least[at] {
                return Err(format!(
                    "{store:?} has lost rows: {} are there, {} were acknowledged",
                    found.len(),
                    self.at_least[at]
                ));
            }
            if found.len() > self.at_most[at] {
                return Err(format!(
                    "{store:?} holds {} rows, more than the {} that were sent",
                    found.len(),
                    self.at_most[at]
                ));
            }
        }
        let [first, second, third] = contents.0.each_ref().map(Line::len);
        if first >= second && second >= third && third + 1 >= first {
            Ok(())
        } else {
            Err(format!(
                "the databases are not of one instant: {first}, {second} and {third} rows"
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(writers: &[(u32, u64)]) -> Line {
        let mut line = Line::default();
        for &(writer, rows) in writers {
            (0..rows).for_each(|_| line.push(writer));
        }
        line
    }

    fn contents(line: &Line, lengths: [u64; 3]) -> Contents {
        Contents(lengths.map(|length| line.prefix(length)))
    }

    #[test]
    fn rows_without_a_hole_are_a_line() {
        let parsed = Line::parse("1:7\n2:7\n3:9\n").unwrap();
        assert_eq!(parsed, line(&[(7, 2), (9, 1)]));
        assert_eq!(parsed.writer(2), Some(7));
        assert_eq!(parsed.writer(3), Some(9));
        assert_eq!(parsed.writer(4), None);
        assert!(Line::parse("1:7\n3:7\n").is_err());
        assert!(Line::parse("1:7\n1:7\n").is_err());
        assert!(Line::parse("2:7\n").is_err());
        assert!(Line::parse("1:x\n").is_err());
    }

    #[test]
    fn what_was_acknowledged_has_to_be_there_and_what_was_not_sent_must_not() {
        let sent = line(&[(1, 5), (2, 5)]);
        let expected = Expected {
            line: sent.clone(),
            at_least: [8, 8, 7],
            at_most: [10, 10, 9],
        };
        for good in [[8, 8, 7], [8, 8, 8], [9, 9, 8], [10, 10, 9], [10, 9, 9]] {
            assert_eq!(expected.check(&contents(&sent, good)), Ok(()), "{good:?}");
        }
        for bad in [[7, 7, 7], [10, 10, 10], [8, 9, 8], [10, 8, 8], [9, 8, 7]] {
            assert!(expected.check(&contents(&sent, bad)).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn rows_of_another_branch_are_noticed() {
        let expected = Expected::exactly(&contents(&line(&[(1, 5), (2, 5)]), [10; 3]));
        let other = line(&[(1, 5), (3, 5)]);
        assert!(expected.check(&contents(&other, [10; 3])).is_err());
        let [mut mixed, good] = [line(&[(1, 5), (2, 5)]), line(&[(1, 5), (2, 5)])];
        assert_eq!(
            expected.check(&Contents([good.clone(), mixed.clone(), good.clone()])),
            Ok(())
        );
        mixed = mixed.prefix(9);
        mixed.push(3);
        assert!(
            expected
                .check(&Contents([good.clone(), mixed, good]))
                .is_err()
        );
    }
}
