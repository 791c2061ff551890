//! Dumps and loads all records as rows of plain values, which are the same for both databases.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use futures::TryStreamExt as _;
use serde_json::Value;
use sqlx::any::AnyRow;
use sqlx::{AnyConnection, AssertSqlSafe, Row as _};

use crate::dialect::Dialect;
use crate::{Database, DatabaseError};

/// The most rows in one `INSERT`.
const ROWS: usize = 64;

/// Once the texts of the waiting rows have this many bytes, they are inserted. Rows may be long.
const BYTES: usize = 1 << 20;

/// The type of a column. Every column may also hold null.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Integer,
    Text,
    /// Bytes, which a dumped row has in base64.
    Bytes,
}

use Kind::{Bytes, Integer, Text};

/// A table that a dump contains.
struct Table {
    name: &'static str,
    columns: &'static [(&'static str, Kind)],
    /// The order of its rows. Rows that others refer to come first.
    order: &'static str,
}

/// The tables of a dump, each after those that it refers to. [`LEFT_OUT`] has all other tables.
const TABLES: &[Table] = &[
    Table {
        name: "users",
        columns: &[
            ("id", Integer),
            ("name", Text),
            ("password", Text),
            ("created", Integer),
            ("admin", Integer),
            ("quota", Integer),
            ("suspended", Integer),
        ],
        order: "id",
    },
    Table {
        name: "links",
        columns: &[
            ("digest", Bytes),
            ("purpose", Text),
            ("user_id", Integer),
            ("created", Integer),
            ("expires", Integer),
        ],
        order: "digest",
    },
    Table {
        name: "dots",
        columns: &[
            ("id", Integer),
            ("owner", Integer),
            ("name", Text),
            ("created", Integer),
            ("description", Text),
            ("visibility", Text),
            ("default_branch", Text),
            ("forked_from", Integer),
            ("pushed", Integer),
            ("deleted", Integer),
            ("identity", Bytes),
            ("texts", Integer),
            ("forks", Text),
            ("events", Integer),
        ],
        // A fork's id is greater than its origin's.
        order: "id",
    },
    Table {
        name: "api_keys",
        columns: &[
            ("id", Integer),
            ("user", Integer),
            ("digest", Bytes),
            ("created", Integer),
            ("name", Text),
            ("scope", Text),
            ("expires", Integer),
            ("used", Integer),
            ("dot", Integer),
        ],
        order: "id",
    },
    Table {
        name: "former_names",
        columns: &[("owner", Integer), ("name", Text), ("dot", Integer)],
        order: "owner, name",
    },
    Table {
        name: "collaborators",
        columns: &[("dot", Integer), ("user", Integer), ("access", Text)],
        order: "dot, \"user\"",
    },
    Table {
        name: "transfers",
        columns: &[("dot", Integer), ("user_id", Integer), ("created", Integer)],
        order: "dot",
    },
    Table {
        name: "commits",
        columns: &[
            ("dot", Integer),
            ("id", Bytes),
            ("parent", Bytes),
            ("seal", Bytes),
            ("root", Bytes),
            ("record", Text),
            ("author", Text),
            ("time", Integer),
            ("message", Text),
            ("left_out", Text),
            ("without_data", Integer),
        ],
        order: "dot, time, id",
    },
    Table {
        name: "commit_databases",
        columns: &[("dot", Integer), ("commit_id", Bytes), ("summary", Bytes)],
        order: "dot, commit_id",
    },
    Table {
        name: "dot_tables",
        columns: &[("dot", Integer), ("commit_id", Bytes), ("names", Text)],
        order: "dot",
    },
    Table {
        name: "branches",
        columns: &[("dot", Integer), ("name", Text), ("head", Bytes)],
        order: "dot, name",
    },
    Table {
        name: "protected_branches",
        columns: &[("dot", Integer), ("name", Text)],
        order: "dot, name",
    },
    Table {
        name: "tags",
        columns: &[
            ("dot", Integer),
            ("name", Text),
            ("commit_id", Bytes),
            ("message", Text),
            ("author", Text),
            ("created", Integer),
        ],
        order: "dot, name",
    },
    Table {
        name: "notes",
        columns: &[
            ("id", Integer),
            ("dot", Integer),
            ("branch", Text),
            ("commit_id", Bytes),
            ("author", Integer),
            ("created", Integer),
            ("body", Text),
        ],
        order: "id",
    },
    Table {
        name: "access_log",
        columns: &[
            ("id", Integer),
            ("day", Integer),
            ("kind", Text),
            ("actor", Text),
            ("address", Text),
            ("subject", Text),
            ("began", Integer),
            ("last", Integer),
            ("count", Integer),
        ],
        order: "id",
    },
    Table {
        name: "events",
        columns: &[
            ("id", Integer),
            ("time", Integer),
            ("actor", Text),
            ("dot", Integer),
            ("dot_name", Text),
            ("kind", Text),
            ("detail", Text),
        ],
        order: "id",
    },
    Table {
        name: "webhooks",
        columns: &[
            ("id", Integer),
            ("dot", Integer),
            ("url", Text),
            ("secret", Bytes),
            ("topics", Text),
            ("hub_url", Text),
            ("state", Text),
            ("created_by", Text),
            ("created", Integer),
            ("failing_since", Integer),
        ],
        order: "id",
    },
    Table {
        name: "packs",
        columns: &[
            ("id", Integer),
            ("owner", Integer),
            ("name", Bytes),
            ("objects", Integer),
            ("length", Integer),
            ("added", Integer),
            ("form", Integer),
        ],
        order: "id",
    },
    Table {
        name: "pack_bases",
        columns: &[("name", Bytes), ("base", Bytes)],
        order: "name, base",
    },
    Table {
        name: "objects",
        columns: &[
            ("id", Integer),
            ("owner", Integer),
            ("hash", Bytes),
            ("frame", Bytes),
        ],
        order: "id",
    },
    Table {
        name: "dot_packs",
        columns: &[("dot", Integer), ("pack", Integer)],
        order: "dot, pack",
    },
    Table {
        name: "dot_objects",
        columns: &[("dot", Integer), ("object", Integer)],
        order: "dot, object",
    },
];

