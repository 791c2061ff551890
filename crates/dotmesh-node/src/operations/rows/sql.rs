//! `dm sql`: runs statements with the database's own client on a throwaway copy.

use std::io::Read as _;

use axum::response::Response;
use dotmesh_api::node::{RunSql, SqlEvent, take_text};
use dotmesh_api::{ErrorBody, ErrorCode};
use dotmesh_rows::RowsError;
use dotmesh_rows::model::Store;
use tokio::sync::mpsc;

use super::{Lines, Opened, State, blocking, chosen, find, no_store, parse, told, unless_left};
use crate::error::NodeError;
use crate::events;
use crate::node::Node;
use crate::view::At;

/// The one database that a request is about, with the state that it is in.
pub(super) async fn find_database(
    node: &Node,
    at: &At,
    revision: &str,
    named: &str,
) -> Result<(State, Store, Option<String>), NodeError> {
    let view = node.settled_view(at).await?;
    let target = parse(Some(named))?;
    let commit = find(node, &view, revision).await?;
    let state = State::open(node, &view, Some(commit), target.as_ref()).await?;
    let mut stores = chosen(&state.stores, target.as_ref());
    let Some((store, (database, table))) = stores.pop() else {
        let all: Vec<_> = state.stores.iter().collect();
        return Err(no_store(target.as_ref(), &all, &state));
    };
    if let Some((other, _)) = stores.first() {
        let message = format!("{named} has several databases");
        let error = ErrorBody::new(ErrorCode::Invalid, message);
        let hint = format!(
            "Name one, such as {} or {}.",
            other.address(),
            store.address()
        );
        return Err(error.hint(hint).into());
    }
    let database = match (database, table) {
        (Some(database), None) => Some(database),
        (None, None) => None,
        _ => {
            let message = format!("'{named}' names more than a database");
            let error = ErrorBody::new(ErrorCode::Invalid, message);
            return Err(error.hint("Name tables in the statement.").into());
        }
    };
    Ok((state, store, database))
}

/// Opens the database, and responds with what the work with it tells, and at last how it ended. The work gets the name of the
/// database, if the target has one.
pub(super) fn respond<F, W>(
    node: Node,
    (state, store, database): (State, Store, Option<String>),
    work: F,
) -> Response
where
    F: FnOnce(Opened, Option<String>, Lines) -> W + Send + 'static,
    W: Future<Output = Result<(), ErrorBody>> + Send + 'static,
{
    let (sender, lines) = mpsc::channel(16);
    tokio::spawn(async move {
        let lines = Lines { sender };
        let opened = tokio::select! {
            opened = state.adapter(&node, &store) => opened,
            () = lines.sender.closed() => return,
        };
        let ended = match opened {
            Ok(opened) => work(opened, database, lines.clone()).await,
            Err(error) => Err(error.into()),
        };
        let last = match ended {
            Ok(()) => SqlEvent::Done {},
            Err(body) => SqlEvent::Failed(body),
        };
        lines.tell(&last).await;
    });
    events::answer(lines)
}

/// Starts the client, and responds with its output.
pub(crate) async fn start(node: Node, at: At, request: RunSql) -> Result<Response, NodeError> {
    let found = find_database(&node, &at, &request.revision, &request.target).await?;
    let name = found.1.to_string();
    let run = move |opened: Opened, database: Option<String>, lines: Lines| async move {
        let enders = opened.ender().into_iter().collect();
        let of_thread = lines.clone();
        let ran = blocking(move || {
            let statement = request.statement.as_bytes();
            let run = opened.adapter.statement(database.as_deref(), statement);
            let mut output = opened.adapter.run(run)?;
            let mut rest = Vec::new();
            let mut buffer = vec![0; 32 << 10];
            loop {
                let count = output.read(&mut buffer)?;
                rest.extend_from_slice(&buffer[..count]);
                let text = take_text(&mut rest, count == 0);
                if !text.is_empty() {
                    of_thread.send(&SqlEvent::Output(text))?;
                }
                if count == 0 {
                    return Ok::<_, RowsError>(());
                }
            }
        });
        let ran = unless_left(&lines, enders, ran).await;
        ran.map_err(|error| match error {
            // The client has its own words.
            RowsError::Failed { message } => ErrorBody::new(ErrorCode::Invalid, message),
            error => told(&name, &error),
        })
    };
    Ok(respond(node, found, run))
}
