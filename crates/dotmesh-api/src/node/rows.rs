//! Rows of the databases of a state, and how they differ.

use dotmesh_model::CommitId;
use dotmesh_rows::model::{Cell, DiffEvent, Store, TableName, TableSize};
use serde::{Deserialize, Serialize};

use super::Source;
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
    Done {},
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
    Done {},
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

/// The query of `POST /v1/dots/{namespace}/{dot}/sql/session`. The body is lines of [`SqlInput`], and the answer is lines of
/// [`SqlEvent`].
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::IntoParams), into_params(parameter_in = Query))]
pub struct SqlSession {
    /// The commit, by any of its names.
    pub revision: String,
    /// `SUBDOT[/PATH][/DATABASE]`
    pub target: String,
    /// Whether a person types. Then the client has prompts.
    #[serde(default)]
    pub terminal: bool,
}

/// A line of the body of a session. Its end is the end of the client's input.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum SqlInput {
    /// A piece of the client's input.
    Input(String),
    /// The size of the terminal.
    Window {
        /// Its height in lines.
        rows: u16,
        /// Its width in letters.
        columns: u16,
    },
}

/// A line of the answer to [`RunSql`] and of a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum SqlEvent {
    /// The client of a session has started. Only a session has this event.
    Begin {
        /// Whether the client has a terminal, which gets each key as it is pressed.
        terminal: bool,
    },
    /// A piece of the client's output. Bytes that are not UTF-8 are replaced.
    Output(String),
    /// The client has ended.
    Done {},
    /// The client has failed, or could not be run.
    Failed(ErrorBody),
}

/// What a hub is told of the databases in a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum RowsTold {
    /// The tables, their columns and row counts.
    Counts,
    /// Also the rows that differ from the parent's.
    Changes,
}

/// For a push: what the node tells the hub of the databases in the pushed commits. It reads and sends that after the push.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TellRows {
    /// What is told of a dot that is not public.
    pub private: RowsTold,
    /// What is told of a public dot.
    pub public: RowsTold,
}

/// What a node tells the hub of databases after a push.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RowsOutcome {
    /// What the node tells the hub.
    pub what: RowsTold,
    /// The number of commits whose databases it reads from now on. It keeps the account's secret until the last one is told.
    pub commits: u64,
    /// Why it will tell nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<ErrorBody>,
}

/// A commit whose databases the node still has to read for a hub, or has given up to read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SummaryStatus {
    /// The commit.
    pub commit: CommitId,
    /// The dot on the hub.
    #[serde(flatten)]
    pub there: Source,
    /// Why the last attempt failed. `null` before the first one.
    pub why: Option<String>,
    /// Whether no further attempt follows.
    pub given_up: bool,
}

/// Takes what is whole text. A letter that is cut stays, unless this is the end.
pub fn take_text(bytes: &mut Vec<u8>, is_end: bool) -> String {
    let whole = match std::str::from_utf8(bytes) {
        Err(error) if error.error_len().is_none() && !is_end => error.valid_up_to(),
        _ => bytes.len(),
    };
    let rest = bytes.split_off(whole);
    let text = String::from_utf8_lossy(bytes).into_owned();
    *bytes = rest;
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_are_not_cut() {
        let mut bytes = "aé".as_bytes()[..2].to_vec();
        assert_eq!(take_text(&mut bytes, false), "a");
        bytes.push(0xa9);
        assert_eq!(take_text(&mut bytes, false), "é");
        let mut broken = vec![b'a', 0xff, b'b'];
        assert_eq!(take_text(&mut broken, false), "a\u{fffd}b");
    }
}