/// The tables that a dump leaves out. They hold pushes under way, logins, jobs, the identity of the database, webhook
/// deliveries, and values that the hub counts or fills in by itself. If deliveries were in a dump, a hub and its
/// restored copy would both send them.
pub const LEFT_OUT: &[&str] = &[
    "attempts",
    "commit_facts",
    "commit_words",
    "deliveries",
    "device_logins",
    "doomed_packs",
    "hub",
    "leases",
    "numbers",
    "repacks",
    "sessions",
    "upload_objects",
    "upload_packs",
    "uploads",
];

/// A line of a dump.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(untagged)]
pub enum DumpLine {
    /// The rows that follow belong to this table.
    Table {
        /// Its name.
        table: String,
        /// The columns of the rows, in order.
        columns: Vec<String>,
    },
    /// A row: numbers, texts, bytes in base64, null.
    Row(Vec<Value>),
}

/// A dump that cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// It has a table or column that this version does not know.
    #[error("it has {0}, which this dothub does not know")]
    Unknown(String),
    /// A row does not fit its table.
    #[error("a row of {0} is malformed")]
    Row(String),
    /// The database failed.
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

impl From<sqlx::Error> for LoadError {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error.into())
    }
}

impl Database {
    /// Passes all records of a dump to `write`, as of one instant, and returns the schema version.
    pub async fn dump<E: From<DatabaseError>>(
        &self,
        mut write: impl FnMut(DumpLine) -> Result<(), E>,
    ) -> Result<i64, E> {
        let mut tx = self.begin_read().await?;
        let schema = schema(&mut tx).await?;
        for table in TABLES {
            let columns = table.columns.iter().map(|(name, _)| (*name).to_owned());
            write(DumpLine::Table {
                table: table.name.to_owned(),
                columns: columns.collect(),
            })?;
            let names = quoted(table.columns.iter().map(|(name, _)| *name));
            let (name, order) = (table.name, table.order);
            // All names in it come from `TABLES`, none from input.
            let select = AssertSqlSafe(format!("SELECT {names} FROM {name} ORDER BY {order}"));
            let mut rows = sqlx::query(select).fetch(&mut *tx);
            while let Some(row) = rows.try_next().await.map_err(DatabaseError::from)? {
                write(DumpLine::Row(values(&row, table)?))?;
            }
        }
        Ok(schema)
    }

