//! Responses that report an operation's progress: one line of JSON per event.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::response::{IntoResponse as _, Response};
use dotmesh_api::node::{OperationKind, SwitchEvent, SwitchProgress, Switched};
use dotmesh_model::DotName;
use serde::Serialize;
use tokio::sync::{mpsc, oneshot, watch};

use crate::error::NodeError;
use crate::node::Node;

/// One event as a line.
pub(crate) fn line(event: &impl Serialize) -> Bytes {
    let mut line = serde_json::to_vec(event).expect("events have only string keys");
    line.push(b'\n');
    line.into()
}

/// A response that streams the lines as they come.
pub(crate) fn answer(lines: mpsc::Receiver<Bytes>) -> Response {
    let lines = futures::stream::unfold(lines, async |mut lines| {
        let line = lines.recv().await?;
        Some((Ok::<_, std::convert::Infallible>(line), lines))
    });
    let kind = (axum::http::header::CONTENT_TYPE, "application/x-ndjson");
    ([kind], Body::from_stream(lines)).into_response()
}

/// Runs a switch to its end, even if the client disconnects, and streams its events. If it fails before its first
/// event, the response is the error alone.
pub(crate) async fn of_switch(
    node: &Node,
    (kind, dot): (OperationKind, &DotName),
    work: impl Future<Output = Result<Switched, NodeError>> + Send + 'static,
    mut told: watch::Receiver<SwitchProgress>,
) -> Result<Response, NodeError> {
    let mut work = tokio::spawn(work);
    let (operator, attached) = node.running.begin(kind, dot);
    let running = Arc::clone(&node.running);
    // The rest goes on without the client, too.
    let (answer, first_event) = oneshot::channel();
    tokio::spawn(async move {
        let first = tokio::select! {
            done = &mut work => Some(joined(done)),
            changed = told.changed() => match changed {
                Ok(()) => None,
                Err(_) => Some(joined((&mut work).await)),
            },
        };
        let last = match first {
            Some(Err(error)) => {
                running.forget(&operator);
                let _ = answer.send(Err(error));
                return;
            }
            Some(Ok(switched)) => {
                let _ = answer.send(Ok(attached));
                SwitchEvent::Done(switched)
            }
            None => {
                let _ = answer.send(Ok(attached));
                loop {
                    let now = told.borrow_and_update().clone();
                    operator.tell(line(&SwitchEvent::Progress(now)));
                    let done = tokio::select! {
                        done = &mut work => done,
                        Ok(()) = told.changed() => continue,
                        else => (&mut work).await,
                    };
                    break match joined(done) {
                        Ok(switched) => SwitchEvent::Done(switched),
                        Err(error) => SwitchEvent::Failed(error.into()),
                    };
                }
            }
        };
        operator.finish(line(&last));
    });
    match first_event.await {
        Ok(attached) => Ok(attached?.answer()),
        // The operation panicked, as this request does now.
        Err(_) => panic!("an operation ended without an answer"),
    }
}

fn joined(
    done: Result<Result<Switched, NodeError>, tokio::task::JoinError>,
) -> Result<Switched, NodeError> {
    done.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
}
