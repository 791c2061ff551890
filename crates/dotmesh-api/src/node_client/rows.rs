//! Calls about the rows of databases.

use std::convert::Infallible;

use bytes::Bytes;
use dotmesh_model::DotName;
use futures::{Stream, StreamExt as _};
use reqwest::Method;
use reqwest::header::CONTENT_TYPE;

use super::NodeClient;
use crate::client::ClientError;
use crate::node::{
    DiffRows, DiffRowsEvent, ListRows, RowsEvent, RunSql, SqlEvent, SqlInput, SqlSession,
};

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

    /// Starts a database's client on a copy of a state. Its input is sent while its output comes.
    pub async fn sql_session<S>(
        &self,
        dot: &DotName,
        session: &SqlSession,
        input: S,
    ) -> Result<impl Stream<Item = Result<SqlEvent, ClientError>> + use<S>, ClientError>
    where
        S: Stream<Item = SqlInput> + Send + 'static,
    {
        let lines = input.map(|one| {
            let mut line = serde_json::to_vec(&one).unwrap_or_default();
            line.push(b'\n');
            Ok::<_, Infallible>(Bytes::from(line))
        });
        let path = format!("dots/{}/sql/session", dot.full());
        let request = self.request(Method::POST, &path).query(session);
        let request = request
            .header(CONTENT_TYPE, "application/x-ndjson")
            .body(reqwest::Body::wrap_stream(lines));
        self.events_of(request).await
    }
}
