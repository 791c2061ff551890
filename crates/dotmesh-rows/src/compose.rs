//! The row changes over several commits on one line, made of the changes of each commit by the keys of the rows.

use std::collections::BTreeMap;

use crate::model::{
    Cell, Counts, DatabaseSummary, DiffEvent, Fate, RowChange, RowKey, Store, TableChange,
    TableName,
};

/// The most rows that are kept of all tables together.
const MOST_ROWS: usize = 20_000;

/// What differs in a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableDiff {
    /// The table.
    pub table: TableChange,
    /// The rows that differ, as far as they are known.
    pub rows: Vec<RowChange>,
    /// How many rows differ. `None` if that is not known.
    pub counts: Option<Counts>,
    /// Why the rows of several commits cannot be put together.
    pub obstacle: Option<Obstacle>,
}

/// Why the changes of several commits cannot be put together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Obstacle {
    /// Its rows have no key.
    NoKey,
    /// Its columns or its key changed in between.
    OtherColumns,
    /// It was created, dropped or renamed in between.
    OtherTable,
    /// A commit changes more rows than its summary has.
    RowsMissing,
    /// The rows of a commit do not follow from those of the commits before it.
    DoesNotFit,
    /// More rows changed than are put together.
    TooMany,
}

impl Obstacle {
    /// What it says to people.
    pub fn text(self) -> &'static str {
        match self {
            Self::NoKey => "its rows have no key",
            Self::OtherColumns => "its columns or its key changed in between",
            Self::OtherTable => "it was created, dropped or renamed in between",
            Self::RowsMissing => "a commit in between changed more rows than its summary has",
            Self::DoesNotFit => "the summaries of the commits in between do not fit together",
            Self::TooMany => "too many rows changed in between",
        }
    }
}

/// The differences of one summary, by table, and what could not be compared.
pub fn tables(changes: Vec<DiffEvent>) -> (Vec<TableDiff>, Vec<String>) {
    let (mut tables, mut problems) = (Vec::<TableDiff>::new(), Vec::new());
    for event in changes {
        match event {
            DiffEvent::Table(table) => tables.push(TableDiff {
                table,
                rows: Vec::new(),
                counts: None,
                obstacle: None,
            }),
            DiffEvent::Row(row) => {
                if let Some(last) = tables.last_mut() {
                    last.rows.push(row);
                }
            }
            DiffEvent::Counted(counts) => {
                if let Some(last) = tables.last_mut() {
                    last.counts = Some(counts);
                }
            }
            DiffEvent::Problem { what, why } => problems.push(format!("{what}: {why}")),
        }
    }
    (tables, problems)
}

impl TableDiff {
    /// How many rows differ that are not in the list. `None` if that is not known.
    pub fn missing(&self) -> Option<u64> {
        let Counts {
            added,
            removed,
            changed,
        } = self.counts?;
        let all = added.saturating_add(removed).saturating_add(changed);
        let listed = self
            .rows
            .iter()
            .fold(0, |sum: u64, row| sum.saturating_add(row.count));
        Some(all.saturating_sub(listed))
    }

    /// The same from the newer state to the older one. Statements are left out, since they lead to the newer state.
    #[must_use]
    pub fn reversed(mut self) -> Self {
        self.table.ddl.clear();
        self.table.fate = match self.table.fate {
            Fate::Created => Fate::Dropped,
            Fate::Dropped => Fate::Created,
            other => other,
        };
        for row in &mut self.rows {
            std::mem::swap(&mut row.before, &mut row.after);
        }
        if let Some(counts) = &mut self.counts {
            std::mem::swap(&mut counts.added, &mut counts.removed);
        }
        self
    }
}

type Place = (String, String, TableName);
type Values = Option<Vec<Cell>>;

fn place(store: &Store, name: &TableName) -> Place {
    (store.subdot.clone(), store.path.clone(), name.clone())
}

