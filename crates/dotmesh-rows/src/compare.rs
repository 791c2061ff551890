//! Compares a store of two states: definitions first, then rows, table by table.

use std::collections::{BTreeMap, BTreeSet};

use crate::adapter::{Adapter, Row, Rows, Scan};
use crate::blocks::Blocks;
use crate::error::RowsError;
use crate::merge::{Differ, merge};
use crate::model::{
    Cell, Counts, DatabaseKind, DiffEvent, Fate, RowChange, RowKey, Store, Table, TableChange,
    TableName,
};
use crate::schema;

/// How a comparison is limited.
#[derive(Debug, Clone)]
pub struct Options {
    /// Only this database.
    pub database: Option<String>,
    /// Only this table.
    pub table: Option<String>,
    /// The most changes of rows that are told of each table. All are counted. `None` means all.
    pub limit: Option<u64>,
    /// The bytes of a value that are kept.
    pub longest: usize,
}

/// Says which rows of a table differ.
pub trait Quick: Send + Sync {
    /// How the files of a table differ, which are at the same place in both copies.
    fn blocks(&self, place: &str) -> Blocks;
}

impl Quick for crate::blocks::Pair<'_> {
    fn blocks(&self, place: &str) -> Blocks {
        // Files that cannot be compared are read by the server.
        self.table(place).unwrap_or(Blocks::All)
    }
}

/// Takes the events of a comparison.
pub type Sink<'a> = dyn FnMut(DiffEvent) -> Result<(), RowsError> + Send + 'a;

/// The most groups of keys that are told apart. The keys of further ones are counted together.
const MOST_GROUPS: usize = 1000;

/// Compares a store. One of both sides may lack it.
pub fn compare(
    store: &Store,
    old: Option<&dyn Adapter>,
    new: Option<&dyn Adapter>,
    options: &Options,
    quick: Option<&dyn Quick>,
    sink: &mut Sink<'_>,
) -> Result<(), RowsError> {
    let (was, is) = both(old, new, |side| side.databases())?;
    let names: BTreeSet<String> = was.iter().chain(&is).cloned().collect();
    for database in names {
        if options
            .database
            .as_ref()
            .is_some_and(|wanted| *wanted != database)
        {
            continue;
        }
        let old = old.filter(|_| was.contains(&database));
        let new = new.filter(|_| is.contains(&database));
        let one = One {
            store,
            database: &database,
            old,
            new,
            options,
            quick,
        };
        if let Err(error) = one.compare(sink) {
            if matches!(error, RowsError::Cancelled) {
                return Err(error);
            }
            sink(DiffEvent::Problem {
                what: format!("{}/{database}", store.address()),
                why: error.to_string(),
            })?;
        }
    }
    Ok(())
}

/// Asks both sides at the same time. A side that is not there has nothing.
fn both<T: Default + Send>(
    old: Option<&dyn Adapter>,
    new: Option<&dyn Adapter>,
    ask: impl Fn(&dyn Adapter) -> Result<T, RowsError> + Sync,
) -> Result<(T, T), RowsError> {
    std::thread::scope(|scope| {
        let asked = scope.spawn(|| old.map_or_else(|| Ok(T::default()), &ask));
        let new = new.map_or_else(|| Ok(T::default()), &ask);
        let old = asked.join().unwrap_or(Err(RowsError::Cancelled));
        Ok((old?, new?))
    })
}

/// A database of a store.
struct One<'a> {
    store: &'a Store,
    database: &'a str,
    old: Option<&'a dyn Adapter>,
    new: Option<&'a dyn Adapter>,
    options: &'a Options,
    quick: Option<&'a dyn Quick>,
}

