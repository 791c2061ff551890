//! Finishes a push: it verifies everything first, and then makes the push visible in one transaction.

use dotmesh_api::hub::FinishUpload;
use dotmesh_api::identity::Meant;
use dotmesh_hub_db::DatabaseError;
use dotmesh_hub_db::commits::NewCommit;
use dotmesh_hub_db::finish::{DotState, RefUpdates, UploadState, VerifiedPush};
use dotmesh_hub_db::ids::UploadId;
use dotmesh_hub_db::objects::UploadScope;
use dotmesh_hub_model::access::Action;
use dotmesh_hub_model::limits::BRANCHES_PER_DOT;
use dotmesh_model::{DotIdentity, DotName, History};

use super::connectivity;
use crate::auth::Caller;
use crate::error::HubError;
use crate::state::Hub;
use crate::{chain, ref_updates};

/// How often the push is verified again if the dot changes in between.
const ATTEMPTS: usize = 5;

/// A request to finish an upload.
#[derive(Debug)]
pub struct Finish {
    pub caller: Caller,
    /// The dot's name, as the request gives it.
    pub dot: DotName,
    pub upload: UploadId,
    /// The SHA-256 of the request's body.
    pub digest: Vec<u8>,
    pub request: FinishUpload,
}

impl Finish {
    /// Returns the dot's identity if this same request has made the push visible before.
    fn done(&self, state: &DotState) -> Option<DotIdentity> {
        match &state.upload {
            UploadState::Finished(digest) if *digest == self.digest => state.facts.identity,
            _ => None,
        }
    }
}

/// The result of an attempt.
enum Outcome {
    /// The push is visible in this dot, by this request or by an equal one before.
    Done(DotIdentity),
    /// The dot has changed since the verification.
    Changed,
}

/// Makes a push visible and returns the dot's identity, or changes nothing. A repeated request gets the same answer.
pub async fn finish_upload(hub: &Hub, finish: &Finish) -> Result<DotIdentity, HubError> {
    let lock = hub.finishing(finish.upload);
    let _finishing = lock.lock().await;
    for _ in 0..ATTEMPTS {
        match attempt(hub, finish).await? {
            Outcome::Done(identity) => return Ok(identity),
            Outcome::Changed => {}
        }
    }
    Err(HubError::Busy {
        dot: finish.dot.clone(),
    })
}

async fn attempt(hub: &Hub, finish: &Finish) -> Result<Outcome, HubError> {
    let Finish {
        caller,
        dot,
        upload,
        digest,
        request,
    } = finish;
    let state = hub
        .database
        .dot_state(dot, caller.meant, caller.id, *upload)
        .await?;
    if let Some(identity) = finish.done(&state) {
        return Ok(Outcome::Done(identity));
    }
    let open = admit(finish, &state)?;
    let commits = chain::read(&request.commits)?;
    let known = match open.id {
        Some(id) => {
            let named = chain::named(&commits);
            hub.database.known_commits(id, &named).await?
        }
        None => Default::default(),
    };
    let commits = chain::verify(commits, &known)?;
    // Refuse impossible ref updates before the long connectivity check.
    plan(&state, &commits, finish)?;

    let mut walk = hub.database.begin_walk().await?;
    let scope = UploadScope {
        user: caller.id,
        reads_as: caller.reads_as(),
        owner: open.owner,
        dot: open.id,
        upload: *upload,
    };
    connectivity::check_connectivity(hub, &mut walk, scope, &commits).await?;

    let push = VerifiedPush {
        upload: *upload,
        digest,
        user: caller.id,
        user_name: &caller.name,
        owner: open.owner,
        dot: &open.name,
        meant: caller.meant,
        commits: &commits,
    };
    let quota = hub.settings.quota;
    let finished = hub
        .database
        .finish(&walk, &push, hub.clock.now(), quota, |now| {
            // Another process may have handled the same request.
            if let Some(identity) = finish.done(now) {
                return Err(Refusal::Needless(Outcome::Done(identity)));
            }
            let now_open = admit(finish, now)?;
            let same_dot = (now_open.id, now_open.owner) == (open.id, open.owner);
            let still_so = commits.iter().all(|commit| match commit.fills {
                true => now.without_data.contains(&commit.id),
                false => !now.history.contains(commit.id),
            });
            if !(same_dot && still_so) {
                return Err(Refusal::Needless(Outcome::Changed));
            }
            Ok(plan(now, &commits, finish)?)
        });
    let identity = match finished.await {
        Ok(Ok(identity)) => identity,
        Ok(Err(usage)) => return Err(HubError::over_quota(usage, open.owner == caller.id)),
        Err(Refusal::Needless(outcome)) => return Ok(outcome),
        // Objects in other dots on which the check relied were collected as garbage, so the check must run again.
        Err(Refusal::Error(HubError::Database(DatabaseError::Collected))) => {
            return Ok(Outcome::Changed);
        }
        Err(Refusal::Error(error)) => return Err(error),
    };
    hub.metrics.pushed();
    tracing::info!(dot = open.name.full(), user = %caller.name, commits = commits.len(), "pushed");
    if let Err(error) = hub.database.clear_upload(*upload).await {
        // The push is visible. The upload's remaining rows are removed when it expires.
        tracing::warn!(
            error = &error as &dyn std::error::Error,
            "an upload was not cleared"
        );
    }
    Ok(Outcome::Done(identity))
}

fn admit(finish: &Finish, state: &DotState) -> Result<crate::auth::OpenDot, HubError> {
    let open = finish
        .caller
        .admit(&finish.dot, &state.facts, Action::Push)?;
    if finish.caller.meant == Some(Meant::New) && open.id.is_some() {
        return Err(HubError::MadeMeanwhile { dot: open.name });
    }
    match state.upload {
        UploadState::Open => Ok(open),
        UploadState::Finished(_) | UploadState::Gone => Err(HubError::NoSuchUpload),
    }
}

fn plan(state: &DotState, commits: &[NewCommit], finish: &Finish) -> Result<RefUpdates, HubError> {
    let mut history: History = state.history.clone();
    let mut without_data = state.without_data.clone();
    for commit in commits {
        history.insert(commit.id, commit.parent);
        match commit.sealed.without_data {
            true => without_data.insert(commit.id),
            false => without_data.remove(&commit.id),
        };
    }
    let now = &state.facts.name;
    if finish.caller.meant.is_none() && *now != finish.dot {
        // The client may mean this dot or a new one. Only the history of its commits tells which.
        let is_related = |head| history.ancestry(head).any(|id| state.history.contains(id));
        let mut heads = finish.request.branches.iter().map(|update| update.new);
        if !heads.all(is_related) {
            return Err(HubError::Unrelated {
                dot: finish.dot.clone(),
                now: now.clone(),
            });
        }
    }
    let updates = ref_updates::plan(
        &state.heads,
        &state.protected,
        &history,
        &without_data,
        &finish.request.branches,
    )?;
    let new = updates
        .keys()
        .filter(|name| !state.heads.contains_key(*name));
    match new.count() {
        // An older hub may have accepted more branches. They can still be updated.
        0 => {}
        new => BRANCHES_PER_DOT.check(state.heads.len() + new)?,
    }
    Ok(updates)
}

/// Why the transaction was rolled back.
enum Refusal {
    Needless(Outcome),
    Error(HubError),
}

impl From<HubError> for Refusal {
    fn from(error: HubError) -> Self {
        Self::Error(error)
    }
}

impl From<DatabaseError> for Refusal {
    fn from(error: DatabaseError) -> Self {
        Self::Error(error.into())
    }
}
