//! The typed client of a hub.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use bytes::Bytes;
use dotmesh_model::{CommitId, DotName, ObjectHash, UserName};

use crate::client::{self, ClientError};
use crate::hub::{
    Access, CommitList, CurrentUser, FinishUpload, GrantAccess, HubDot, HubVersion,
    PROTOCOL_VERSION, Upload,
};

/// Where a hub is: `host`, `host:port`, or a URL with `http://` or `https://`.
///
/// Without a scheme it is HTTPS, except on the loopback interface: a key never crosses a network in clear
/// unless the user wrote `http://`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubAddress {
    url: String,
}

impl FromStr for HubAddress {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("'{text}' is not a hub's address: write HOST, HOST:PORT or a URL");
        let (scheme, authority) = match text.split_once("://") {
            Some((scheme @ ("http" | "https"), rest)) => (Some(scheme), rest),
            Some(_) => return Err(wrong()),
            None => (None, text),
        };
        let authority = authority.trim_end_matches('/');
        let allowed = |c: char| c.is_ascii_alphanumeric() || "-._:[]".contains(c);
        if authority.is_empty() || !authority.chars().all(allowed) {
            return Err(wrong());
        }
        let host = match authority.rsplit_once(':') {
            Some((host, port)) if !host.ends_with(':') && !port.ends_with(']') => {
                port.parse::<u16>().map_err(|_| {
                    format!(
                        "Please specify a port as an integer, e.g. user@host:8080, got '{port}'"
                    )
                })?;
                host
            }
            _ => authority,
        };
        let loopback = host == "localhost"
            || host
                .trim_matches(['[', ']'])
                .parse::<std::net::IpAddr>()
                .is_ok_and(|address| address.is_loopback());
        let scheme = scheme.unwrap_or(if loopback { "http" } else { "https" });
        Ok(Self {
            url: format!("{scheme}://{authority}"),
        })
    }
}

impl fmt::Display for HubAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url)
    }
}

/// How long a hub may be silent before it counts as gone,
const SILENCE: Duration = Duration::from_secs(60);

/// and while it looks through all that a push refers to.
const LONG_SILENCE: Duration = Duration::from_secs(15 * 60);

/// Calls a hub as one user.
#[derive(Clone)]
pub struct HubClient {
    http: reqwest::Client,
    /// For the one request that the hub may think about for long.
    patient: reqwest::Client,
    address: HubAddress,
    user: UserName,
    secret: String,
}

impl fmt::Debug for HubClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HubClient({}@{})", self.user, self.address)
    }
}

impl HubClient {
    /// A client that logs in with an API key or a password at each request.
    pub fn new(address: HubAddress, user: UserName, secret: String) -> Result<Self, ClientError> {
        let server = address.to_string();
        let client = |silence| {
            client::builder()
                .read_timeout(silence)
                // A redirect to another host would hand it the key.
                .redirect(reqwest::redirect::Policy::none())
                .build()
                .map_err(|source| client::unreachable(&server, source))
        };
        let (http, patient) = (client(SILENCE)?, client(LONG_SILENCE)?);
        Ok(Self {
            http,
            patient,
            address,
            user,
            secret,
        })
    }

    /// The user it logs in as.
    pub fn user(&self) -> &UserName {
        &self.user
    }

    /// The hub's address.
    pub fn address(&self) -> &HubAddress {
        &self.address
    }

    fn request(&self, method: reqwest::Method, path: &str) -> reqwest::RequestBuilder {
        self.request_by(&self.http, method, path)
    }

    fn request_by(
        &self,
        http: &reqwest::Client,
        method: reqwest::Method,
        path: &str,
    ) -> reqwest::RequestBuilder {
        let url = format!("{}/api/v{PROTOCOL_VERSION}/{path}", self.address);
        http.request(method, url)
            .basic_auth(&self.user, Some(&self.secret))
    }

    fn get(&self, path: &str) -> reqwest::RequestBuilder {
        self.request(reqwest::Method::GET, path)
    }

    fn post(&self, path: &str) -> reqwest::RequestBuilder {
        self.request(reqwest::Method::POST, path)
    }

    fn server(&self) -> String {
        self.address.to_string()
    }

