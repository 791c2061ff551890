//! Who calls: two extractors. A route that takes a [`Caller`] is for logged-in users only, one that takes a
//! [`Viewer`] for everybody.

mod open_dot;

use std::sync::Arc;
use std::time::Instant;

use axum::extract::{FromRequestParts, MatchedPath};
use axum::http::header::{AUTHORIZATION, COOKIE};
use axum::http::request::Parts;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dotmesh_api::identity::{IDENTITY_HEADER, Meant};
use dotmesh_model::UserName;
use jiff::Timestamp;
use url::Url;

pub use self::open_dot::OpenDot;
use crate::access::Scope;
use crate::audit;
use crate::clock;
use crate::credentials::{HashedPassword, InvalidPassword, KeyDigest, MAX_SECRET_LENGTH, Secret};
use crate::database::access_log::Act;
use crate::database::attempts::Guesses;
use crate::database::ids::UserId;
use crate::database::keys::{KeyUser, OnlyDot};
use crate::error::HubError;
use crate::extract::ClientAddress;
use crate::gate::Share;
use crate::rate_limit::Subject;
use crate::settings::Settings;
use crate::state::Hub;

/// The longest `Authorization` header that is looked at.
const MAX_HEADER_LENGTH: usize = 4 * MAX_SECRET_LENGTH;

/// The session's cookie. Over TLS it has the prefix `__Host-`, which browsers take from no other host.
const SESSION_COOKIE: &str = "dothub_session";

/// The same over TLS.
const SECURE_SESSION_COOKIE: &str = "__Host-dothub_session";

/// A logged-in user.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The account.
    pub id: UserId,
    /// Its name.
    pub name: UserName,
    /// Whether it is an administrator's.
    pub is_admin: bool,
    /// What the credentials are good for.
    pub scope: Scope,
    /// The only dot that they work for.
    pub only: Option<OnlyDot>,
    /// The dot that the request is about, whatever it is called.
    pub meant: Option<Meant>,
    /// How they showed who they are.
    pub credential: Credential,
    /// Where the request came from.
    pub address: ClientAddress,
}

/// How someone showed who they are: an answer that goes on for long looks at it again.
#[derive(Debug, Clone)]
pub enum Credential {
    /// By a session.
    Session(KeyDigest),
    /// By an API key.
    Key(KeyDigest),
    /// By the account's password.
    Password,
}

/// Someone, logged in or not.
#[derive(Debug, Clone)]
pub struct Viewer {
    /// Who, if they are logged in.
    pub caller: Option<Caller>,
    /// The dot that the request is about, whatever it is called.
    pub meant: Option<Meant>,
    /// Whose share of the hub's work it takes.
    pub subject: Subject,
}

impl FromRequestParts<Hub> for Caller {
    type Rejection = HubError;

    async fn from_request_parts(parts: &mut Parts, hub: &Hub) -> Result<Self, HubError> {
        let viewer = Viewer::from_request_parts(parts, hub).await?;
        viewer.caller.ok_or(HubError::LoginNeeded)
    }
}

impl FromRequestParts<Hub> for Viewer {
    type Rejection = HubError;

    async fn from_request_parts(parts: &mut Parts, hub: &Hub) -> Result<Self, HubError> {
        let (caller, subject) = authenticate(parts, hub).await?;
        let meant = meant(parts)?;
        Ok(Self {
            caller: caller.map(|caller| Caller { meant, ..caller }),
            meant,
            subject,
        })
    }
}

/// Which dot the request says that it is about.
fn meant(parts: &Parts) -> Result<Option<Meant>, HubError> {
    let Some(header) = parts.headers.get(IDENTITY_HEADER) else {
        return Ok(None);
    };
    let meant = header.to_str().ok().and_then(|text| text.parse().ok());
    meant.map(Some).ok_or_else(|| {
        HubError::malformed(format!(
            "the header {IDENTITY_HEADER} must be the identity of a dot, or 'new'"
        ))
    })
}