impl One<'_> {
    fn compare(&self, sink: &mut Sink<'_>) -> Result<(), RowsError> {
        let (was, is) = both(self.old, self.new, |side| side.tables(self.database))?;
        if self.options.table.is_none() {
            self.compare_definitions(sink)?;
        }
        for (old, new) in pairs(was, is) {
            let Some(shown) = new.as_ref().or(old.as_ref()) else {
                continue;
            };
            let side = self.new.or(self.old);
            let wanted =
                |wanted: &String| side.is_none_or(|side| side.matches(&shown.name, wanted));
            if !self.options.table.as_ref().is_none_or(wanted) {
                continue;
            }
            if let Err(error) = self.compare_table(old.as_ref(), new.as_ref(), sink) {
                if matches!(error, RowsError::Cancelled) {
                    return Err(error);
                }
                let what = format!(
                    "{}/{}/{}",
                    self.store.address(),
                    self.database,
                    shown.name.short()
                );
                let why = error.to_string();
                sink(DiffEvent::Problem { what, why })?;
            }
        }
        Ok(())
    }

    /// Views, functions and others are told as a table without a name.
    fn compare_definitions(&self, sink: &mut Sink<'_>) -> Result<(), RowsError> {
        let (old, new) = both(self.old, self.new, |side| side.definitions(self.database))?;
        let ddl = schema::definitions(&old, &new);
        if ddl.is_empty() {
            return Ok(());
        }
        let name = TableName {
            database: self.database.to_owned(),
            ..TableName::default()
        };
        let mut change = self.begin(name, Fate::Kept, &[], RowKey::None);
        change.ddl = ddl;
        sink(DiffEvent::Table(change))?;
        sink(DiffEvent::Counted(Counts::default()))
    }

    fn begin(&self, name: TableName, fate: Fate, columns: &[String], key: RowKey) -> TableChange {
        TableChange {
            store: self.store.clone(),
            name,
            fate,
            key,
            columns: columns.to_vec(),
            generated: Vec::new(),
            ddl: Vec::new(),
        }
    }

    fn compare_table(
        &self,
        old: Option<&Table>,
        new: Option<&Table>,
        sink: &mut Sink<'_>,
    ) -> Result<(), RowsError> {
        let kind = self.store.kind;
        let plan = Plan::of(kind, old, new);
        let Some(shown) = new.or(old) else {
            return Ok(());
        };
        let mut begin = self.begin(
            shown.name.clone(),
            plan.fate,
            &plan.columns,
            plan.key.clone(),
        );
        begin.generated = shown
            .columns
            .iter()
            .filter(|column| column.is_generated)
            .map(|column| column.name.clone())
            .collect();
        begin.ddl = plan.ddl.clone();
        let groups =
            self.new.or(self.old).is_some_and(Adapter::has_groups) && self.options.limit.is_some();
        let mut told = Told {
            begin,
            limit: self.options.limit,
            groups: groups.then(BTreeMap::new),
            wanted: self.options.table.clone().filter(|_| groups),
            counts: Counts::default(),
            is_begun: false,
            sent: 0,
        };
        if !told.begin.ddl.is_empty() || plan.fate != Fate::Kept {
            told.begin_table(sink)?;
        }
        let blocks = match (old, new, self.quick) {
            (Some(old), Some(new), Some(quick)) if old.place == new.place => {
                quick_blocks(quick, &old.place)
            }
            _ => Blocks::All,
        };
        let compared = match blocks {
            Blocks::Same => Ok(()),
            Blocks::Some(places) => {
                self.rows(&plan, old, new, Some(&places), &mut |change, group| {
                    told.tell(change, group, sink)
                })
            }
            Blocks::All => self.rows(&plan, old, new, None, &mut |change, group| {
                told.tell(change, group, sink)
            }),
        };
        // What was found before a failure is told, too.
        told.finish(sink)?;
        compared
    }

    fn rows(
        &self,
        plan: &Plan,
        old: Option<&Table>,
        new: Option<&Table>,
        places: Option<&[(u32, u16)]>,
        tell: &mut dyn FnMut(RowChange, Option<String>) -> Result<(), RowsError>,
    ) -> Result<(), RowsError> {
        let scan = |columns: &[String]| Scan {
            columns: columns.to_vec(),
            is_sorted: true,
            filter: None,
            limit: None,
            places: places.map(<[(u32, u16)]>::to_vec),
            longest: self.options.longest,
        };
        let empty = || -> Rows<'_> { Box::new(std::iter::empty()) };
        let before = read(self.old, old, &plan.old_key, &scan(&plan.old_columns))?;
        let after = read(self.new, new, &plan.key, &scan(&plan.new_columns))?;
        let before: Rows<'_> = match before {
            Some(rows) => Box::new(rows.map(|row| row.map(|row| plan.widen(row)))),
            None => empty(),
        };
        let after = after.unwrap_or_else(empty);
        merge(before, after, plan.key != RowKey::None, plan, tell)
    }
}

