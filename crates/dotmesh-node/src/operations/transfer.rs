//! Runs a push, pull, clone or fetch for a client, and streams its progress as one line of JSON per event.
//!
//! The transfer goes on when the client disconnects, and others can attach to it (`running.rs`).

use std::collections::HashSet;
use std::convert::Infallible;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use axum::response::Response;
use dotmesh_api::bundle::MAX_BUNDLE_LENGTH;
use dotmesh_api::hub::CommitList;
use dotmesh_api::node::{Fetch, HubLogin, OperationKind, Transfer, TransferEvent, TransferOutcome};
use dotmesh_api::node_client::Direction;
use dotmesh_api::{ErrorBody, ErrorCode, HubAddress, HubClient};
use dotmesh_model::{CommitId, DotName};
use dotmesh_sync::{EarlyObjects, MaterialiseError, Progress, Rate, greet, retry};

use super::transfer_tags::transfer_tags;
use super::{clone, fetch, fetch_branches, pull, push, tag};
use crate::error::NodeError;
use crate::events::line;
use crate::memory;
use crate::node::Node;
use crate::running::Operator;

/// The interval of progress events.
const TELL_INTERVAL: Duration = Duration::from_millis(150);

/// The connection to a hub on behalf of one client.
#[derive(Clone)]
pub(crate) struct Connection {
    pub(crate) node: Node,
    pub(crate) hub: HubClient,
    pub(crate) rate: Arc<Rate>,
    pub(crate) progress: Arc<Progress>,
    /// Whether the hub supports commits without data.
    pub(crate) takes_without_data: bool,
    /// Whether the hub knows bundles.
    pub(crate) bundles: bool,
    /// Whether the hub stores database summaries.
    pub(crate) takes_databases: bool,
}

/// The parameters of a push, pull or clone.
pub(crate) struct Job {
    pub(crate) connection: Connection,
    /// The local dot.
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
    /// The hub's name in errors.
    pub(crate) fn hub_name(&self) -> String {
        self.hub.address().to_string()
    }

    /// A commit of the hub and its ancestors, newest first, without `until` and its ancestors.
    pub(crate) async fn hub_commits(
        &self,
        dot: &DotName,
        head: CommitId,
        until: Option<CommitId>,
    ) -> Result<CommitList, NodeError> {
        let step = "read the dot's history";
        let list = retry(&self.progress, step, || self.hub.commits(dot, head, until));
        Ok(list.await?)
    }

    /// Like [`Self::hub_commits`], and adds the first objects of the head to `early`, if there is room for more.
    pub(crate) async fn hub_line(
        &self,
        dot: &DotName,
        head: CommitId,
        until: Option<CommitId>,
        early: &mut EarlyObjects,
    ) -> Result<CommitList, NodeError> {
        // Below a limit of the rate, objects come in smaller parts.
        let is_room = early.len() + self.rate.step(MAX_BUNDLE_LENGTH) >= MAX_BUNDLE_LENGTH;
        if !(self.bundles && is_room) {
            return self.hub_commits(dot, head, until).await;
        }
        let step = "read the dot's history";
        let bundle = retry(&self.progress, step, || self.hub.bundle(dot, head, until));
        let (commits, pack) = bundle.await?;
        self.progress.add_wire(pack.len() as u64);
        self.rate.spend(pack.len()).await;
        early.add(pack).map_err(MaterialiseError::from)?;
        Ok(commits)
    }

    /// The commits of a dot whose data the hub lacks.
    pub(crate) async fn without_data(&self, dot: &DotName) -> Result<HashSet<CommitId>, NodeError> {
        if !self.takes_without_data {
            return Ok(HashSet::new());
        }
        let step = "ask the hub which data it lacks";
        let list = retry(&self.progress, step, || self.hub.without_data(dot));
        Ok(list.await?.commits.into_iter().collect())
    }
}

impl Job {
    pub(crate) fn no_remote_dot(&self) -> NodeError {
        NodeError::NoRemoteDot {
            hub: self.hub_name(),
            dot: self.request.remote_dot.full(),
            user: self.hub.user().cloned(),
        }
    }

