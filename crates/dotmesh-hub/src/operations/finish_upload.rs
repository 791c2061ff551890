//! Finishing a push: everything is verified first, then made visible in one transaction.

use dotmesh_api::hub::FinishUpload;
use dotmesh_api::identity::Meant;
use dotmesh_model::{DotIdentity, DotName, History};

use super::{chain, connectivity, ref_updates};
use crate::access::Action;
use crate::auth::Caller;
use crate::clock;
use crate::database::DatabaseError;
use crate::database::commits::NewCommit;
use crate::database::finish::{DotState, RefUpdates, UploadState, VerifiedPush};
use crate::database::ids::UploadId;
use crate::database::objects::Scope;
use crate::error::HubError;
use crate::limits::BRANCHES_PER_DOT;
use crate::state::Hub;

/// How often to verify anew when the dot changes meanwhile.
const ATTEMPTS: usize = 5;

/// A request to finish.
#[derive(Debug)]
pub struct Finish {
    /// Who pushes.
    pub caller: Caller,
    /// Where to, as the request names it.
    pub dot: DotName,
    /// The upload.
    pub upload: UploadId,
    /// SHA-256 of the request as it came.
    pub digest: Vec<u8>,
    /// The request.
    pub request: FinishUpload,
}

impl Finish {
    /// The dot in which this very request has made the push visible before.
    fn done(&self, state: &DotState) -> Option<DotIdentity> {
        match &state.upload {
            UploadState::Finished(digest) if *digest == self.digest => state.facts.identity,
            _ => None,
        }
    }
}

/// What a finishing transaction answers.
enum Outcome {
    /// Done, now or by the same request before, in this dot.
    Done(DotIdentity),
    /// The dot is no longer what was verified against.
    Changed,
}

/// Makes a push visible, and says which dot it went to; or leaves everything as it was. The same request again gets the
/// same answer.
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
    // What cannot be moved is better said before the long walk than after it.
    plan(&state, &commits, finish)?;

    let mut walk = hub.database.begin_walk().await?;
    let scope = Scope {
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
        .finish(&walk, &push, clock::now(), quota, |now| {
            // The same request may have come to another process, too.
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
        // What the walk found in other dots went with them: it has to be walked again.
        Err(Refusal::Error(HubError::Database(DatabaseError::Collected))) => {
            return Ok(Outcome::Changed);
        }
        Err(Refusal::Error(error)) => return Err(error),
    };
    hub.metrics.pushed();
    tracing::info!(dot = open.name.full(), user = %caller.name, commits = commits.len(), "pushed");
    if let Err(error) = hub.database.clear_upload(*upload).await {
        // The push is visible; what remains goes when the upload expires.
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
        // The client may mean this dot or a new one, and its commits are all that tells.
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
        // A dot of an older hub may have more: its branches go on.
        0 => {}
        new => BRANCHES_PER_DOT.check(state.heads.len() + new)?,
    }
    Ok(updates)
}

/// Why the transaction was not carried through.
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