/// Puts the changes of commits together: the oldest commit comes first.
#[derive(Debug, Default)]
pub struct Composer {
    tables: BTreeMap<Place, Composed>,
    rows: usize,
    is_cut: bool,
    problems: Vec<String>,
}

#[derive(Debug)]
struct Composed {
    /// What the first commit says. While no other commit changed the table, its rows are here.
    first: TableDiff,
    is_one: bool,
    /// The rows before and after all commits, by key.
    rows: BTreeMap<String, (Values, Values)>,
}

/// The changes over all commits.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Composition {
    /// The tables that differ, by place.
    pub tables: Vec<TableDiff>,
    /// Whether a summary was cut, so that tables may be missing.
    pub is_cut: bool,
    /// What could not be compared, and why.
    pub problems: Vec<String>,
}

impl Composer {
    /// Adds the changes of the next commit.
    pub fn add(&mut self, summary: DatabaseSummary) {
        self.is_cut |= summary.is_cut;
        let (tables, problems) = tables(summary.changes);
        for problem in problems {
            if self.problems.len() < 20 && !self.problems.contains(&problem) {
                self.problems.push(problem);
            }
        }
        for diff in tables {
            let place = place(&diff.table.store, &diff.table.name);
            match self.tables.get_mut(&place) {
                None => {
                    self.rows += diff.rows.len();
                    let mut first = diff;
                    if self.rows > MOST_ROWS {
                        first.rows.clear();
                    }
                    let composed = Composed {
                        first,
                        is_one: true,
                        rows: BTreeMap::new(),
                    };
                    self.tables.insert(place, composed);
                }
                Some(composed) => {
                    if let Err(obstacle) = composed.add(&diff, &mut self.rows) {
                        composed.first.obstacle.get_or_insert(obstacle);
                        composed.rows.clear();
                    }
                    composed.first.table.ddl.extend(diff.table.ddl);
                }
            }
        }
    }

    /// Returns the changes over all commits. Tables without a difference are left out.
    pub fn finish(self) -> Composition {
        let tables = self.tables.into_values().filter_map(Composed::finish);
        Composition {
            tables: tables.collect(),
            is_cut: self.is_cut,
            problems: self.problems,
        }
    }
}

impl Composed {
    fn add(&mut self, next: &TableDiff, rows: &mut usize) -> Result<(), Obstacle> {
        let is_first = std::mem::take(&mut self.is_one);
        if self.first.obstacle.is_some() {
            return Ok(());
        }
        let (one, two) = (&self.first.table, &next.table);
        if two.fate != Fate::Kept || matches!(one.fate, Fate::Dropped | Fate::Renamed) {
            return Err(Obstacle::OtherTable);
        }
        if one.columns != two.columns || one.key != two.key {
            return Err(Obstacle::OtherColumns);
        }
        let places = key_places(one).ok_or(Obstacle::NoKey)?;
        if is_first {
            if self.first.missing() != Some(0) {
                return Err(Obstacle::RowsMissing);
            }
            for row in std::mem::take(&mut self.first.rows) {
                apply(&mut self.rows, &places, row)?;
            }
        }
        if next.missing() != Some(0) {
            return Err(Obstacle::RowsMissing);
        }
        *rows += next.rows.len();
        if *rows > MOST_ROWS {
            return Err(Obstacle::TooMany);
        }
        next.rows
            .iter()
            .try_for_each(|row| apply(&mut self.rows, &places, row.clone()))
    }

