//! Runs a push, pull, clone or fetch for a client, and tells it how far it is: one line of JSON an event.
//!
//! The transfer lives as long as the client listens.

use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::response::Response;
use dotmesh_api::node::{Fetch, HubLogin, Source, Transfer, TransferEvent, TransferOutcome};
use dotmesh_api::node_client::Direction;
use dotmesh_api::{ErrorBody, ErrorCode, HubAddress, HubClient};
use dotmesh_model::DotName;
use dotmesh_sync::{Progress, Rate};
use tokio::sync::mpsc;

use super::{clone, fetch, pull, push};
use crate::error::NodeError;
use crate::events::{self, line};
use crate::memory;
use crate::node::Node;

/// How often progress is told.
const TELL_INTERVAL: Duration = Duration::from_millis(150);

/// A hub, and how it is talked to on behalf of one client.
#[derive(Clone)]
pub(crate) struct Connection {
    pub(crate) node: Node,
    pub(crate) hub: HubClient,
    pub(crate) rate: Arc<Rate>,
    pub(crate) progress: Arc<Progress>,
}

/// What push, pull and clone work with.
pub(crate) struct Job {
    pub(crate) connection: Connection,
    /// The dot here.
    pub(crate) local: DotName,
    pub(crate) request: Transfer,
}

impl std::ops::Deref for Job {
    type Target = Connection;
    fn deref(&self) -> &Connection {
        &self.connection
    }
}

impl Connection {
    /// The hub, as errors call it.
    pub(crate) fn hub_name(&self) -> String {
        self.hub.address().to_string()
    }
}

impl Job {
    pub(crate) fn no_remote_dot(&self) -> NodeError {
        NodeError::NoRemoteDot {
            hub: self.hub_name(),
            dot: self.request.remote_dot.full(),
            user: self.hub.user().to_string(),
        }
    }

    /// Where what comes from here can be fetched later.
    pub(crate) fn source(&self) -> Source {
        Source {
            hub: self.hub_name(),
            dot: self.request.remote_dot.clone(),
        }
    }
}

/// What a client asks for.
pub(crate) enum Work {
    Transfer(Direction, Transfer),
    Fetch(Fetch),
}

impl Work {
    fn hub(&self) -> (&HubLogin, Option<NonZeroU64>) {
        match self {
            Self::Transfer(_, transfer) => (&transfer.hub, transfer.rate_limit),
            Self::Fetch(fetch) => (&fetch.hub, fetch.rate_limit),
        }
    }
}

/// Starts a transfer and answers with its events.
pub(crate) fn start(node: Node, local: DotName, work: Work) -> Response {
    let (events, lines) = mpsc::channel::<Bytes>(16);
    tokio::spawn(async move {
        let progress = Arc::new(Progress::default());
        let transfer = run(node, local, work, Arc::clone(&progress));
        let last = tokio::select! {
            result = transfer => Some(match result {
                Ok(mut outcome) => {
                    outcome.progress = progress.snapshot();
                    TransferEvent::Done(outcome)
                }
                Err(error) => TransferEvent::Failed(error.into()),
            }),
            // Dropping the transfer stops it; what was done already the next one finds.
            () = tell(&events, &progress) => None,
        };
        if let Some(last) = last {
            let _ = events.send(line(&last)).await;
        }
        drop(events);
        tokio::task::spawn_blocking(memory::give_back);
    });
    events::answer(lines)
}

async fn run(
    node: Node,
    local: DotName,
    work: Work,
    progress: Arc<Progress>,
) -> Result<TransferOutcome, NodeError> {
    let (login, limit) = work.hub();
    let address: HubAddress = login
        .address
        .parse()
        .map_err(|message: String| ErrorBody::new(ErrorCode::Invalid, message))?;
    let hub = HubClient::new(address, login.user.clone(), login.secret.clone())?;
    progress.start_phase("asking the hub");
    hub.version().await?;
    let connection = Connection {
        node,
        hub,
        rate: Arc::new(Rate::new(limit)),
        progress,
    };
    match work {
        Work::Fetch(request) => fetch::fetch(&connection, &local, &request).await,
        Work::Transfer(direction, request) => {
            let job = Arc::new(Job {
                connection,
                local,
                request,
            });
            match direction {
                Direction::Push => push::push(&job).await,
                Direction::Pull => pull::pull(&job).await,
                Direction::Clone => clone::clone(&job).await,
            }
        }
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
