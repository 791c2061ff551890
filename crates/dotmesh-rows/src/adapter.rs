//! What every kind of database can be asked, and how its server is started on a copy.

use crate::client::{Client, Run};
use crate::error::RowsError;
use crate::model::{Cell, DatabaseKind, Store, Table, TableName};
use crate::{mysql, postgres, redis, sqlite};

/// The folder in the container where the copy of the data is.
pub const DATA: &str = "/dotmesh";

/// How a server is started on a copy of its data.
#[derive(Debug, Clone)]
pub struct Recipe {
    /// A script for `sh`, which ends as the server.
    pub script: String,
    /// Succeeds once the server answers.
    pub wait: Run,
}

/// A row: its key, by which rows are sorted and found, and its values.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// The parts of the key, in an order that all sides agree on.
    pub key: Vec<Cell>,
    /// The values of the columns that were asked for.
    pub values: Vec<Cell>,
    /// The table that the row is counted for. `None` means the one that is read.
    pub group: Option<String>,
}

/// Rows as they come.
pub type Rows<'a> = Box<dyn Iterator<Item = Result<Row, RowsError>> + Send + 'a>;

/// Which rows to read.
#[derive(Debug, Clone)]
pub struct Scan {
    /// The columns.
    pub columns: Vec<String>,
    /// Whether the rows come in the order of their keys, for a comparison.
    pub is_sorted: bool,
    /// A condition in the language of the database.
    pub filter: Option<String>,
    /// The most rows.
    pub limit: Option<u64>,
    /// Only rows at these places, of a table of PostgreSQL: a block, and a number in it.
    pub places: Option<Vec<(u32, u16)>>,
    /// The bytes of a value that are kept.
    pub longest: usize,
}

/// Reads a database that its server has opened.
pub trait Adapter: Send + Sync {
    /// The names of the databases that people made.
    fn databases(&self) -> Result<Vec<String>, RowsError>;

    /// The tables of a database, sorted by name.
    fn tables(&self, database: &str) -> Result<Vec<Table>, RowsError>;

    /// Other definitions of a database, such as views, each as a statement that makes it.
    fn definitions(
        &self,
        database: &str,
    ) -> Result<std::collections::BTreeMap<String, String>, RowsError>;

    /// Counts the rows of tables of one database. `None` for a table that cannot be counted.
    fn count(&self, database: &str, tables: &[Table]) -> Result<Vec<Option<u64>>, RowsError>;

    /// Reads rows of a table.
    fn scan<'a>(&'a self, table: &Table, scan: &Scan) -> Result<Rows<'a>, RowsError>;

    /// Runs what a user wrote with the database's own client.
    fn statement(&self, database: Option<&str>, statement: &[u8]) -> Run;

    /// Starts the database's own client, which reads its input as it comes. On a terminal it has prompts.
    fn session(&self, database: Option<&str>, on_terminal: bool) -> Run;

    /// Runs a program where the server runs.
    fn run(&self, run: Run) -> Result<Box<dyn std::io::Read + Send>, RowsError>;

    /// Prepares the files of the copy to be compared.
    fn settle(&self) -> Result<(), RowsError> {
        Ok(())
    }

    /// The number of the next transaction, for databases that say which blocks changed.
    fn next_transaction(&self) -> Result<Option<u64>, RowsError> {
        Ok(None)
    }

    /// Whether rows are told by groups instead of tables. Only Redis groups keys, by their form.
    fn has_groups(&self) -> bool {
        false
    }

    /// Whether a table name stands for a group of rows that this table has.
    fn matches(&self, table: &TableName, wanted: &str) -> bool {
        table.short() == wanted || table.table == wanted
    }
}

/// How the server of a store is started, with its data in [`DATA`].
pub fn recipe(store: &Store) -> Recipe {
    match store.kind {
        DatabaseKind::Postgres => postgres::recipe(&store.version),
        DatabaseKind::Mariadb | DatabaseKind::Mysql => mysql::recipe(store.kind),
        DatabaseKind::Redis => redis::recipe(),
        // The client opens the file itself.
        DatabaseKind::Sqlite => Recipe {
            script: String::new(),
            wait: Run::default(),
        },
    }
}

/// An adapter for a store, whose server answers by now.
pub fn adapter(store: &Store, client: Box<dyn Client>) -> Result<Box<dyn Adapter>, RowsError> {
    Ok(match store.kind {
        DatabaseKind::Postgres => Box::new(postgres::Postgres::connect(client, &store.version)?),
        DatabaseKind::Mariadb | DatabaseKind::Mysql => {
            Box::new(mysql::Mysql::new(client, store.kind))
        }
        DatabaseKind::Redis => Box::new(redis::Redis::new(client)),
        DatabaseKind::Sqlite => Box::new(sqlite::Sqlite::new(client)),
    })
}
