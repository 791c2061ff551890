//! The types that programs exchange: databases, tables, rows, and changes of rows.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// A kind of database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum DatabaseKind {
    /// PostgreSQL.
    Postgres,
    /// MariaDB.
    Mariadb,
    /// MySQL.
    Mysql,
    /// Redis and servers with its file formats.
    Redis,
    /// SQLite.
    Sqlite,
}

impl DatabaseKind {
    /// Its name for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Postgres => "PostgreSQL",
            Self::Mariadb => "MariaDB",
            Self::Mysql => "MySQL",
            Self::Redis => "Redis",
            Self::Sqlite => "SQLite",
        }
    }
}

/// The files of a database server, or of an SQLite database.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Store {
    /// The subdot.
    pub subdot: String,
    /// The folder in the subdot, or the file of SQLite. Empty if it is the subdot's own folder.
    pub path: String,
    /// The kind.
    pub kind: DatabaseKind,
    /// The version of the format, such as `15` of PostgreSQL. Empty if the files do not tell.
    pub version: String,
}

impl Store {
    /// Its address: `SUBDOT` or `SUBDOT/PATH`.
    pub fn address(&self) -> String {
        match self.path.is_empty() {
            true => self.subdot.clone(),
            false => format!("{}/{}", self.subdot, self.path),
        }
    }

    /// Whether both are the same store at different times.
    pub fn is_same(&self, other: &Self) -> bool {
        let kinds = (self.kind, other.kind);
        let similar = matches!(
            kinds,
            (DatabaseKind::Mariadb, DatabaseKind::Mysql)
                | (DatabaseKind::Mysql, DatabaseKind::Mariadb)
        );
        self.subdot == other.subdot
            && self.path == other.path
            && (self.kind == other.kind || similar)
    }
}

impl fmt::Display for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}", self.address(), self.kind.name())?;
        if !self.version.is_empty() {
            write!(f, " {}", self.version)?;
        }
        f.write_str(")")
    }
}

/// The name of a table.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TableName {
    /// The database. Redis numbers them.
    pub database: String,
    /// The schema. Empty if the kind has none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub schema: String,
    /// The table, or a pattern of keys of Redis.
    pub table: String,
}

impl TableName {
    /// The name in its database. The schema `public` is not shown.
    pub fn short(&self) -> String {
        match self.schema.as_str() {
            "" | "public" => self.table.clone(),
            schema => format!("{schema}.{}", self.table),
        }
    }
}

/// A column of a table.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Column {
    /// The name.
    pub name: String,
    /// The type, as the database writes it.
    #[serde(rename = "type")]
    pub kind: String,
    /// The rest of its definition: `NOT NULL DEFAULT 0`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub rest: String,
    /// Whether the database computes it from other columns.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_generated: bool,
    /// What stays when the column is renamed. 0 if the kind has no such thing.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub number: i64,
}

fn is_zero(number: &i64) -> bool {
    *number == 0
}

/// By what rows are told apart.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum RowKey {
    /// By the columns of the primary key.
    Primary(Vec<String>),
    /// By the columns of a unique key without NULL.
    Unique(Vec<String>),
    /// By all values, since there is no key. Equal rows are counted.
    #[default]
    None,
}

impl RowKey {
    /// Its columns.
    pub fn columns(&self) -> &[String] {
        match self {
            Self::Primary(columns) | Self::Unique(columns) => columns,
            Self::None => &[],
        }
    }
}

/// The definition of a table.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Table {
    /// The name.
    pub name: TableName,
    /// The columns, in their order.
    pub columns: Vec<Column>,
    /// The key of its rows.
    pub key: RowKey,
    /// Constraints, indexes and triggers by name, each as a statement that makes it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parts: BTreeMap<String, String>,
    /// What stays when the table is renamed. 0 if the kind has no such thing.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub number: i64,
    /// Where its rows are, for an adapter.
    #[serde(default, skip_serializing)]
    pub place: String,
    /// About how many bytes it has on disk.
    #[serde(default)]
    pub bytes: u64,
}

