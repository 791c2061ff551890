//! Calls about the rows of databases.

use dotmesh_model::DotName;
use futures::Stream;

use super::NodeClient;
use crate::client::ClientError;
use crate::node::{DiffRows, DiffRowsEvent, ListRows, RowsEvent, RunSql, SqlEvent};

impl NodeClient {
    /// The tables of a state, or the rows of a table.
    pub async fn rows(
        &self,
        dot: &DotName,
        list: &ListRows,
    ) -> Result<impl Stream<Item = Result<RowsEvent, ClientError>> + use<>, ClientError> {
        self.events(&format!("dots/{}/rows", dot.full()), list)
            .await
    }

    /// The differences between the rows of two states.
    pub async fn diff_rows(
        &self,
        dot: &DotName,
        diff: &DiffRows,
    ) -> Result<impl Stream<Item = Result<DiffRowsEvent, ClientError>> + use<>, ClientError> {
        self.events(&format!("dots/{}/rows/diff", dot.full()), diff)
            .await
    }

    /// Runs statements on a copy of a state, which is thrown away.
    pub async fn sql(
        &self,
        dot: &DotName,
        run: &RunSql,
    ) -> Result<impl Stream<Item = Result<SqlEvent, ClientError>> + use<>, ClientError> {
        self.events(&format!("dots/{}/sql", dot.full()), run).await
    }
}