    /// What answers there. Fails with [`ClientError::NotDotmesh`] when it is no hub, and with
    /// [`ClientError::OtherProtocol`] when it is one that this client cannot talk to.
    pub async fn version(&self) -> Result<HubVersion, ClientError> {
        let server = self.server();
        let version: HubVersion = client::json(&server, self.get("version")).await?;
        if version.server != "dothub" {
            let status = 200;
            return Err(ClientError::NotDotmesh { server, status });
        }
        if version.protocol != PROTOCOL_VERSION {
            let theirs = version.protocol;
            return Err(ClientError::OtherProtocol { server, theirs });
        }
        Ok(version)
    }

    /// Who the credentials belong to: how they are checked.
    pub async fn current_user(&self) -> Result<CurrentUser, ClientError> {
        client::json(&self.server(), self.get("user")).await
    }

    /// All dots that the user may read.
    pub async fn dots(&self) -> Result<Vec<HubDot>, ClientError> {
        client::json(&self.server(), self.get("dots")).await
    }

    /// One dot, or `None` when there is none that the user may read.
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
        client::send(&self.server(), request).await.map(drop)
    }

    /// Lets another user read or write a dot.
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
        client::send(&self.server(), request).await.map(drop)
    }

    /// Takes a user's access to a dot away.
    pub async fn revoke(&self, dot: &DotName, user: &UserName) -> Result<(), ClientError> {
        let path = format!("dots/{}/collaborators/{user}", dot.full());
        client::send(&self.server(), self.request(reqwest::Method::DELETE, &path))
            .await
            .map(drop)
    }

    /// A commit and its ancestors, newest first; `until` and what is before it are left out.
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

    /// The named objects of a dot, as a pack that holds them in the order asked for.
    ///
    /// The caller verifies them. At most [`crate::hub::MAX_HASHES`] at a time.
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

    /// Begins a push. Fails when the user may not write to the dot, or may not create it.
    pub async fn begin_upload(&self, dot: &DotName) -> Result<Upload, ClientError> {
        client::json(
            &self.server(),
            self.post(&format!("dots/{}/uploads", dot.full())),
        )
        .await
    }

    /// Which of these objects the hub needs to be sent, in the order asked.
    pub async fn missing(
        &self,
        dot: &DotName,
        upload: &Upload,
        hashes: &[ObjectHash],
    ) -> Result<Vec<ObjectHash>, ClientError> {
        let path = format!("dots/{}/uploads/{}/missing", dot.full(), upload.id);
        let body = client::bytes(&self.server(), self.post(&path).body(join(hashes))).await?;
        split(&body).ok_or(ClientError::NotDotmesh {
            server: self.server(),
            status: 200,
        })
    }

    /// Sends a pack; returns when the hub has verified it and put it in safety.
    pub async fn send_pack(
        &self,
        dot: &DotName,
        upload: &Upload,
        pack: Bytes,
    ) -> Result<(), ClientError> {
        let path = format!("dots/{}/uploads/{}/packs", dot.full(), upload.id);
        client::send(&self.server(), self.post(&path).body(pack))
            .await
            .map(drop)
    }

    /// Makes the push visible, all of it or nothing.
    pub async fn finish_upload(
        &self,
        dot: &DotName,
        upload: &Upload,
        finish: &FinishUpload,
    ) -> Result<(), ClientError> {
        let path = format!("dots/{}/uploads/{}/finish", dot.full(), upload.id);
        let request = self
            .request_by(&self.patient, reqwest::Method::POST, &path)
            .json(finish);
        client::send(&self.server(), request).await.map(drop)
    }
}

/// Hashes as they travel: one after the other, 32 bytes each.
pub fn join(hashes: &[ObjectHash]) -> Vec<u8> {
    hashes
        .iter()
        .flat_map(ObjectHash::as_bytes)
        .copied()
        .collect()
}

/// Reads what [`join`] wrote; `None` when the length is no multiple of 32.
pub fn split(bytes: &[u8]) -> Option<Vec<ObjectHash>> {
    let (hashes, rest) = bytes.as_chunks::<{ ObjectHash::LENGTH }>();
    rest.is_empty().then(|| {
        hashes
            .iter()
            .map(|hash| ObjectHash::from_bytes(*hash))
            .collect()
    })
}