/// The value of a column in a row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(no_recursion))]
#[serde(untagged)]
pub enum Cell {
    /// NULL.
    Null,
    /// An integer.
    Integer(i64),
    /// Any other value, as the database writes it.
    Text(String),
    /// Bytes that are no text.
    Bytes {
        /// The bytes in hexadecimal digits.
        hex: String,
    },
    /// The beginning of a long value.
    Long {
        /// The beginning.
        begins: String,
        /// The length of the whole value in bytes.
        bytes: u64,
        /// The hash of the whole value.
        hash: String,
    },
    /// The elements of a list, or the sorted members of a set.
    List(Vec<Cell>),
    /// Fields and their values, sorted.
    Map {
        /// The pairs.
        #[cfg_attr(feature = "openapi", schema(value_type = Vec<Vec<Cell>>))]
        map: Vec<(Cell, Cell)>,
    },
}

impl Cell {
    /// A text, or bytes if it is no text.
    pub fn of_bytes(bytes: Vec<u8>) -> Self {
        match String::from_utf8(bytes) {
            Ok(text) => Self::Text(text),
            Err(error) => Self::Bytes {
                hex: hex(error.as_bytes()),
            },
        }
    }
}

/// Bytes in hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    use fmt::Write as _;
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// A change of one row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RowChange {
    /// The values before. `None` for a row that was added.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Vec<Cell>>,
    /// The values after. `None` for a row that was removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Vec<Cell>>,
    /// The numbers of the columns that differ. Only of a row that changed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changed: Vec<usize>,
    /// How many such rows there are. More than one only in tables without a key.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub count: u64,
}

fn one() -> u64 {
    1
}

fn is_one(count: &u64) -> bool {
    *count == 1
}

/// How many rows of a table differ.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Counts {
    /// Rows that are only in the newer state.
    pub added: u64,
    /// Rows that are only in the older state.
    pub removed: u64,
    /// Rows with the same key and other values.
    pub changed: u64,
}

impl Counts {
    /// Whether no row differs.
    pub fn is_empty(self) -> bool {
        self == Self::default()
    }
}

/// What happened to a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// It is in both states.
    Kept,
    /// It is new.
    Created,
    /// It is gone.
    Dropped,
    /// It has another name.
    Renamed,
}

/// The beginning of the differences of a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TableChange {
    /// The store.
    pub store: Store,
    /// The table, or the pattern of keys.
    pub name: TableName,
    /// What happened to the table.
    pub fate: Fate,
    /// The key by which rows were compared.
    pub key: RowKey,
    /// The names of the columns of the rows that follow.
    pub columns: Vec<String>,
    /// The columns that the database computes, which no statement may write.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub generated: Vec<String>,
    /// The changes of its definition, as statements.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ddl: Vec<String>,
}

/// An event of a comparison, in this order: for each table `Table`, its `Row`s, and `Counted`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum DiffEvent {
    /// A table that differs.
    Table(TableChange),
    /// A row of it that differs.
    Row(RowChange),
    /// How many rows of it differ, with those that were not sent.
    Counted(Counts),
    /// Something that cannot be compared, and why.
    Problem {
        /// What: the address of a store or a table.
        what: String,
        /// Why, for people.
        why: String,
    },
}

/// A row count and a size of a table, or of a pattern of keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TableSize {
    /// The store.
    pub store: Store,
    /// The table.
    pub name: TableName,
    /// The number of rows. `None` if they cannot be counted.
    pub rows: Option<u64>,
    /// About how many bytes it has on disk. 0 if that is not known.
    pub bytes: u64,
    /// The columns.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub columns: Vec<Column>,
    /// The key of its rows.
    #[serde(default)]
    pub key: RowKey,
}

/// What is in the databases of a state, and what differs from its parent. A hub can store it with a commit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DatabaseSummary {
    /// The version of this format.
    pub version: u32,
    /// The tables with their sizes.
    pub tables: Vec<TableSize>,
    /// The differences from the parent, as far as they were collected.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<DiffEvent>,
    /// Whether there are more differences than these.
    #[serde(default)]
    pub is_cut: bool,
    /// What could not be read, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<String>,
}