/// Who calls, by key, password or session, and whose share that is. Wrong credentials are an error, an ended session is none.
async fn authenticate(parts: &Parts, hub: &Hub) -> Result<(Option<Caller>, Subject), HubError> {
    let address = ClientAddress::of(parts, &hub.settings);
    let caller = identify(parts, hub, &address).await;
    let caller = caller.and_then(|caller| match caller {
        Some(Caller {
            only: Some(OnlyDot { name, .. }),
            ..
        }) if !is_of_one_dot(parts) => Err(HubError::KeyOfAnotherDot { dot: name }),
        caller => Ok(caller),
    });
    let subject = match &caller {
        Ok(Some(caller)) => Subject::User(caller.id),
        Ok(None) | Err(_) => address.subject(),
    };
    if let Some(limit) = &hub.rate_limit {
        let taken = limit.take(subject.clone(), Instant::now());
        taken.map_err(|retry_after| HubError::TooFast { retry_after })?;
    }
    Ok((caller?, subject))
}

/// Whether a request is about a dot that its path names, which is opened by [`Viewer::admit`]. `dm login` asks whose a key is.
fn is_of_one_dot(parts: &Parts) -> bool {
    let route = parts.extensions.get::<MatchedPath>();
    let route = route.map_or("", MatchedPath::as_str);
    route == "/api/v1/user"
        || ["/api/v1/dots/{namespace}/{dot}", "/{namespace}/{dot}"]
            .iter()
            .any(|prefix| route.starts_with(prefix))
}

async fn identify(
    parts: &Parts,
    hub: &Hub,
    address: &ClientAddress,
) -> Result<Option<Caller>, HubError> {
    if let Some(header) = parts.headers.get(AUTHORIZATION) {
        let credentials = header
            .to_str()
            .ok()
            .filter(|text| text.len() <= MAX_HEADER_LENGTH)
            .and_then(parse_credentials)
            .ok_or(HubError::LoginWrong)?;
        return match credentials {
            Credentials::Bearer(digest) => by_key(hub, &digest, None, address).await,
            Credentials::Basic(name, Secret::Key(digest)) => {
                by_key(hub, &digest, Some(name), address).await
            }
            Credentials::Basic(name, Secret::Password(password)) => {
                let caller = by_password(hub, &name, password, address).await?;
                if caller.is_some() {
                    let name = name.as_str();
                    audit::credential_used(hub, Act::Password, name, address, "").await?;
                }
                Ok(caller)
            }
        }?
        .map(Some)
        .ok_or(HubError::LoginWrong);
    }
    let Some(digest) = session_digest(parts, &hub.settings) else {
        return Ok(None);
    };
    let session = hub.database.session(&digest, clock::now()).await?;
    Ok(session.map(|user| Caller {
        id: user.id,
        name: user.name,
        is_admin: user.is_admin,
        scope: Scope::Admin,
        only: None,
        meant: None,
        credential: Credential::Session(digest),
        address: *address,
    }))
}

/// Whose share of reading a request takes, before it is let in. Passwords are not looked at for that.
pub async fn subject(parts: &Parts, hub: &Hub) -> Subject {
    let address = ClientAddress::of(parts, &hub.settings);
    let header = parts.headers.get(AUTHORIZATION);
    let header = header.map(|header| header.to_str().ok().and_then(parse_credentials));
    let caller = match header {
        Some(Some(Credentials::Bearer(_))) | None => identify(parts, hub, &address).await,
        _ => Ok(None),
    };
    match caller {
        Ok(Some(caller)) => Subject::User(caller.id),
        // Why not is said by whoever needs to know.
        Ok(None) | Err(_) => address.subject(),
    }
}

/// The session that a browser sends, which may have ended.
#[derive(Debug, Clone)]
pub struct PresentSession(pub Option<KeyDigest>);

impl FromRequestParts<Hub> for PresentSession {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, hub: &Hub) -> Result<Self, Self::Rejection> {
        Ok(Self(session_digest(parts, &hub.settings)))
    }
}

/// The name of the session's cookie. The other one is not looked at: over TLS it could be another host's doing.
pub fn session_cookie(settings: &Settings) -> &'static str {
    if settings.is_secure() {
        SECURE_SESSION_COOKIE
    } else {
        SESSION_COOKIE
    }
}

