//! Tells hubs what is in the databases of pushed commits, after the push: one commit at a time, the newest first.
//!
//! The commits wait in the registry, so a restart of the daemon loses none. Nothing else on the machine waits for them.

use std::time::Duration;

use dotmesh_api::identity::Meant;
use dotmesh_api::node::{HubLogin, RowsOutcome, Source, TransferOutcome};
use dotmesh_api::{ErrorBody, ErrorCode, HubAddress, HubClient};
use dotmesh_model::CommitId;

use super::rows::{Rooms, summary};
use super::transfer::Job;
use crate::error::NodeError;
use crate::hub_history::HubHistory;
use crate::node::{Node, now};
use crate::registry::{Dot, Registry, WaitingSummary};

/// The most commits of a dot that wait, or that `dm status` shows as given up.
pub(crate) const MOST_WAITING: usize = 50;

/// How long an attempt takes at most.
const LIMIT: Duration = Duration::from_secs(600);

/// The waits after failed attempts, in seconds. After one more, the commit is given up.
const WAITS: [i64; 5] = [60, 300, 1800, 7200, 28_800];

/// How long to wait after a failure of the registry.
const PAUSE: Duration = Duration::from_secs(60);

/// Writes down that a hub is to be told of the commits of a push, if the push asked for that. `None` if it did not.
pub(crate) async fn add(
    job: &Job,
    dot: &Dot,
    commits: Vec<CommitId>,
    pushed: &TransferOutcome,
) -> Option<RowsOutcome> {
    let asked = job.request.rows?;
    let what = match pushed.to_public {
        true => asked.public,
        false => asked.private,
    };
    let there = Source {
        hub: job.hub_name(),
        dot: pushed
            .renamed
            .as_ref()
            .unwrap_or(&job.request.remote_dot)
            .clone(),
    };
    let place = (dot.id.as_str(), &there);
    let added = async {
        if !job.takes_databases {
            let message = "the hub is older than database summaries";
            return Err(ErrorBody::new(ErrorCode::NotFound, message).into());
        }
        let registry = &job.node.registry;
        let commits = newest_last(registry, &dot.id, commits).await?;
        let now = now().as_second();
        let (login, limits) = (&job.request.hub, (now, MOST_WAITING));
        registry
            .add_summaries(place, &commits, (login, what), limits)
            .await?;
        job.node.summaries.notify_one();
        Ok::<_, NodeError>(commits.len() as u64)
    };
    let (commits, failed) = match added.await {
        Ok(commits) => (commits, None),
        Err(error) => (0, Some(error.into())),
    };
    Some(RowsOutcome {
        what,
        commits,
        failed,
    })
}

/// The newest commits, as many as can wait.
async fn newest_last(
    registry: &Registry,
    dot: &str,
    commits: Vec<CommitId>,
) -> Result<Vec<CommitId>, NodeError> {
    let mut dated = Vec::with_capacity(commits.len());
    for commit in commits {
        let record = registry.decoded(dot, commit).await?;
        dated.push((record.time, dated.len(), commit));
    }
    // Of commits of one time, the earlier one in the list is the newer one.
    dated.sort_by_key(|(time, place, _)| (*time, std::cmp::Reverse(*place)));
    let mut commits: Vec<CommitId> = dated.into_iter().map(|(_, _, commit)| commit).collect();
    commits.dedup();
    commits.drain(..commits.len().saturating_sub(MOST_WAITING));
    Ok(commits)
}

/// Reads databases and sends summaries until the daemon ends.
pub(crate) async fn send_all(node: Node) {
    let node = Node {
        rooms: Rooms::in_background(),
        ..node
    };
    loop {
        let time = now().as_second();
        let wait = match node.registry.next_summary(time).await {
            Ok(Some(one)) if one.due <= time => match try_one(&node, &one).await {
                Ok(()) => continue,
                Err(error) => {
                    tracing::warn!(%error, "cannot write down what became of a database summary");
                    PAUSE
                }
            },
            Ok(Some(one)) => Duration::from_secs((one.due - time).unsigned_abs()),
            Ok(None) => Duration::MAX,
            Err(error) => {
                tracing::warn!(%error, "cannot look for databases to read");
                PAUSE
            }
        };
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = node.summaries.notified() => {}
        }
    }
}

/// Makes an attempt, and writes down what became of it.
async fn try_one(node: &Node, one: &WaitingSummary) -> Result<(), NodeError> {
    let tried = match tokio::time::timeout(LIMIT, send(node, one)).await {
        Ok(tried) => tried,
        Err(_) => Err(Failure::Passing(format!(
            "reading the databases took longer than {} minutes",
            LIMIT.as_secs() / 60
        ))),
    };
    let (why, wait) = match tried {
        Ok(()) => return node.registry.end_summary(one.number).await,
        Err(Failure::Passing(why)) => (why, WAITS.get(one.tries)),
        Err(Failure::Lasting(why)) => (why, None),
    };
    let commit = one.commit.short();
    let again = wait.is_some();
    tracing::info!(%commit, %why, again, "a hub was not told of the databases of a commit");
    let due = wait.map(|wait| now().as_second() + wait);
    node.registry.fail_summary(one.number, &why, due).await
}

/// Why an attempt failed.
enum Failure {
    /// Another attempt may succeed.
    Passing(String),
    /// It fails until the user changes something.
    Lasting(String),
}

impl Failure {
    /// What a hub's answer means.
    fn of_hub(error: impl Into<NodeError>) -> Self {
        let body = ErrorBody::from(error.into());
        match body.code {
            ErrorCode::Unreachable
            | ErrorCode::TooMany
            | ErrorCode::NoSpace
            | ErrorCode::Internal
            | ErrorCode::Unknown => Self::Passing(body.message),
            _ => Self::Lasting(body.message),
        }
    }
}

/// Reads the databases of a commit, and tells the hub.
async fn send(node: &Node, one: &WaitingSummary) -> Result<(), Failure> {
    let internal = |error: NodeError| Failure::Passing(error.to_string());
    let dots = node.registry.dots().await.map_err(internal)?;
    // A deleted dot has no databases.
    let Some(dot) = dots.into_iter().find(|dot| dot.id == one.dot) else {
        return Ok(());
    };
    let told = HubHistory::load(node, &dot.name).await.map_err(internal)?;
    let identity = told.identity(&one.there.hub, &one.there.dot);
    let hub = client(node, &one.login).map_err(|error| Failure::Lasting(error.message))?;
    let hub = hub.about(identity.map(Meant::Known));
    let known = hub.databases(&one.there.dot, one.commit).await;
    if known.map_err(Failure::of_hub)?.is_some() {
        return Ok(());
    }
    let read = summary::summarise(node, &dot.name, one.commit, one.what).await;
    let Some(summary) = read.map_err(|error| Failure::Passing(error.message))? else {
        return Ok(());
    };
    match hub
        .send_databases(&one.there.dot, one.commit, &summary)
        .await
    {
        // Another node was faster, or a lost answer said that it is stored.
        Err(error) if error.code() == ErrorCode::Exists => Ok(()),
        sent => sent.map_err(Failure::of_hub),
    }
}

fn client(node: &Node, login: &HubLogin) -> Result<HubClient, ErrorBody> {
    let address: Result<HubAddress, String> = login.address.parse();
    let address = address.map_err(|message| ErrorBody::new(ErrorCode::Invalid, message))?;
    let client = HubClient::through(&node.network, address, login.account.clone());
    client.map_err(|error| NodeError::from(error).into())
}
