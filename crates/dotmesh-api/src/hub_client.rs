//! The typed client of a hub.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use dotmesh_model::{BranchName, CommitId, DotIdentity, DotName, ObjectHash, UserName};

use dotmesh_rows::model::DatabaseSummary;

use crate::bundle::Bundle;
use crate::client::{self, ClientError};
use crate::dots::{CreateTag, HubTag};
use crate::error::ErrorBody;
use crate::hub::{
    Access, CommitList, CurrentUser, FinishUpload, GrantAccess, HubDot, HubVersion, ResolvedRef,
    Upload, WithoutData,
};
use crate::hub_address::HubAddress;
use crate::hub_visitor::{self, HubVisitor};
use crate::identity::{IDENTITY_HEADER, Meant};
use crate::network::Network;
use crate::node::{HubAccount, HubReport};
use crate::page::Reference;

/// The time for which a hub may be silent during the connectivity check of a push.
const LONG_SILENCE: Duration = Duration::from_secs(15 * 60);

/// A client that calls a hub as one user, or without an account.
#[derive(Clone)]
pub struct HubClient {
    visitor: HubVisitor,
    /// The HTTP client for the one request that may take the hub long.
    patient: reqwest::Client,
    account: Option<HubAccount>,
    meant: Option<Meant>,
}

impl fmt::Debug for HubClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.account {
            Some(account) => write!(f, "HubClient({}@{})", account.user, self.address()),
            None => write!(f, "HubClient({})", self.address()),
        }
    }
}

impl HubClient {
    /// A client that logs in with an API key or a password at each request.
    pub fn new(address: HubAddress, user: UserName, secret: String) -> Result<Self, ClientError> {
        let account = HubAccount { user, secret };
        Self::through(&Network::default(), address, Some(account))
    }

    /// A client through a configured network. Without an account it can read public dots.
    pub fn through(
        network: &Network,
        address: HubAddress,
        account: Option<HubAccount>,
    ) -> Result<Self, ClientError> {
        let patient = hub_visitor::http(network, &address, LONG_SILENCE)?;
        Ok(Self {
            visitor: HubVisitor::through(network, address)?,
            patient,
            account,
            meant: None,
        })
    }

    /// A client whose requests are all about one dot. The hub refuses them if another dot has the name.
    #[must_use]
    pub fn about(&self, meant: Option<Meant>) -> Self {
        Self {
            meant,
            ..self.clone()
        }
    }

    /// The user it logs in as.
    pub fn user(&self) -> Option<&UserName> {
        self.account.as_ref().map(|account| &account.user)
    }

    /// The hub's address.
    pub fn address(&self) -> &HubAddress {
        self.visitor.address()
    }

    fn request(&self, method: reqwest::Method, path: &str) -> reqwest::RequestBuilder {
        self.complete(self.visitor.request(method, path))
    }

    /// Adds the headers of every request.
    fn complete(&self, request: reqwest::RequestBuilder) -> reqwest::RequestBuilder {
        let request = match &self.account {
            Some(account) => request.basic_auth(&account.user, Some(&account.secret)),
            None => request,
        };
        match self.meant {
            Some(meant) => request.header(IDENTITY_HEADER, meant.to_string()),
            None => request,
        }
    }

    fn get(&self, path: &str) -> reqwest::RequestBuilder {
        self.request(reqwest::Method::GET, path)
    }

    fn post(&self, path: &str) -> reqwest::RequestBuilder {
        self.request(reqwest::Method::POST, path)
    }

    fn server(&self) -> String {
        self.address().to_string()
    }

    /// The hub's version. Fails with [`ClientError::NotDotmesh`] if the server is no hub, and with
    /// [`ClientError::OtherProtocol`] if the hub speaks another version of the protocol.
    pub async fn version(&self) -> Result<HubVersion, ClientError> {
        self.visitor.version().await
    }