fn session_digest(parts: &Parts, settings: &Settings) -> Option<KeyDigest> {
    let cookies = parts.headers.get_all(COOKIE);
    cookies
        .iter()
        .filter_map(|header| header.to_str().ok())
        .flat_map(|header| header.split("; "))
        .filter_map(|cookie| cookie.split_once('='))
        .find(|(name, _)| *name == session_cookie(settings))
        .map(|(_, token)| KeyDigest::of(token))
}

/// What an `Authorization` header says.
#[derive(Debug)]
enum Credentials {
    Bearer(KeyDigest),
    Basic(UserName, Secret),
}

/// `Bearer KEY`, or `Basic base64(user:secret)`, whose secret may contain colons.
fn parse_credentials(header: &str) -> Option<Credentials> {
    let (scheme, rest) = header.split_once(' ')?;
    let rest = rest.trim();
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(Credentials::Bearer(KeyDigest::of(rest)));
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let text = String::from_utf8(STANDARD.decode(rest).ok()?).ok()?;
    let (name, secret) = text.split_once(':')?;
    if secret.len() > MAX_SECRET_LENGTH {
        return None;
    }
    Some(Credentials::Basic(name.parse().ok()?, Secret::new(secret)))
}

/// Who calls with this key, if it is one; `name` is whom it has to belong to, if anyone is named.
async fn by_key(
    hub: &Hub,
    digest: &KeyDigest,
    name: Option<UserName>,
    address: &ClientAddress,
) -> Result<Option<Caller>, HubError> {
    let user = key_user(hub, digest).await?;
    let user = user.filter(|user| name.is_none_or(|name| name == user.name));
    if let Some(user) = &user {
        if user.is_suspended {
            return Err(HubError::Suspended);
        }
        let (name, key) = (user.name.as_str(), &user.key_name);
        audit::credential_used(hub, Act::Key, name, address, key).await?;
    }
    Ok(user.map(|user| Caller {
        id: user.id,
        name: user.name,
        is_admin: user.is_admin,
        scope: user.scope,
        only: user.only,
        meant: None,
        credential: Credential::Key(digest.clone()),
        address: *address,
    }))
}

async fn key_user(hub: &Hub, digest: &KeyDigest) -> Result<Option<KeyUser>, HubError> {
    let now = clock::now();
    let oldest = hub.settings.longest_key.map(|longest| now - longest);
    let oldest = oldest.unwrap_or(Timestamp::UNIX_EPOCH);
    Ok(hub.database.key_user(digest, oldest, now).await?)
}

/// Who logs in with this name and password, if anyone does. Wrong passwords are counted whether there is such an
/// account or not, and too many of them are refused unseen.
pub async fn by_password(
    hub: &Hub,
    name: &UserName,
    password: String,
    address: &ClientAddress,
) -> Result<Option<Caller>, HubError> {
    let guesses = Guesses::new(name, &address.network());
    // Few are looked at at a time, and each is counted before the next one's turn: many at once are not more.
    let turn = hub.turns.passwords.take(&address.subject(), 1).await?;
    let now = clock::now();
    if let Some(end) = hub.database.blocked_until(&guesses, now).await? {
        let retry_after = end.duration_since(now).unsigned_abs();
        return Err(HubError::TooManyPasswords { retry_after });
    }
    let login = hub.database.login(name).await?;
    let (user, hashed) = match login {
        Some(mut login) if login.password.is_some() => {
            let hashed = login.password.take();
            (Some(login), hashed.map(Arc::new))
        }
        _ => (None, None),
    };
    // An account that is unknown or has no password costs the same as a wrong one.
    let hashed = hashed.unwrap_or_else(|| hub.nobody.clone());
    let (matches, turn) =
        tokio::task::spawn_blocking(move || (hashed.matches(&password), turn)).await?;
    let is_known = user.is_some();
    let user = user.filter(|_| matches);
    if user.is_none() {
        hub.metrics.login_failed();
        let known = Some(name.as_str()).filter(|_| is_known);
        audit::wrong_password(hub, known, address).await?;
        hub.database.guessed(&guesses, now).await?;
    }
    drop(turn);
    // Said to who knows the password only.
    if user.as_ref().is_some_and(|user| user.is_suspended) {
        return Err(HubError::Suspended);
    }
    Ok(user.map(|user| Caller {
        id: user.user,
        name: name.clone(),
        is_admin: user.is_admin,
        scope: Scope::Admin,
        only: None,
        meant: None,
        credential: Credential::Password,
        address: *address,
    }))
}