impl DatabaseSummary {
    /// The version of the form that this program makes, and the only one that it knows.
    pub const VERSION: u32 = 1;
}

/// A part of the databases of a state: `SUBDOT[/PATH][/DATABASE[/TABLE]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatabasePath {
    /// The subdot.
    pub subdot: String,
    /// What is below it.
    pub below: String,
}

impl DatabasePath {
    /// Parses it. `None` if there is no subdot.
    pub fn parse(text: &str) -> Option<Self> {
        let (subdot, below) = text.split_once('/').unwrap_or((text, ""));
        (!subdot.is_empty()).then(|| Self {
            subdot: subdot.to_owned(),
            below: below.trim_end_matches('/').to_owned(),
        })
    }

    /// What it names in a store: a database, and a table of it. `None` if it is about another store.
    pub fn within(&self, store: &Store) -> Option<(Option<String>, Option<String>)> {
        if self.subdot != store.subdot {
            return None;
        }
        let is_inside =
            |path: &str| path == self.below || path.starts_with(&format!("{}/", self.below));
        if self.below.is_empty() || is_inside(&store.path) {
            return Some((None, None));
        }
        let prefix = format!("{}/", store.path);
        let rest = match store.path.is_empty() {
            true => self.below.as_str(),
            false => match self.below.strip_prefix(&prefix) {
                Some(rest) => rest,
                // The folder of a server may be left out.
                None if store.kind != DatabaseKind::Sqlite => self.below.as_str(),
                None => return None,
            },
        };
        if store.kind == DatabaseKind::Sqlite {
            return Some((None, Some(rest.to_owned())));
        }
        Some(match rest.split_once('/') {
            None => (Some(rest.to_owned()), None),
            Some((database, table)) => (Some(database.to_owned()), Some(table.to_owned())),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store(path: &str, kind: DatabaseKind) -> Store {
        Store {
            subdot: "db".to_owned(),
            path: path.to_owned(),
            kind,
            version: String::new(),
        }
    }

    #[test]
    fn a_target_names_a_store_a_database_or_a_table() {
        let within =
            |text: &str, store: &Store| DatabasePath::parse(text).expect("a target").within(store);
        let text = |text: &str| Some(text.to_owned());
        let postgres = store("", DatabaseKind::Postgres);
        assert_eq!(within("db", &postgres), Some((None, None)));
        assert_eq!(within("db/shop", &postgres), Some((text("shop"), None)));
        assert_eq!(
            within("db/shop/a/b", &postgres),
            Some((text("shop"), text("a/b")))
        );
        assert_eq!(within("other", &postgres), None);
        let deep = store("17/data", DatabaseKind::Postgres);
        assert_eq!(within("db/17/data", &deep), Some((None, None)));
        assert_eq!(within("db/17", &deep), Some((None, None)));
        assert_eq!(
            within("db/17/data/shop/t", &deep),
            Some((text("shop"), text("t")))
        );
        assert_eq!(within("db/shop/t", &deep), Some((text("shop"), text("t"))));
        let sqlite = store("app/main.db", DatabaseKind::Sqlite);
        assert_eq!(
            within("db/app/main.db/users", &sqlite),
            Some((None, text("users")))
        );
        assert_eq!(within("db/app", &sqlite), Some((None, None)));
        assert_eq!(within("db/other.db", &sqlite), None);
    }

    #[test]
    fn values_are_plain_in_json() {
        let values = [
            (Cell::Null, "null"),
            (Cell::Integer(-3), "-3"),
            (Cell::Text("3".to_owned()), "\"3\""),
            (Cell::of_bytes(vec![0xff, 0]), "{\"hex\":\"ff00\"}"),
            (Cell::List(vec![Cell::Integer(1)]), "[1]"),
        ];
        for (value, json) in values {
            assert_eq!(serde_json::to_string(&value).expect("JSON"), json);
            assert_eq!(serde_json::from_str::<Cell>(json).expect("a value"), value);
        }
    }
}