    /// Whether the hub can be used from here, for `dm doctor`.
    #[expect(
        clippy::disallowed_methods,
        reason = "it compares the clock of this machine with the hub's"
    )]
    pub async fn check(&self) -> HubReport {
        let version = self.version().await;
        let (mut refused, mut clock_ahead) = (None, None);
        if version.is_ok() {
            if self.account.is_some() {
                refused = self.current_user().await.err().map(ErrorBody::from);
            }
            let clock = self.visitor.clock().await.ok().flatten();
            clock_ahead = clock.map(|clock| seconds(clock) - seconds(SystemTime::now()));
        }
        HubReport {
            version: version
                .map(|version| version.version)
                .map_err(ErrorBody::from),
            refused,
            clock_ahead,
        }
    }

    /// The user of the credentials. This call checks them.
    pub async fn current_user(&self) -> Result<CurrentUser, ClientError> {
        client::json(&self.server(), self.get("user")).await
    }

    /// All dots that the user may read.
    pub async fn dots(&self) -> Result<Vec<HubDot>, ClientError> {
        client::json(&self.server(), self.get("dots")).await
    }

    /// One dot, or `None` if there is none that the user may read.
    pub async fn dot(&self, dot: &DotName) -> Result<Option<HubDot>, ClientError> {
        match client::json(&self.server(), self.get(&format!("dots/{}", dot.full()))).await {
            Ok(dot) => Ok(Some(dot)),
            Err(error) if error.code() == crate::ErrorCode::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Deletes a dot with all its branches and commits.
    pub async fn delete_dot(&self, dot: &DotName) -> Result<(), ClientError> {
        let request = self.request(reqwest::Method::DELETE, &format!("dots/{}", dot.full()));
        client::done(&self.server(), request).await.map(drop)
    }

    /// Gives another user access to a dot.
    pub async fn grant(
        &self,
        dot: &DotName,
        user: &UserName,
        access: Access,
    ) -> Result<(), ClientError> {
        let path = format!("dots/{}/collaborators/{user}", dot.full());
        let request = self
            .request(reqwest::Method::PUT, &path)
            .json(&GrantAccess { access });
        client::done(&self.server(), request).await.map(drop)
    }

    /// Removes a user's access to a dot.
    pub async fn revoke(&self, dot: &DotName, user: &UserName) -> Result<(), ClientError> {
        let path = format!("dots/{}/collaborators/{user}", dot.full());
        client::done(&self.server(), self.request(reqwest::Method::DELETE, &path))
            .await
            .map(drop)
    }

    /// A commit and its ancestors, newest first, without `until` and its ancestors.
    pub async fn commits(
        &self,
        dot: &DotName,
        head: CommitId,
        until: Option<CommitId>,
    ) -> Result<CommitList, ClientError> {
        let until = until.map_or_else(String::new, |until| format!("&until={until}"));
        let path = format!("dots/{}/commits?head={head}{until}", dot.full());
        client::json(&self.server(), self.get(&path)).await
    }

    /// Like [`Self::commits`], with a pack of the first objects that a client needs for the head. Only hubs that announce
    /// bundles have this route.
    pub async fn bundle(
        &self,
        dot: &DotName,
        head: CommitId,
        until: Option<CommitId>,
    ) -> Result<(CommitList, Bytes), ClientError> {
        let until = until.map_or_else(String::new, |until| format!("&until={until}"));
        let path = format!("dots/{}/bundle?head={head}{until}", dot.full());
        let body = client::bytes(&self.server(), self.get(&path)).await?;
        let read = Bundle::decode(&body).and_then(|Bundle { pack, json }| {
            let commits = serde_json::from_slice(&json).ok()?;
            Some((commits, pack))
        });
        read.ok_or_else(|| ClientError::NotDotmesh {
            server: self.server(),
            status: 200,
        })
    }

    /// The commits of a dot whose data the hub lacks. Only hubs that announce such commits have this route.
    pub async fn without_data(&self, dot: &DotName) -> Result<WithoutData, ClientError> {
        let path = format!("dots/{}/without-data", dot.full());
        client::json(&self.server(), self.get(&path)).await
    }

    /// What is in the databases of a commit. `None` if the hub has not been told.
    pub async fn databases(
        &self,
        dot: &DotName,
        commit: CommitId,
    ) -> Result<Option<DatabaseSummary>, ClientError> {
        let path = format!("dots/{}/commits/{commit}/databases", dot.full());
        match client::json(&self.server(), self.get(&path)).await {
            Ok(summary) => Ok(Some(summary)),
            Err(error) if error.code() == crate::ErrorCode::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Tells what is in the databases of a commit. Only hubs that announce database summaries have this route.
    pub async fn send_databases(
        &self,
        dot: &DotName,
        commit: CommitId,
        summary: &DatabaseSummary,
    ) -> Result<(), ClientError> {
        let path = format!("dots/{}/commits/{commit}/databases", dot.full());
        let request = self.request(reqwest::Method::PUT, &path).json(summary);
        client::done(&self.server(), request).await.map(drop)
    }

    /// The commit that an id, a branch, a tag or the first digits of an id name in a dot.
    pub async fn resolve(
        &self,
        dot: &DotName,
        reference: &Reference,
    ) -> Result<ResolvedRef, ClientError> {
        let path = format!("dots/{}/refs/{}", dot.full(), reference.spelling());
        client::json(&self.server(), self.get(&path)).await
    }

    /// The tags of a dot.
    pub async fn tags(&self, dot: &DotName) -> Result<Vec<HubTag>, ClientError> {
        let path = format!("dots/{}/tags", dot.full());
        let mut query = "limit=1000".to_owned();
        let mut tags = Vec::new();
        loop {
            let request = self.get(&format!("{path}?{query}"));
            let (page, next) = client::page(&self.server(), request).await?;
            tags.extend(page);
            match next {
                Some(next) => query = next,
                None => return Ok(tags),
            }
        }
    }

    /// Makes a tag. Fails if the name is taken.
    pub async fn create_tag(
        &self,
        dot: &DotName,
        name: &BranchName,
        tag: &CreateTag,
    ) -> Result<(), ClientError> {
        let path = format!("dots/{}/tags/{}", dot.full(), name.spelling());
        let request = self.request(reqwest::Method::PUT, &path).json(tag);
        client::created(&self.server(), request).await
    }

    /// Objects of a dot, in a pack with the requested order.
    ///
    /// The caller must verify them. The limit is [`crate::hub::MAX_HASHES`] per request.
    pub async fn objects(
        &self,
        dot: &DotName,
        hashes: &[ObjectHash],
    ) -> Result<Bytes, ClientError> {
        let request = self
            .post(&format!("dots/{}/objects", dot.full()))
            .body(join(hashes));
        client::bytes(&self.server(), request).await
    }

    /// Begins a push. Fails if the user may not write to the dot, or may not create it.
    pub async fn begin_upload(&self, dot: &DotName) -> Result<Upload, ClientError> {
        client::json(
            &self.server(),
            self.post(&format!("dots/{}/uploads", dot.full())),
        )
        .await
    }

    /// The objects that the hub needs, in the order of `hashes`.
    pub async fn missing(
        &self,
        dot: &DotName,
        upload: &Upload,
        hashes: &[ObjectHash],
    ) -> Result<Vec<ObjectHash>, ClientError> {
        let path = format!("dots/{}/uploads/{}/missing", dot.full(), upload.id);
        let body = client::bytes(&self.server(), self.post(&path).body(join(hashes))).await?;
        // Any other answer would make the client leave out objects that the hub lacks.
        let missing = split(&body).filter(|missing| are_among(missing, hashes));
        missing.ok_or_else(|| ClientError::NotDotmesh {
            server: self.server(),
            status: 200,
        })
    }

    /// Sends a pack. Returns once the hub has verified it and stored it durably.
    pub async fn send_pack(
        &self,
        dot: &DotName,
        upload: &Upload,
        pack: Bytes,
    ) -> Result<(), ClientError> {
        let path = format!("dots/{}/uploads/{}/packs", dot.full(), upload.id);
        client::done(&self.server(), self.post(&path).body(pack))
            .await
            .map(drop)
    }

    /// Makes the whole push visible at once. Returns the identity of the dot, which earlier hubs do not send.
    pub async fn finish_upload(
        &self,
        dot: &DotName,
        upload: &Upload,
        finish: &FinishUpload,
    ) -> Result<Option<DotIdentity>, ClientError> {
        let path = format!("dots/{}/uploads/{}/finish", dot.full(), upload.id);
        let request = hub_visitor::url(self.address(), &path);
        let request = self.complete(self.patient.post(request)).json(finish);
        let headers = client::done(&self.server(), request).await?;
        Ok(identity_in(&headers))
    }

    /// Makes a whole push in one request, whose bundle has a pack and a [`FinishUpload`]. The caller chooses the id of the
    /// upload at random. Only hubs that announce bundles have this route.
    pub async fn push_bundle(
        &self,
        dot: &DotName,
        upload: &Upload,
        bundle: Bytes,
    ) -> Result<Option<DotIdentity>, ClientError> {
        let path = format!("dots/{}/uploads/{}", dot.full(), upload.id);
        let request = self.request(reqwest::Method::PUT, &path).body(bundle);
        let headers = client::done(&self.server(), request).await?;
        Ok(identity_in(&headers))
    }
}

fn identity_in(headers: &reqwest::header::HeaderMap) -> Option<DotIdentity> {
    headers.get(IDENTITY_HEADER)?.to_str().ok()?.parse().ok()
}

/// Hashes as they are sent: 32 bytes each, without separators.
pub fn join(hashes: &[ObjectHash]) -> Vec<u8> {
    hashes
        .iter()
        .flat_map(ObjectHash::as_bytes)
        .copied()
        .collect()
}

/// Reads the output of [`join`]. `None` if the length is no multiple of 32.
pub fn split(bytes: &[u8]) -> Option<Vec<ObjectHash>> {
    let (hashes, rest) = bytes.as_chunks::<{ ObjectHash::LENGTH }>();
    rest.is_empty().then(|| {
        hashes
            .iter()
            .map(|hash| ObjectHash::from_bytes(*hash))
            .collect()
    })
}

/// Whether `some` is a subsequence of `all`.
fn are_among(some: &[ObjectHash], all: &[ObjectHash]) -> bool {
    let mut all = all.iter();
    some.iter().all(|one| all.any(|other| other == one))
}

fn seconds(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}
