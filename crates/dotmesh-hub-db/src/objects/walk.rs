//! The objects that a connectivity check has reached: one bit for each object, however large the push is.

use std::collections::BTreeMap;

use tokio::sync::OwnedSemaphorePermit;

use crate::ids::PackRow;
use crate::objects::Known;
use crate::{Database, DatabaseError};

/// A running connectivity check. Dropping it discards the set of reached objects.
#[derive(Debug)]
pub struct Walk {
    reached: BTreeMap<PackRow, Numbers>,
    _turn: OwnedSemaphorePermit,
}

/// A set of object numbers in a pack.
#[derive(Debug, Default)]
pub(crate) struct Numbers {
    words: Vec<u64>,
    count: usize,
}

impl Database {
    /// Begins a connectivity check. Waits while too many are running.
    pub async fn begin_walk(&self) -> Result<Walk, DatabaseError> {
        let turn = self.walk_turns.clone().acquire_owned().await;
        Ok(Walk {
            reached: BTreeMap::new(),
            _turn: turn.map_err(|_| DatabaseError::Failed(sqlx::Error::PoolClosed))?,
        })
    }
}

impl Walk {
    /// Marks an object as reached. `false` when it was reached before.
    pub fn reach(&mut self, known: &Known) -> bool {
        let pack = self.reached.entry(known.id.pack()).or_default();
        pack.insert(known.id.number())
    }

    /// Returns the reached objects, by pack.
    pub(crate) fn reached(&self) -> impl Iterator<Item = (PackRow, &Numbers)> {
        self.reached.iter().map(|(pack, numbers)| (*pack, numbers))
    }
}

impl Numbers {
    /// Adds a number. `false` when it is there already.
    fn insert(&mut self, number: usize) -> bool {
        let (word, bit) = (number / 64, 1 << (number % 64));
        if word >= self.words.len() {
            self.words.resize(word + 1, 0);
        }
        let new = self.words[word] & bit == 0;
        self.words[word] |= bit;
        self.count += usize::from(new);
        new
    }

    pub(crate) fn len(&self) -> usize {
        self.count
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = usize> {
        let all = 0..self.words.len() * 64;
        all.filter(|number| self.words[number / 64] & 1 << (number % 64) != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::Numbers;

    #[test]
    fn numbers_are_a_set() {
        let mut numbers = Numbers::default();
        for number in [5, 64, 0, 1_000_000, 64, 63] {
            let new = !numbers.iter().any(|there| there == number);
            assert_eq!(numbers.insert(number), new);
        }
        assert_eq!(numbers.len(), 5);
        let all: Vec<usize> = numbers.iter().collect();
        assert_eq!(all, [0, 5, 63, 64, 1_000_000]);
    }
}