    /// Whether the database has no users, and so no other records.
    pub async fn is_empty(&self) -> Result<bool, DatabaseError> {
        let users: i64 = sqlx::query_scalar("SELECT count(*) FROM users")
            .fetch_one(&self.readers)
            .await?;
        Ok(users == 0)
    }

    /// Returns the schema version: the number of the last migration.
    pub async fn schema(&self) -> Result<i64, DatabaseError> {
        schema(&mut *self.readers.acquire().await?).await
    }

    /// Loads all records of a dump, in one transaction, into an empty database with the dump's schema.
    pub async fn load<E: From<LoadError>>(
        &self,
        lines: impl Iterator<Item = Result<DumpLine, E>>,
    ) -> Result<(), E> {
        let failed = |error: DatabaseError| E::from(LoadError::Database(error));
        let mut tx = self.begin().await.map_err(failed)?;
        let mut loading: Option<Loading> = None;
        // An older schema may lack some tables.
        let mut loaded = Vec::new();
        for line in lines {
            match line? {
                DumpLine::Table { table, columns } => {
                    let next = Loading::new(self.dialect, &table, &columns)?;
                    loaded.push(next.table);
                    if let Some(done) = loading.replace(next) {
                        done.end(&mut tx).await?;
                    }
                }
                DumpLine::Row(values) => {
                    let loading = loading
                        .as_mut()
                        .ok_or_else(|| LoadError::Row("no table".to_owned()))?;
                    loading.add(&mut tx, values).await?;
                }
            }
        }
        if let Some(done) = loading {
            done.end(&mut tx).await?;
        }
        for table in loaded {
            if table.columns[0].0 == "id"
                && let Some(statement) = self.dialect.go_on_counting(table.name)
            {
                let statement = sqlx::query(AssertSqlSafe(statement));
                let done = statement.execute(&mut *tx).await;
                done.map_err(|error| failed(error.into()))?;
            }
        }
        tx.commit().await.map_err(|error| failed(error.into()))?;
        Ok(())
    }
}

async fn schema(connection: &mut AnyConnection) -> Result<i64, DatabaseError> {
    let version = sqlx::query_scalar("SELECT max(version) FROM _sqlx_migrations WHERE success")
        .fetch_one(connection)
        .await?;
    Ok(version)
}

/// Returns a list of quoted names, such as `"id", "user"`.
fn quoted<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<String> = names.map(|name| format!("\"{name}\"")).collect();
    names.join(", ")
}

fn values(row: &AnyRow, table: &Table) -> Result<Vec<Value>, DatabaseError> {
    let columns = table.columns.iter().enumerate();
    columns
        .map(|(at, (_, kind))| {
            Ok(match kind {
                Integer => row.try_get::<Option<i64>, _>(at)?.into(),
                Text => row.try_get::<Option<String>, _>(at)?.into(),
                Bytes => {
                    let bytes: Option<Vec<u8>> = row.try_get(at)?;
                    bytes.map(|bytes| BASE64.encode(bytes)).into()
                }
            })
        })
        .collect()
}

/// Rows that are being inserted into a table.
struct Loading {
    dialect: Dialect,
    table: &'static Table,
    columns: Vec<(&'static str, Kind)>,
    waiting: Vec<Vec<Value>>,
    /// The total length of their texts, in bytes.
    length: usize,
}

impl Loading {
    /// Looks the names up in [`TABLES`]: no other name may become part of a statement.
    fn new(dialect: Dialect, table: &str, columns: &[String]) -> Result<Self, LoadError> {
        let unknown = || LoadError::Unknown(format!("the table {table}"));
        let table = TABLES
            .iter()
            .find(|known| known.name == table)
            .ok_or_else(unknown)?;
        let known = |column: &String| {
            let known = table.columns.iter().find(|(name, _)| name == column);
            let unknown = || LoadError::Unknown(format!("the column {column} of {}", table.name));
            known.copied().ok_or_else(unknown)
        };
        Ok(Self {
            dialect,
            table,
            columns: columns.iter().map(known).collect::<Result<_, _>>()?,
            waiting: Vec::new(),
            length: 0,
        })
    }

