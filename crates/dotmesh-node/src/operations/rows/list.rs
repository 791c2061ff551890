//! `dm rows`: the tables of a state's databases, and the rows of a table.

use axum::body::Bytes;
use axum::response::Response;
use dotmesh_api::node::{ListRows, RowsEvent};
use dotmesh_rows::{RowsError, contents};
use tokio::sync::mpsc;

use super::{
    Lines, Opened, State, Within, blocking, chosen, find, longest, no_store, parse, told,
    unless_left,
};
use crate::error::NodeError;
use crate::events;
use crate::node::Node;
use crate::view::At;

/// Starts to list, and responds with the events. A mistake in the request is an error at once.
pub(crate) async fn start(node: Node, at: At, request: ListRows) -> Result<Response, NodeError> {
    Ok(events::answer(begin(node, at, request).await?))
}

/// Starts to list. The events come as lines.
pub(super) async fn begin(
    node: Node,
    at: At,
    request: ListRows,
) -> Result<mpsc::Receiver<Bytes>, NodeError> {
    let view = node.settled_view(&at).await?;
    let target = parse(request.target.as_deref())?;
    let commit = match &request.revision {
        Some(revision) => Some(find(&node, &view, revision).await?),
        None => None,
    };
    let state = State::open(&node, &view, commit, target.as_ref()).await?;
    let stores = chosen(&state.stores, target.as_ref());
    if stores.is_empty() {
        let all: Vec<_> = state.stores.iter().collect();
        return Err(no_store(target.as_ref(), &all, &state));
    }
    let (sender, lines) = mpsc::channel(16);
    tokio::spawn(async move {
        let lines = Lines { sender };
        let mut last = RowsEvent::Done {};
        for (store, within) in stores {
            let opened = tokio::select! {
                opened = state.adapter(&node, &store) => opened,
                () = lines.sender.closed() => return,
            };
            let listed = match opened {
                Ok(opened) => list(opened, &request, (store.clone(), within), &lines).await,
                Err(error) => Err(error.into()),
            };
            match listed {
                Ok(()) => {}
                // What was asked for cannot be had.
                Err(body)
                    if target
                        .as_ref()
                        .is_some_and(|target| !target.below.is_empty()) =>
                {
                    last = RowsEvent::Failed(body);
                    break;
                }
                Err(body) => {
                    let hint = body
                        .hint
                        .map(|hint| format!(" ({hint})"))
                        .unwrap_or_default();
                    let problem = RowsEvent::Problem {
                        what: store.to_string(),
                        why: format!("{}{hint}", body.message),
                    };
                    lines.tell(&problem).await;
                }
            }
        }
        lines.tell(&last).await;
    });
    Ok(lines)
}

async fn list(
    opened: Opened,
    request: &ListRows,
    (store, within): (dotmesh_rows::model::Store, Within),
    lines: &Lines,
) -> Result<(), dotmesh_api::ErrorBody> {
    let enders = opened.ender().into_iter().collect();
    let (request, of_client, lines) = (request.clone(), lines, lines.clone());
    let name = store.to_string();
    let listed = blocking(move || {
        let adapter = &*opened.adapter;
        let (database, table) = within;
        let Some(wanted) = table else {
            for table in contents::tables(&store, adapter, database.as_deref(), None)? {
                lines.send(&RowsEvent::Table(table))?;
            }
            return Ok::<_, RowsError>(());
        };
        let table = contents::table(adapter, database.as_deref(), &wanted)?;
        let filter = match adapter.has_groups() {
            true => Some(request.filter.unwrap_or(wanted)),
            false => request.filter,
        };
        lines.send(&RowsEvent::Begin {
            store,
            name: table.name.clone(),
            columns: table
                .columns
                .iter()
                .map(|column| column.name.clone())
                .collect(),
        })?;
        let longest = longest(request.longest);
        for row in contents::rows(adapter, &table, filter, request.limit, longest)? {
            lines.send(&RowsEvent::Row(row?.values))?;
        }
        Ok(())
    });
    unless_left(of_client, enders, listed)
        .await
        .map_err(|error| told(&name, &error))
}