    /// The error that the name on the hub doesn't belong to the linked dot, or no longer does. `now` is the present
    /// name of the linked dot.
    pub(crate) fn another_dot(&self, now: Option<DotName>) -> NodeError {
        NodeError::AnotherDot {
            hub: self.hub_name(),
            dot: self.request.remote_dot.full(),
            local: self.local.clone(),
            now: now.map(Box::new),
        }
    }
}

/// A client's request.
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

    fn kind(&self) -> OperationKind {
        match self {
            Self::Transfer(Direction::Push, _) => OperationKind::Push,
            Self::Transfer(Direction::Pull, _) => OperationKind::Pull,
            Self::Transfer(Direction::Clone, _) => OperationKind::Clone,
            Self::Transfer(Direction::Fetch, _) => OperationKind::FetchBranches,
            Self::Fetch(_) => OperationKind::Fetch,
        }
    }

    /// What two pushes have in common if they would send the same. What a hub sends can change meanwhile, so others have no
    /// key.
    async fn key(&self, node: &Node, local: &DotName) -> Result<Option<Vec<u8>>, NodeError> {
        let Self::Transfer(Direction::Push, transfer) = self else {
            return Ok(None);
        };
        let Some(dot) = node.registry.find_dot(local).await? else {
            return Ok(None);
        };
        let tags = tag::commits(node, local).await?;
        let key = (&dot.id, dot.heads(), tags, transfer);
        Ok(serde_json::to_vec(&key).ok())
    }
}

/// Starts a transfer, and responds with its events. A push that is the same as a running one attaches to that.
pub(crate) async fn start(node: Node, local: DotName, work: Work) -> Result<Response, NodeError> {
    let kind = work.kind();
    let (operator, attached) = match work.key(&node, &local).await? {
        Some(key) => node.running.begin_or_attach(kind, &local, key),
        None => {
            let (operator, attached) = node.running.begin(kind, &local);
            (Some(operator), attached)
        }
    };
    let Some(operator) = operator else {
        return Ok(attached.answer());
    };
    tokio::spawn(async move {
        let progress = Arc::new(Progress::default());
        let transfer = run(node, local, work, Arc::clone(&progress));
        let last = tokio::select! {
            result = transfer => match result {
                Ok(mut outcome) => {
                    outcome.progress = progress.snapshot();
                    TransferEvent::Done(Box::new(outcome))
                }
                Err(error) => TransferEvent::Failed(error.into()),
            },
            never = tell(&operator, &progress) => match never {},
            // Dropping the transfer stops it. The next one finds what was done.
            () = operator.stopped() => {
                let message = "the transfer was stopped";
                let hint = "What was transferred stays for the next attempt.";
                TransferEvent::Failed(ErrorBody::new(ErrorCode::Cancelled, message).hint(hint))
            }
        };
        operator.finish(line(&last));
        tokio::task::spawn_blocking(memory::give_back);
    });
    Ok(attached.answer())
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
    let hub = HubClient::through(&node.network, address, login.account.clone())?;
    progress.start_phase("asking the hub");
    let version = greet(&hub, &progress).await?;
    let connection = Connection {
        node,
        hub,
        rate: Arc::new(Rate::new(limit)),
        progress,
        takes_without_data: version.commits_without_data,
        bundles: version.bundles,
        takes_databases: version.databases,
    };
    match work {
        Work::Fetch(request) => fetch::fetch(&connection, &local, &request).await,
        Work::Transfer(direction, request) => {
            let job = Arc::new(Job {
                connection,
                local,
                request,
            });
            let mut outcome = match direction {
                Direction::Push => push::push(&job).await,
                Direction::Pull => pull::pull(&job).await,
                Direction::Clone => clone::clone(&job).await,
                Direction::Fetch => fetch_branches::fetch_branches(&job).await,
            }?;
            outcome.tags = transfer_tags(&job, direction, &outcome).await;
            Ok(outcome)
        }
    }
}

/// Tells changes of the progress, without an end.
async fn tell(operator: &Operator, progress: &Progress) -> Infallible {
    let mut told = None;
    loop {
        let now = progress.snapshot();
        if told.as_ref() != Some(&now) {
            operator.tell(line(&TransferEvent::Progress(now.clone())));
            told = Some(now);
        }
        tokio::time::sleep(TELL_INTERVAL).await;
    }
}
