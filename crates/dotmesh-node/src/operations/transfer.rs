//! Runs a push, pull or clone for a client, and tells it how far it is: one line of JSON an event.
//!
//! The transfer lives as long as the client listens.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::response::{IntoResponse as _, Response};
use dotmesh_api::node::{Transfer, TransferEvent, TransferOutcome};
use dotmesh_api::node_client::Direction;
use dotmesh_api::{ErrorBody, ErrorCode, HubAddress, HubClient};
use dotmesh_model::DotName;
use dotmesh_sync::Progress;
use tokio::sync::mpsc;

use super::{clone, pull, push};
use crate::error::NodeError;
use crate::node::Node;

/// How often progress is told.
const TELL_INTERVAL: Duration = Duration::from_millis(150);

/// What both directions work with.
pub(crate) struct Job {
    pub(crate) node: Node,
    pub(crate) hub: HubClient,
    /// The dot here.
    pub(crate) local: DotName,
    pub(crate) request: Transfer,
    pub(crate) progress: Arc<Progress>,
}

impl Job {
    /// The hub, as errors call it.
    pub(crate) fn hub_name(&self) -> String {
        self.hub.address().to_string()
    }

    pub(crate) fn no_remote_dot(&self) -> NodeError {
        NodeError::NoRemoteDot {
            hub: self.hub_name(),
            dot: self.request.remote_dot.full(),
            user: self.hub.user().to_string(),
        }
    }
}

/// Starts a transfer and answers with its events.
pub(crate) fn start(
    node: Node,
    direction: Direction,
    local: DotName,
    request: Transfer,
) -> Response {
    let (events, lines) = mpsc::channel::<Bytes>(16);
    tokio::spawn(async move {
        let progress = Arc::new(Progress::default());
        let transfer = run(node, direction, local, request, Arc::clone(&progress));
        let last = tokio::select! {
            result = transfer => match result {
                Ok(mut outcome) => {
                    outcome.wire = progress.snapshot().wire;
                    TransferEvent::Done(outcome)
                }
                Err(error) => TransferEvent::Failed(error.into()),
            },
            // Dropping the transfer stops it; what it had made and nobody has seen is deleted.
            () = tell(&events, &progress) => return,
        };
        let _ = events.send(line(&last)).await;
    });
    let lines = futures::stream::unfold(lines, async |mut lines| {
        let line = lines.recv().await?;
        Some((Ok::<_, std::convert::Infallible>(line), lines))
    });
    let kind = (axum::http::header::CONTENT_TYPE, "application/x-ndjson");
    ([kind], Body::from_stream(lines)).into_response()
}

async fn run(
    node: Node,
    direction: Direction,
    local: DotName,
    request: Transfer,
    progress: Arc<Progress>,
) -> Result<TransferOutcome, NodeError> {
    let address: HubAddress = request
        .hub
        .address
        .parse()
        .map_err(|message: String| ErrorBody::new(ErrorCode::Invalid, message))?;
    let hub = HubClient::new(
        address,
        request.hub.user.clone(),
        request.hub.secret.clone(),
    )?;
    progress.start_phase("asking the hub");
    hub.version().await?;
    let job = Arc::new(Job {
        node,
        hub,
        local,
        request,
        progress,
    });
    match direction {
        Direction::Push => push::push(&job).await,
        Direction::Pull => pull::pull(&job).await,
        Direction::Clone => clone::clone(&job).await,
    }
}

/// Tells what changes until nobody listens.
async fn tell(events: &mpsc::Sender<Bytes>, progress: &Progress) {
    let mut told = None;
    while !events.is_closed() {
        let now = progress.snapshot();
        if told.as_ref() != Some(&now) {
            if events
                .send(line(&TransferEvent::Progress(now.clone())))
                .await
                .is_err()
            {
                return;
            }
            told = Some(now);
        }
        tokio::select! {
            () = events.closed() => return,
            () = tokio::time::sleep(TELL_INTERVAL) => {}
        }
    }
}

fn line(event: &TransferEvent) -> Bytes {
    let mut line = serde_json::to_vec(event).expect("events have only string keys");
    line.push(b'\n');
    line.into()
}