/// Hashes a user's new password in its turn; the inner error is the user's to correct.
pub async fn hash_password(
    hub: &Hub,
    name: &UserName,
    password: String,
    address: &ClientAddress,
) -> Result<Result<HashedPassword, InvalidPassword>, HubError> {
    let turn = hub.turns.passwords.take(&address.subject(), 1).await?;
    let host = hub.settings.url.as_ref().and_then(Url::host_str);
    let names = [name.to_string(), host.unwrap_or_default().to_owned()];
    let hashed = tokio::task::spawn_blocking(move || {
        let _turn = turn;
        HashedPassword::new(&password, &names.each_ref().map(String::as_str))
    });
    Ok(hashed.await?)
}

impl Viewer {
    /// Their share of work that costs CPU.
    pub fn share(&self, hub: &Hub) -> Share {
        hub.gate.share(self.subject.clone())
    }

    /// The account whose dots may be told of, if they are logged in: none with a key that works for one dot only.
    pub fn id(&self) -> Option<UserId> {
        self.caller.as_ref().and_then(Caller::reads_as)
    }

    /// Whether they are who they were when the request began: a session may have ended, and a key.
    pub async fn is_still_there(&self, hub: &Hub) -> Result<bool, HubError> {
        let now = clock::now();
        Ok(
            match self.caller.as_ref().map(|caller| &caller.credential) {
                Some(Credential::Session(digest)) => {
                    hub.database.session(digest, now).await?.is_some()
                }
                Some(Credential::Key(digest)) => {
                    let user = key_user(hub, digest).await?;
                    user.is_some_and(|user| !user.is_suspended)
                }
                Some(Credential::Password) | None => true,
            },
        )
    }

    /// Who calls: for users only.
    pub fn caller(&self) -> Result<&Caller, HubError> {
        self.caller.as_ref().ok_or(HubError::LoginNeeded)
    }

    /// Who calls: for administrators only.
    pub fn administrator(&self) -> Result<&Caller, HubError> {
        let caller = self.caller()?;
        if caller.is_admin {
            Ok(caller)
        } else {
            Err(HubError::AdministratorsOnly)
        }
    }
}

impl Caller {
    /// Whose other dots they may read: nobody's with a key that works for one dot only.
    pub fn reads_as(&self) -> Option<UserId> {
        self.only.is_none().then_some(self.id)
    }

    fn viewer(&self) -> Viewer {
        Viewer {
            caller: Some(self.clone()),
            meant: self.meant,
            subject: Subject::User(self.id),
        }
    }

    /// Refuses keys that are good for less than what is asked for, which concerns the account itself.
    pub fn require(&self, needed: Scope) -> Result<(), HubError> {
        if let Some(OnlyDot { name, .. }) = &self.only {
            Err(HubError::KeyOfAnotherDot { dot: name.clone() })
        } else if self.scope < needed {
            Err(HubError::NarrowKey { needed })
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Credentials, parse_credentials};
    use crate::credentials::{KeyDigest, Secret};

    #[test]
    fn credentials() {
        let basic = |header| match parse_credentials(header) {
            Some(Credentials::Basic(name, Secret::Password(password))) => {
                format!("{name} {password}")
            }
            other => panic!("{other:?}"),
        };
        assert_eq!(basic("Basic YWxpY2U6cGFzczp3b3Jk"), "alice pass:word");
        assert_eq!(basic("basic YWxpY2U6cA=="), "alice p");
        match parse_credentials("bearer  dmk_00") {
            Some(Credentials::Bearer(digest)) => assert!(digest == KeyDigest::of("dmk_00")),
            other => panic!("{other:?}"),
        }
        for bad in [
            "",
            "Basic",
            "Basic !!!!",
            "Token YWxpY2U6cGFzczp3b3Jk",
            "Basic YWxpY2U=",
            "Basic //79",
        ] {
            assert!(parse_credentials(bad).is_none(), "{bad}");
        }
    }
}
