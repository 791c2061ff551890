//! Users: a [`Caller`] is logged in, and a [`Viewer`] may be anybody. Checks keys, passwords and sessions.

mod open_dot;

use std::sync::Arc;
use std::time::Instant;

use dotmesh_api::identity::Meant;
use dotmesh_model::UserName;
use jiff::Timestamp;
use url::Url;

pub use self::open_dot::OpenDot;
use crate::address::ClientAddress;
use crate::audit;
use crate::error::HubError;
use crate::gate::Share;
use crate::rate_limit::Subject;
use crate::state::Hub;
use dotmesh_hub_db::access_log::Act;
use dotmesh_hub_db::attempts::Guesses;
use dotmesh_hub_db::ids::UserId;
use dotmesh_hub_db::keys::{KeyUser, OnlyDot};
use dotmesh_hub_model::access::Scope;
use dotmesh_hub_model::credentials::{HashedPassword, InvalidPassword, KeyDigest, Secret};

/// A logged-in user.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The account.
    pub id: UserId,
    pub name: UserName,
    pub is_admin: bool,
    /// The scope of the credentials.
    pub scope: Scope,
    /// The only dot that the credentials work for, if they are limited to one.
    pub only: Option<OnlyDot>,
    /// The dot that the client means by its identity, whatever the dot's name is.
    pub meant: Option<Meant>,
    /// How the user authenticated.
    pub credential: Credential,
    pub address: ClientAddress,
}

/// How a user authenticated. A long-lived response checks it again.
#[derive(Debug, Clone)]
pub enum Credential {
    /// With a session.
    Session(KeyDigest),
    /// With an API key.
    Key(KeyDigest),
    /// With the account's password.
    Password,
}

/// The sender of a request, logged in or not.
#[derive(Debug, Clone)]
pub struct Viewer {
    /// The user, if they are logged in.
    pub caller: Option<Caller>,
    /// The dot that the client means by its identity, whatever the dot's name is.
    pub meant: Option<Meant>,
    /// The subject that the hub's limits apply to.
    pub subject: Subject,
}

/// The credentials of a request.
#[derive(Debug)]
pub enum Credentials {
    /// An API key.
    Key(KeyDigest),
    /// A user's name, with a key or the password.
    Named(UserName, Secret),
    /// The token of a session.
    Session(KeyDigest),
}

/// Authenticates. Wrong credentials are an error. An expired session counts as no login.
pub async fn identify(
    hub: &Hub,
    credentials: Credentials,
    address: &ClientAddress,
) -> Result<Option<Caller>, HubError> {
    let found = match credentials {
        Credentials::Session(digest) => return by_session(hub, digest, address).await,
        Credentials::Key(digest) => by_key(hub, &digest, None, address).await,
        Credentials::Named(name, Secret::Key(digest)) => {
            by_key(hub, &digest, Some(name), address).await
        }
        Credentials::Named(name, Secret::Password(password)) => {
            let caller = by_password(hub, &name, password, address).await?;
            if caller.is_some() {
                let name = name.as_str();
                audit::credential_used(hub, Act::Password, name, address, "").await?;
            }
            Ok(caller)
        }
    };
    found?.map(Some).ok_or(HubError::LoginWrong)
}

/// Counts a request against the rate limit of its subject.
pub fn count_request(hub: &Hub, subject: &Subject) -> Result<(), HubError> {
    if let Some(limit) = &hub.rate_limit {
        let taken = limit.take(subject.clone(), Instant::now());
        taken.map_err(|retry_after| HubError::TooFast { retry_after })?;
    }
    Ok(())
}

async fn by_session(
    hub: &Hub,
    digest: KeyDigest,
    address: &ClientAddress,
) -> Result<Option<Caller>, HubError> {
    let session = hub.database.session(&digest, hub.clock.now()).await?;
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

/// Authenticates by API key. If `name` is given, the key must belong to that user.
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
    let now = hub.clock.now();
    let oldest = hub.settings.longest_key.map(|longest| now - longest);
    let oldest = oldest.unwrap_or(Timestamp::UNIX_EPOCH);
    Ok(hub.database.key_user(digest, oldest, now).await?)
}

/// Authenticates by name and password. Wrong passwords are counted whether the account exists or not. Beyond the limit,
/// the hub refuses a password without checking it.
pub async fn by_password(
    hub: &Hub,
    name: &UserName,
    password: String,
    address: &ClientAddress,
) -> Result<Option<Caller>, HubError> {
    let guesses = Guesses::new(name, &address.network());
    // The queue admits few checks at a time, and each failure is counted before its turn ends. So parallel requests
    // cannot get more guesses.
    let turn = hub.turns.passwords.take(&address.subject(), 1).await?;
    let now = hub.clock.now();
    if let Some(end) = hub.database.blocked_until(&guesses, now).await? {
        let retry_after = end.duration_since(now).unsigned_abs();
        return Err(HubError::TooManyPasswords { retry_after });
    }
    let login = hub.database.login(name).await?;
    let (user, hashed) = match login {
        Some(mut login) if login.password.is_some() => {
            let hashed = login.password.take();
            (Some(login), hashed)
        }
        _ => (None, None),
    };
    let (nobody, random) = (Arc::clone(&hub.nobody), hub.random.clone());
    let (matches, turn) = tokio::task::spawn_blocking(move || {
        // An unknown account, or one without a password, must take as long as a wrong password. The first login makes the
        // hash for it in either case.
        let nobody = nobody.get_or_init(|| HashedPassword::nobody(&random));
        let hashed = hashed.as_ref().unwrap_or(nobody);
        (hashed.matches(&password), turn)
    })
    .await?;
    let is_known = user.is_some();
    let user = user.filter(|_| matches);
    if user.is_none() {
        hub.metrics.login_failed();
        let known = Some(name.as_str()).filter(|_| is_known);
        audit::wrong_password(hub, known, address).await?;
        hub.database.guessed(&guesses, now).await?;
    }
    drop(turn);
    // Only someone who knows the password learns that the account is suspended.
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

/// Waits for a turn and hashes a user's new password. The inner error is one that the user can correct.
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
    /// Returns the viewer's share of CPU work.
    pub fn share(&self, hub: &Hub) -> Share {
        hub.gate.share(self.subject.clone())
    }

    /// Returns the account whose dots the viewer may see. `None` without a login, or with a key that works for one dot
    /// only.
    pub fn id(&self) -> Option<UserId> {
        self.caller.as_ref().and_then(Caller::reads_as)
    }

    /// Returns whether the credentials are still valid. A session or a key may have ended since the request began.
    pub async fn is_still_there(&self, hub: &Hub) -> Result<bool, HubError> {
        let now = hub.clock.now();
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

    /// Returns the user, or an error if the viewer is not logged in.
    pub fn caller(&self) -> Result<&Caller, HubError> {
        self.caller.as_ref().ok_or(HubError::LoginNeeded)
    }

    /// Returns the user, or an error if the viewer is not an administrator.
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
    /// Returns the user whose other dots the credentials can read. `None` with a key that works for one dot only.
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

    /// Refuses credentials with a narrower scope than `needed`, and keys that work for one dot only. It is for actions
    /// on the account itself.
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
