//! Responses that report an operation's progress: one line of JSON per event.

use axum::body::{Body, Bytes};
use axum::response::{IntoResponse as _, Response};
use dotmesh_api::node::{SwitchEvent, SwitchProgress, Switched};
use serde::Serialize;
use tokio::sync::{mpsc, watch};

use crate::error::NodeError;

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
    work: impl Future<Output = Result<Switched, NodeError>> + Send + 'static,
    mut told: watch::Receiver<SwitchProgress>,
) -> Result<Response, NodeError> {
    let mut work = tokio::spawn(work);
    let (events, lines) = mpsc::channel::<Bytes>(16);
    let first = tokio::select! {
        done = &mut work => Some(joined(done)?),
        changed = told.changed() => match changed {
            Ok(()) => None,
            Err(_) => Some(joined((&mut work).await)?),
        },
    };
    tokio::spawn(async move {
        let last = match first {
            Some(switched) => SwitchEvent::Done(switched),
            None => loop {
                let now = told.borrow_and_update().clone();
                let _ = events.send(line(&SwitchEvent::Progress(now))).await;
                let done = tokio::select! {
                    done = &mut work => done,
                    Ok(()) = told.changed() => continue,
                    else => (&mut work).await,
                };
                break match joined(done) {
                    Ok(switched) => SwitchEvent::Done(switched),
                    Err(error) => SwitchEvent::Failed(error.into()),
                };
            },
        };
        let _ = events.send(line(&last)).await;
    });
    Ok(answer(lines))
}

fn joined(
    done: Result<Result<Switched, NodeError>, tokio::task::JoinError>,
) -> Result<Switched, NodeError> {
    done.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
}