/// Reads a table by a key. A side that is not there has no rows.
fn read<'a>(
    side: Option<&'a dyn Adapter>,
    table: Option<&Table>,
    key: &RowKey,
    scan: &Scan,
) -> Result<Option<Rows<'a>>, RowsError> {
    let (Some(side), Some(table)) = (side, table) else {
        return Ok(None);
    };
    let mut table = table.clone();
    table.key = key.clone();
    side.scan(&table, scan).map(Some)
}

/// All parts of a partitioned table must be the same, or it is read in full.
fn quick_blocks(quick: &dyn Quick, place: &str) -> Blocks {
    let parts: Vec<&str> = place.split('\n').filter(|part| !part.is_empty()).collect();
    match (place.contains('\n'), parts.as_slice()) {
        (false, [one]) => quick.blocks(one),
        (true, parts) if parts.iter().all(|part| quick.blocks(part) == Blocks::Same) => {
            Blocks::Same
        }
        _ => Blocks::All,
    }
}

/// Which columns of both tables are read and compared.
struct Plan {
    fate: Fate,
    ddl: Vec<String>,
    /// The columns of the rows that are told.
    columns: Vec<String>,
    key: RowKey,
    old_key: RowKey,
    old_columns: Vec<String>,
    new_columns: Vec<String>,
    /// For each column that is told, where it is in an older row. `None` for a new column.
    places: Vec<Option<usize>>,
    /// The columns whose new values are the default, and so no change.
    ignored: Vec<bool>,
}

impl Plan {
    fn of(kind: DatabaseKind, old: Option<&Table>, new: Option<&Table>) -> Self {
        let names = |table: &Table| {
            table
                .columns
                .iter()
                .map(|column| column.name.clone())
                .collect::<Vec<_>>()
        };
        let (Some(old), Some(new)) = (old, new) else {
            let fate = if new.is_some() {
                Fate::Created
            } else {
                Fate::Dropped
            };
            let table = new.or(old).cloned().unwrap_or_default();
            let columns = names(&table);
            let ddl = match (kind, fate) {
                (DatabaseKind::Redis, _) => Vec::new(),
                (_, Fate::Created) => schema::create(kind, &table),
                _ => schema::drop(kind, &table),
            };
            return Self {
                fate: if kind == DatabaseKind::Redis {
                    Fate::Kept
                } else {
                    fate
                },
                ddl,
                places: (0..columns.len()).map(Some).collect(),
                ignored: vec![false; columns.len()],
                old_columns: columns.clone(),
                new_columns: columns.clone(),
                columns,
                old_key: table.key.clone(),
                key: table.key,
            };
        };
        let fate = match old.name == new.name {
            true => Fate::Kept,
            false => Fate::Renamed,
        };
        let (pairs, key) = schema::common(kind, old, new);
        let old_columns: Vec<String> = pairs.iter().map(|(old, _)| old.clone()).collect();
        let common: Vec<String> = pairs.iter().map(|(_, new)| new.clone()).collect();
        // Without a key rows are told apart by all columns that both tables have.
        let columns = match key == RowKey::None {
            true => common.clone(),
            false => names(new),
        };
        let places: Vec<Option<usize>> = columns
            .iter()
            .map(|name| common.iter().position(|one| one == name))
            .collect();
        let ignored = columns.iter().zip(&places).map(|(name, place)| {
            let column = new.columns.iter().find(|column| column.name == *name);
            place.is_none()
                && column
                    .is_some_and(|column| column.is_generated || column.rest.contains("DEFAULT"))
        });
        let old_key = match &key {
            RowKey::None => RowKey::None,
            _ => old.key.clone(),
        };
        Self {
            fate,
            ddl: schema::alter(kind, old, new),
            ignored: ignored.collect(),
            new_columns: columns.clone(),
            columns,
            key,
            old_key,
            old_columns,
            places,
        }
    }

    /// An older row with the columns of the newer table.
    fn widen(&self, mut row: Row) -> Row {
        let mut values: Vec<Option<Cell>> = row.values.into_iter().map(Some).collect();
        let take = |place: &Option<usize>| place.and_then(|place| values.get_mut(place)?.take());
        row.values = self
            .places
            .iter()
            .map(take)
            .map(|value| value.unwrap_or(Cell::Null))
            .collect();
        row
    }
}

