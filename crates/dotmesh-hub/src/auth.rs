//! Who calls: two extractors. A route that takes a [`Caller`] is for logged-in users only, one that takes a
//! [`Viewer`] for everybody.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::FromRequestParts;
use axum::http::header::{AUTHORIZATION, COOKIE};
use axum::http::request::Parts;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dotmesh_api::hub::Access;
use dotmesh_api::identity::{IDENTITY_HEADER, Meant};
use dotmesh_model::{DotIdentity, DotName, UserName};
use url::Url;

use crate::access::{self, Action, Presence, Scope, Verdict, Visibility};
use crate::audit;
use crate::clock;
use crate::credentials::{HashedPassword, InvalidPassword, KeyDigest, MAX_SECRET_LENGTH, Secret};
use crate::database::access_log::Act;
use crate::database::attempts::Guesses;
use crate::database::dots::{DotFacts, OtherDot};
use crate::database::events::Deed;
use crate::database::ids::{DotId, UserId};
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
            "the header {IDENTITY_HEADER} names a dot by its identity, or is 'new'"
        ))
    })
}

/// Who calls, by key, password or session, and whose share that is. Wrong credentials are an error, an ended session is none.
async fn authenticate(parts: &Parts, hub: &Hub) -> Result<(Option<Caller>, Subject), HubError> {
    let address = ClientAddress::of(parts, &hub.settings);
    let caller = identify(parts, hub, &address).await;
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
    let user = hub.database.key_user(digest, clock::now()).await?;
    let user = user.filter(|user| name.is_none_or(|name| name == user.name));
    if let Some(user) = &user {
        let (name, key) = (user.name.as_str(), &user.key_name);
        audit::credential_used(hub, Act::Key, name, address, key).await?;
    }
    Ok(user.map(|user| Caller {
        id: user.id,
        name: user.name,
        is_admin: user.is_admin,
        scope: user.scope,
        meant: None,
        credential: Credential::Key(digest.clone()),
        address: *address,
    }))
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
    Ok(user.map(|user| Caller {
        id: user.user,
        name: name.clone(),
        is_admin: user.is_admin,
        scope: Scope::Admin,
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

/// A dot that a user may do something with.
#[derive(Debug, Clone)]
pub struct OpenDot {
    /// Its name, which need not be the one that was asked for: dots are found by their former names, too.
    pub name: DotName,
    /// The user whose namespace it is in.
    pub owner: UserId,
    /// The dot; `None` when a push is about to create it.
    pub id: Option<DotId>,
    /// Which dot that is, whatever it is called.
    pub identity: Option<DotIdentity>,
    /// What the user may do.
    pub access: Access,
    /// Who else may see it.
    pub visibility: Visibility,
    /// Who opened it: whose share of the hub's work it takes.
    pub subject: Subject,
}

impl OpenDot {
    fn new(
        asked: &DotName,
        facts: &DotFacts,
        role: access::Role,
        subject: &Subject,
    ) -> Result<Self, HubError> {
        let hidden = || HubError::NoSuchDot { dot: asked.clone() };
        Ok(Self {
            name: facts.name.clone(),
            owner: facts.owner.ok_or_else(hidden)?,
            id: facts.dot,
            identity: facts.identity,
            access: role.access().ok_or_else(hidden)?,
            visibility: facts.visibility,
            subject: subject.clone(),
        })
    }

    /// The share of work that costs CPU of who opened it.
    pub fn share(&self, hub: &Hub) -> Share {
        hub.gate.share(self.subject.clone())
    }

    /// The dot, which exists whenever the action was not a push.
    pub fn existing(&self) -> Result<DotId, HubError> {
        self.id.ok_or_else(|| HubError::NoSuchDot {
            dot: self.name.clone(),
        })
    }
}

impl OpenDot {
    /// What is about to be done to it, for the audit log.
    pub fn deed<'a>(&'a self, actor: &'a Caller) -> Result<Deed<'a>, HubError> {
        Ok(Deed {
            actor: &actor.name,
            dot: self.existing()?,
            name: &self.name,
            now: clock::now(),
        })
    }
}

impl Viewer {
    /// Their share of work that costs CPU.
    pub fn share(&self, hub: &Hub) -> Share {
        hub.gate.share(self.subject.clone())
    }

    /// The account of who calls, if they are logged in.
    pub fn id(&self) -> Option<UserId> {
        self.caller.as_ref().map(|caller| caller.id)
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
                    hub.database.key_user(digest, now).await?.is_some()
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

    /// Opens a dot for an action, or says why not.
    pub async fn open(
        &self,
        hub: &Hub,
        dot: &DotName,
        action: Action,
    ) -> Result<OpenDot, HubError> {
        let user = self.caller.as_ref().map(|caller| caller.id);
        let facts = hub.database.dot_facts(dot, user, self.meant).await?;
        self.admit(dot, &facts, action)
    }

    /// Applies the access rule to what is known of a dot.
    pub fn admit(
        &self,
        dot: &DotName,
        facts: &DotFacts,
        action: Action,
    ) -> Result<OpenDot, HubError> {
        let name = self.caller.as_ref().map(|caller| &caller.name);
        let role = access::role(name, &facts.name, facts.grant, facts.visibility);
        let presence = if facts.dot.is_some() {
            Presence::Exists
        } else {
            Presence::Missing
        };
        if let Some(OtherDot { now }) = &facts.other
            && (now.is_some() || role != access::Role::Stranger)
        {
            // Who may see neither the dot that is meant nor that of the name gets the answer to who names none.
            return Err(HubError::AnotherDot {
                dot: dot.clone(),
                now: now.clone(),
            });
        }
        let verdict = access::judge(role, presence, action);
        // Nobody may be somebody who has only not said so yet.
        let Some(caller) = &self.caller else {
            return match verdict {
                Verdict::Allow => OpenDot::new(dot, facts, role, &self.subject),
                _ => Err(HubError::LoginNeeded),
            };
        };
        let (user, dot_name) = (caller.name.clone(), dot.clone());
        match verdict {
            Verdict::Allow if caller.scope < action.scope() => Err(HubError::NarrowKey {
                needed: action.scope(),
            }),
            Verdict::Allow => OpenDot::new(dot, facts, role, &self.subject),
            Verdict::Hide => Err(HubError::NoSuchDot { dot: dot_name }),
            Verdict::ReadOnly => Err(HubError::ReadOnly {
                user,
                dot: dot_name,
            }),
            Verdict::Closed => Err(HubError::Closed {
                user,
                dot: dot_name,
            }),
            Verdict::MaintainersOnly => Err(HubError::MaintainersOnly { dot: dot_name }),
            Verdict::OwnerOnly => Err(HubError::OwnerOnly { dot: dot_name }),
        }
    }
}

impl Caller {
    fn viewer(&self) -> Viewer {
        Viewer {
            caller: Some(self.clone()),
            meant: self.meant,
            subject: Subject::User(self.id),
        }
    }

    /// Refuses keys that are good for less than what is asked for, which concerns the account itself.
    pub fn require(&self, needed: Scope) -> Result<(), HubError> {
        if self.scope < needed {
            Err(HubError::NarrowKey { needed })
        } else {
            Ok(())
        }
    }

    /// Opens a dot for an action, or says why not.
    pub async fn open(
        &self,
        hub: &Hub,
        dot: &DotName,
        action: Action,
    ) -> Result<OpenDot, HubError> {
        self.viewer().open(hub, dot, action).await
    }

    /// Applies the access rule to what is known of a dot.
    pub fn admit(
        &self,
        dot: &DotName,
        facts: &DotFacts,
        action: Action,
    ) -> Result<OpenDot, HubError> {
        self.viewer().admit(dot, facts, action)
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