    fn finish(self) -> Option<TableDiff> {
        let mut diff = self.first;
        if self.is_one {
            return Some(diff);
        }
        diff.rows.clear();
        if diff.obstacle.is_some() {
            diff.counts = None;
            return Some(diff);
        }
        let mut counts = Counts::default();
        for (before, after) in self.rows.into_values() {
            let changed = match (&before, &after) {
                (None, None) => continue,
                (Some(before), Some(after)) if before == after => continue,
                (None, Some(_)) => {
                    counts.added += 1;
                    Vec::new()
                }
                (Some(_), None) => {
                    counts.removed += 1;
                    Vec::new()
                }
                (Some(before), Some(after)) => {
                    counts.changed += 1;
                    let pairs = before.iter().zip(after).enumerate();
                    pairs
                        .filter(|(_, (old, new))| old != new)
                        .map(|(at, _)| at)
                        .collect()
                }
            };
            diff.rows.push(RowChange {
                before,
                after,
                changed,
                count: 1,
            });
        }
        diff.counts = Some(counts);
        let is_same =
            counts.is_empty() && diff.table.ddl.is_empty() && diff.table.fate == Fate::Kept;
        (!is_same).then_some(diff)
    }
}

/// The places of the key's columns in a row. `None` if there is no key.
fn key_places(table: &TableChange) -> Option<Vec<usize>> {
    let columns = match &table.key {
        RowKey::None => return None,
        key => key.columns(),
    };
    let place = |name: &String| table.columns.iter().position(|column| column == name);
    let places: Option<Vec<usize>> = columns.iter().map(place).collect();
    places.filter(|places| !places.is_empty())
}