    async fn add(
        &mut self,
        connection: &mut AnyConnection,
        row: Vec<Value>,
    ) -> Result<(), LoadError> {
        if row.len() != self.columns.len() {
            return Err(self.malformed());
        }
        let texts = row.iter().filter_map(Value::as_str);
        self.length += texts.map(str::len).sum::<usize>();
        self.waiting.push(row);
        if self.waiting.len() == ROWS || self.length >= BYTES {
            self.flush(connection).await?;
        }
        Ok(())
    }

    async fn end(mut self, connection: &mut AnyConnection) -> Result<(), LoadError> {
        self.flush(connection).await
    }

    async fn flush(&mut self, connection: &mut AnyConnection) -> Result<(), LoadError> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        self.length = 0;
        let width = self.columns.len();
        let rows: Vec<String> = (0..self.waiting.len())
            .map(|row| {
                let places = (0..width).map(|column| format!("${}", row * width + column + 1));
                format!("({})", places.collect::<Vec<_>>().join(", "))
            })
            .collect();
        let statement = format!(
            "INSERT INTO {} ({}) {} VALUES {}",
            self.table.name,
            quoted(self.columns.iter().map(|(name, _)| *name)),
            self.dialect.with_ids(),
            rows.join(", ")
        );
        let mut query = sqlx::query(AssertSqlSafe(statement));
        for row in std::mem::take(&mut self.waiting) {
            for (value, (_, kind)) in row.into_iter().zip(&self.columns) {
                query = match (kind, value) {
                    (Integer, Value::Null) => query.bind(None::<i64>),
                    (Integer, Value::Number(number)) if number.is_i64() => {
                        query.bind(number.as_i64())
                    }
                    (Text, Value::Null) => query.bind(None::<String>),
                    (Text, Value::String(text)) => query.bind(text),
                    (Bytes, Value::Null) => query.bind(None::<Vec<u8>>),
                    (Bytes, Value::String(text)) => {
                        let bytes = BASE64.decode(text).map_err(|_| self.malformed())?;
                        query.bind(bytes)
                    }
                    _ => return Err(self.malformed()),
                };
            }
        }
        query.execute(connection).await?;
        Ok(())
    }

    fn malformed(&self) -> LoadError {
        LoadError::Row(self.table.name.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// A dump must contain every table or column of a new migration, unless it is left out on purpose.
    #[tokio::test]
    async fn nothing_is_forgotten() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("hub.db");
        let database = Database::open(&path, crate::Opening::New)
            .await
            .expect("a database");
        let columns: Vec<(String, String)> = sqlx::query_as(
            "SELECT t.name, c.name FROM sqlite_schema t JOIN pragma_table_info(t.name) c
             WHERE t.type = 'table'",
        )
        .fetch_all(&database.readers)
        .await
        .expect("columns");
        let is_ours = |table: &str| {
            !(table.starts_with("sqlite_")
                || table.starts_with("_sqlx")
                || table.contains("words_"))
        };
        let there: BTreeSet<(String, String)> = columns
            .into_iter()
            .filter(|(table, _)| is_ours(table) && !LEFT_OUT.contains(&table.as_str()))
            .collect();
        let kept = TABLES.iter().flat_map(|table| {
            let columns = table.columns.iter();
            columns.map(|(column, _)| (table.name.to_owned(), (*column).to_owned()))
        });
        let mut kept: Vec<_> = kept.collect();
        kept.sort_unstable();
        assert_eq!(kept, there.into_iter().collect::<Vec<_>>());
    }
}
