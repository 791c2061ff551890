//! Rows of the databases of a state, and how they differ.

use dotmesh_model::CommitId;
use dotmesh_rows::model::{Cell, DiffEvent, Store, TableName, TableSize};
use serde::{Deserialize, Serialize};

use crate::error::ErrorBody;

/// `POST /v1/dots/{namespace}/{dot}/rows`. The answer is lines of [`RowsEvent`].
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ListRows {
    /// The commit, by any of its names. `null` means the working copy.
    #[serde(default)]
    pub revision: Option<String>,
    /// `SUBDOT[/PATH][/DATABASE[/TABLE]]`. `null` means all databases. Of a table the rows are sent, else the sizes of tables.
    #[serde(default)]
    pub target: Option<String>,
    /// A condition for rows: of SQL, or a pattern for keys of Redis.
    #[serde(default)]
    pub filter: Option<String>,
    /// The most rows. `null` means all.
    #[serde(default)]
    pub limit: Option<u64>,
    /// The most bytes of a value. Default: 65,536.
    #[serde(default)]
    pub longest: Option<u64>,
}

/// A line of the answer to [`ListRows`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum RowsEvent {
    /// A table with its size.
    Table(TableSize),
    /// The table whose rows follow.
    Begin {
        /// Its store.
        store: Store,
        /// Its name.
        name: TableName,
        /// The names of the columns.
        columns: Vec<String>,
    },
    /// A row.
    Row(Vec<Cell>),
    /// Something that cannot be read, and why.
    Problem {
        /// The address of a store or of a table.
        what: String,
        /// Why.
        why: String,
    },
    /// Everything was sent.
    Done,
    /// It failed.
    Failed(ErrorBody),
}

/// `POST /v1/dots/{namespace}/{dot}/rows/diff`. The answer is lines of [`DiffRowsEvent`].
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DiffRows {
    /// The older state. `null` means the head.
    #[serde(default)]
    pub from: Option<String>,
    /// The newer state. `null` means the working copy.
    #[serde(default)]
    pub to: Option<String>,
    /// `SUBDOT[/PATH][/DATABASE[/TABLE]]`. `null` means all databases.
    #[serde(default)]
    pub target: Option<String>,
    /// The most changes of rows of each table. All are counted. `null` means all.
    #[serde(default)]
    pub limit: Option<u64>,
    /// The most bytes of a value. Default: 65,536.
    #[serde(default)]
    pub longest: Option<u64>,
    /// Whether to read whole tables where a comparison of files would do.
    #[serde(default)]
    pub full: bool,
}

/// A line of the answer to [`DiffRows`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum DiffRowsEvent {
    /// The states that are compared. This is the first line.
    States {
        /// The older state.
        from: CommitId,
        /// The newer state. `null` means the working copy.
        to: Option<CommitId>,
    },
    /// A difference.
    Change(DiffEvent),
    /// Everything was sent.
    Done,
    /// It failed.
    Failed(ErrorBody),
}

/// `POST /v1/dots/{namespace}/{dot}/sql`. The answer is lines of [`SqlEvent`].
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RunSql {
    /// The commit, by any of its names.
    pub revision: String,
    /// `SUBDOT[/PATH][/DATABASE]`
    pub target: String,
    /// What the database's own client gets as its input.
    pub statement: String,
}

/// A line of the answer to [`RunSql`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum SqlEvent {
    /// A piece of the client's output. Bytes that are not UTF-8 are replaced.
    Output(String),
    /// The client has ended.
    Done,
    /// The client has failed, or could not be run.
    Failed(ErrorBody),
}