fn apply(
    rows: &mut BTreeMap<String, (Values, Values)>,
    places: &[usize],
    row: RowChange,
) -> Result<(), Obstacle> {
    let key = |values: &Vec<Cell>| {
        let parts: Option<Vec<&Cell>> = places.iter().map(|place| values.get(*place)).collect();
        parts.and_then(|parts| serde_json::to_string(&parts).ok())
    };
    let keys = (row.before.as_ref().map(key), row.after.as_ref().map(key));
    let key = match keys {
        (Some(Some(one)), Some(Some(two))) if one == two => one,
        (Some(Some(one)), None) | (None, Some(Some(one))) => one,
        _ => return Err(Obstacle::DoesNotFit),
    };
    match rows.get_mut(&key) {
        None => {
            rows.insert(key, (row.before, row.after));
        }
        Some((_, last)) if *last == row.before => *last = row.after,
        Some(_) => return Err(Obstacle::DoesNotFit),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::DatabaseKind;

    type State = BTreeMap<i64, i64>;

    fn table(key: RowKey) -> TableChange {
        TableChange {
            store: Store {
                subdot: "db".to_owned(),
                path: String::new(),
                kind: DatabaseKind::Postgres,
                version: "15".to_owned(),
            },
            name: TableName {
                database: "app".to_owned(),
                schema: "public".to_owned(),
                table: "users".to_owned(),
            },
            fate: Fate::Kept,
            key,
            columns: vec!["id".to_owned(), "name".to_owned()],
            generated: Vec::new(),
            ddl: Vec::new(),
        }
    }

    fn by_id() -> TableChange {
        table(RowKey::Primary(vec!["id".to_owned()]))
    }

    fn diff(old: &State, new: &State) -> Vec<RowChange> {
        let keys: std::collections::BTreeSet<&i64> = old.keys().chain(new.keys()).collect();
        let row = |state: &State, key: &i64| {
            let value = state.get(key)?;
            Some(vec![Cell::Integer(*key), Cell::Integer(*value)])
        };
        let differs = keys.into_iter().filter(|key| old.get(key) != new.get(key));
        differs
            .map(|key| {
                let (before, after) = (row(old, key), row(new, key));
                let is_changed = before.is_some() && after.is_some();
                RowChange {
                    before,
                    after,
                    changed: if is_changed { vec![1] } else { Vec::new() },
                    count: 1,
                }
            })
            .collect()
    }

    fn counts(rows: &[RowChange]) -> Counts {
        let count = |is: fn(&RowChange) -> bool| rows.iter().filter(|row| is(row)).count() as u64;
        Counts {
            added: count(|row| row.before.is_none()),
            removed: count(|row| row.after.is_none()),
            changed: count(|row| row.before.is_some() && row.after.is_some()),
        }
    }

    fn summary(table: TableChange, rows: Vec<RowChange>) -> DatabaseSummary {
        let counts = counts(&rows);
        let mut changes = vec![DiffEvent::Table(table)];
        changes.extend(rows.into_iter().map(DiffEvent::Row));
        changes.push(DiffEvent::Counted(counts));
        DatabaseSummary {
            version: DatabaseSummary::VERSION,
            changes,
            ..DatabaseSummary::default()
        }
    }

    fn composed(steps: Vec<DatabaseSummary>) -> Composition {
        let mut composer = Composer::default();
        steps.into_iter().for_each(|step| composer.add(step));
        composer.finish()
    }

    fn state() -> impl Strategy<Value = State> {
        proptest::collection::btree_map(0..6_i64, 0..3_i64, 0..6)
    }

    proptest! {
        #[test]
        fn steps_together_are_the_whole(states in proptest::collection::vec(state(), 2..6)) {
            let mut steps = Vec::new();
            for pair in states.windows(2) {
                let rows = diff(&pair[0], &pair[1]);
                if !rows.is_empty() {
                    steps.push(summary(by_id(), rows));
                }
            }
            let found = composed(steps);
            let rows = diff(&states[0], &states[states.len() - 1]);
            match &found.tables[..] {
                [] => prop_assert_eq!(rows, vec![]),
                [table] => {
                    prop_assert_eq!(table.obstacle, None);
                    prop_assert_eq!(table.counts, Some(counts(&rows)));
                    prop_assert_eq!(&table.rows, &rows);
                    let back = diff(&states[states.len() - 1], &states[0]);
                    let reversed = table.clone().reversed();
                    prop_assert_eq!(reversed.counts, Some(counts(&back)));
                    prop_assert_eq!(reversed.rows, back);
                }
                _ => prop_assert!(false, "one table"),
            }
        }
    }

    #[test]
    fn what_cannot_be_put_together_says_why() {
        let (one, two) = (State::from([(1, 1)]), State::from([(1, 2)]));
        let there = || summary(by_id(), diff(&one, &two));
        let back = || summary(by_id(), diff(&two, &one));
        assert_eq!(composed(vec![there(), back()]).tables, []);

        let obstacle = |steps: Vec<DatabaseSummary>| composed(steps).tables[0].obstacle;
        let with = |change: fn(&mut TableChange)| {
            let mut table = by_id();
            change(&mut table);
            summary(table, diff(&two, &one))
        };
        assert_eq!(obstacle(vec![there(), there()]), Some(Obstacle::DoesNotFit));
        let renamed = with(|table| table.columns[1] = "title".to_owned());
        assert_eq!(
            obstacle(vec![there(), renamed]),
            Some(Obstacle::OtherColumns)
        );
        let dropped = with(|table| table.fate = Fate::Dropped);
        assert_eq!(
            obstacle(vec![there(), dropped.clone()]),
            Some(Obstacle::OtherTable)
        );
        assert_eq!(obstacle(vec![dropped, there()]), Some(Obstacle::OtherTable));
        let keyless = || summary(table(RowKey::None), diff(&one, &two));
        assert_eq!(obstacle(vec![keyless(), keyless()]), Some(Obstacle::NoKey));
        // One commit alone needs no key.
        assert_eq!(obstacle(vec![keyless()]), None);

        let mut counted = there();
        counted.changes.remove(1);
        let found = composed(vec![counted.clone()]);
        assert_eq!(found.tables[0].missing(), Some(1));
        assert_eq!(
            obstacle(vec![counted.clone(), back()]),
            Some(Obstacle::RowsMissing)
        );
        assert_eq!(
            obstacle(vec![there(), counted]),
            Some(Obstacle::RowsMissing)
        );
    }
}