impl Differ for Plan {
    fn changed(&self, old: &[Cell], new: &[Cell]) -> Vec<usize> {
        let differs = |place: &usize| {
            old.get(*place) != new.get(*place)
                && !self.ignored.get(*place).copied().unwrap_or(false)
        };
        (0..new.len()).filter(differs).collect()
    }
}

/// Pairs of tables that are the same at different times: by name, and else by the number that stays in a renaming.
fn pairs(old: Vec<Table>, new: Vec<Table>) -> Vec<(Option<Table>, Option<Table>)> {
    let mut old: BTreeMap<TableName, Table> = old
        .into_iter()
        .map(|table| (table.name.clone(), table))
        .collect();
    let mut pairs = Vec::new();
    let mut alone = Vec::new();
    for table in new {
        match old.remove(&table.name) {
            Some(was) => pairs.push((Some(was), Some(table))),
            None => alone.push(table),
        }
    }
    for table in alone {
        let renamed = old
            .values()
            .find(|was| was.number != 0 && was.number == table.number);
        let renamed = renamed.map(|was| was.name.clone());
        let was = renamed.and_then(|name| old.remove(&name));
        pairs.push((was, Some(table)));
    }
    pairs.extend(old.into_values().map(|table| (Some(table), None)));
    for (old, new) in &mut pairs {
        // A table that was made again has its columns by their names alone.
        if let (Some(old), Some(new)) = (old, new)
            && old.number != new.number
        {
            old.columns
                .iter_mut()
                .chain(&mut new.columns)
                .for_each(|column| column.number = 0);
        }
    }
    pairs.sort_by(|one, other| {
        let name = |pair: &(Option<Table>, Option<Table>)| {
            pair.1
                .as_ref()
                .or(pair.0.as_ref())
                .map(|table| table.name.clone())
        };
        name(one).cmp(&name(other))
    });
    pairs
}

/// What was told of a table.
struct Told {
    begin: TableChange,
    limit: Option<u64>,
    /// The groups of rows, if rows are told by group.
    groups: Option<BTreeMap<String, (Counts, Vec<RowChange>)>>,
    wanted: Option<String>,
    counts: Counts,
    is_begun: bool,
    sent: u64,
}

impl Told {
    fn begin_table(&mut self, sink: &mut Sink<'_>) -> Result<(), RowsError> {
        if !std::mem::replace(&mut self.is_begun, true) {
            sink(DiffEvent::Table(self.begin.clone()))?;
        }
        Ok(())
    }

    fn tell(
        &mut self,
        change: RowChange,
        group: Option<String>,
        sink: &mut Sink<'_>,
    ) -> Result<(), RowsError> {
        let count = |counts: &mut Counts| match (&change.before, &change.after) {
            (None, _) => counts.added += change.count,
            (_, None) => counts.removed += change.count,
            _ => counts.changed += change.count,
        };
        if let (Some(groups), Some(mut group)) = (&mut self.groups, group) {
            if self.wanted.as_ref().is_some_and(|wanted| {
                !crate::redis::is_like(
                    wanted,
                    &group,
                    change.after.as_ref().or(change.before.as_ref()),
                )
            }) {
                return Ok(());
            }
            if groups.len() >= MOST_GROUPS && !groups.contains_key(&group) {
                "*".clone_into(&mut group);
            }
            let (counts, changes) = groups.entry(group).or_default();
            count(counts);
            if self
                .limit
                .is_none_or(|limit| (changes.len() as u64) < limit)
            {
                changes.push(change);
            }
            return Ok(());
        }
        count(&mut self.counts);
        self.begin_table(sink)?;
        if self.limit.is_none_or(|limit| self.sent < limit) {
            self.sent += 1;
            sink(DiffEvent::Row(change))?;
        }
        Ok(())
    }

    fn finish(mut self, sink: &mut Sink<'_>) -> Result<(), RowsError> {
        for (group, (counts, changes)) in self.groups.take().unwrap_or_default() {
            let mut begin = self.begin.clone();
            begin.name.table = group;
            sink(DiffEvent::Table(begin))?;
            for change in changes {
                sink(DiffEvent::Row(change))?;
            }
            sink(DiffEvent::Counted(counts))?;
        }
        match self.is_begun {
            true => sink(DiffEvent::Counted(self.counts)),
            false => Ok(()),
        }
    }
}
