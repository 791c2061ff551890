//! Who calls: two extractors. A route that takes a [`Caller`] is for logged-in users only, one that takes a
//! [`Viewer`] for everybody.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::header::{AUTHORIZATION, COOKIE};
use axum::http::request::Parts;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dotmesh_api::hub::Access;
use dotmesh_model::{DotName, UserName};

use crate::access::{self, Action, Presence, Scope, Verdict, Visibility};
use crate::clock;
use crate::credentials::{KeyDigest, MAX_SECRET_LENGTH, Secret};
use crate::database::dots::DotFacts;
use crate::database::ids::{DotId, UserId};
use crate::error::HubError;
use crate::state::Hub;

/// The longest `Authorization` header that is looked at.
const MAX_HEADER_LENGTH: usize = 4 * MAX_SECRET_LENGTH;

/// The session's cookie. Over TLS it has the prefix `__Host-`, which browsers take from no other host.
pub const SESSION_COOKIE: &str = "dothub_session";

/// The same over TLS.
pub const SECURE_SESSION_COOKIE: &str = "__Host-dothub_session";

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
}

/// Someone, logged in or not.
#[derive(Debug, Clone)]
pub struct Viewer(pub Option<Caller>);

impl FromRequestParts<Hub> for Caller {
    type Rejection = HubError;

    async fn from_request_parts(parts: &mut Parts, hub: &Hub) -> Result<Self, HubError> {
        authenticate(parts, hub).await?.ok_or(HubError::LoginNeeded)
    }
}

impl FromRequestParts<Hub> for Viewer {
    type Rejection = HubError;

    async fn from_request_parts(parts: &mut Parts, hub: &Hub) -> Result<Self, HubError> {
        Ok(Self(authenticate(parts, hub).await?))
    }
}

/// Who calls, by key, password or session. Wrong credentials are an error, an ended session is none.
async fn authenticate(parts: &Parts, hub: &Hub) -> Result<Option<Caller>, HubError> {
    if let Some(header) = parts.headers.get(AUTHORIZATION) {
        let credentials = header
            .to_str()
            .ok()
            .filter(|text| text.len() <= MAX_HEADER_LENGTH)
            .and_then(parse_credentials)
            .ok_or(HubError::LoginWrong)?;
        return match credentials {
            Credentials::Bearer(digest) => by_key(hub, &digest).await,
            Credentials::Basic(name, Secret::Key(digest)) => by_key(hub, &digest)
                .await
                .map(|caller| caller.filter(|caller| caller.name == name)),
            Credentials::Basic(name, Secret::Password(password)) => {
                by_password(hub, &name, password).await
            }
        }?
        .map(Some)
        .ok_or(HubError::LoginWrong);
    }
    let Some(digest) = session_digest(parts) else {
        return Ok(None);
    };
    let session = hub.database.session(&digest, clock::now()).await?;
    Ok(session.map(|user| Caller {
        id: user.id,
        name: user.name,
        is_admin: user.is_admin,
        scope: Scope::Admin,
    }))
}

/// The session that a browser sends, which may have ended.
pub fn session_digest(parts: &Parts) -> Option<KeyDigest> {
    let cookies = parts.headers.get_all(COOKIE);
    cookies
        .iter()
        .filter_map(|header| header.to_str().ok())
        .flat_map(|header| header.split("; "))
        .filter_map(|cookie| cookie.split_once('='))
        .find(|(name, _)| matches!(*name, SESSION_COOKIE | SECURE_SESSION_COOKIE))
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

async fn by_key(hub: &Hub, digest: &KeyDigest) -> Result<Option<Caller>, HubError> {
    let user = hub.database.key_user(digest, clock::now()).await?;
    Ok(user.map(|user| Caller {
        id: user.id,
        name: user.name,
        is_admin: user.is_admin,
        scope: user.scope,
    }))
}

/// Who logs in with this name and password, if anyone does.
pub async fn by_password(
    hub: &Hub,
    name: &UserName,
    password: String,
) -> Result<Option<Caller>, HubError> {
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
    let turn = hub.password_checks.clone().acquire_owned().await;
    let matches = tokio::task::spawn_blocking(move || {
        let _turn = turn;
        hashed.matches(&password)
    })
    .await?;
    Ok(user.filter(|_| matches).map(|user| Caller {
        id: user.user,
        name: name.clone(),
        is_admin: user.is_admin,
        scope: Scope::Admin,
    }))
}

/// A dot that a user may do something with.
#[derive(Debug, Clone)]
pub struct OpenDot {
    /// Its name.
    pub name: DotName,
    /// The user whose namespace it is in.
    pub owner: UserId,
    /// The dot; `None` when a push is about to create it.
    pub id: Option<DotId>,
    /// What the user may do.
    pub access: Access,
    /// Who else may see it.
    pub visibility: Visibility,
}

impl OpenDot {
    fn new(name: &DotName, facts: &DotFacts, role: access::Role) -> Result<Self, HubError> {
        let hidden = || HubError::NoSuchDot { dot: name.clone() };
        Ok(Self {
            name: name.clone(),
            owner: facts.owner.ok_or_else(hidden)?,
            id: facts.dot,
            access: role.access().ok_or_else(hidden)?,
            visibility: facts.visibility,
        })
    }

    /// The dot, which exists whenever the action was not a push.
    pub fn existing(&self) -> Result<DotId, HubError> {
        self.id.ok_or_else(|| HubError::NoSuchDot {
            dot: self.name.clone(),
        })
    }
}

impl Viewer {
    /// Opens a dot for an action, or says why not.
    pub async fn open(
        &self,
        hub: &Hub,
        dot: &DotName,
        action: Action,
    ) -> Result<OpenDot, HubError> {
        let user = self.0.as_ref().map(|caller| caller.id);
        let facts = hub.database.dot_facts(dot, user).await?;
        self.admit(dot, &facts, action)
    }

    /// Applies the access rule to what is known of a dot.
    pub fn admit(
        &self,
        dot: &DotName,
        facts: &DotFacts,
        action: Action,
    ) -> Result<OpenDot, HubError> {
        let name = self.0.as_ref().map(|caller| &caller.name);
        let role = access::role(name, dot, facts.grant, facts.visibility);
        let presence = if facts.dot.is_some() {
            Presence::Exists
        } else {
            Presence::Missing
        };
        let verdict = access::judge(role, presence, action);
        // Nobody may be somebody who has only not said so yet.
        let Some(caller) = &self.0 else {
            return match verdict {
                Verdict::Allow => OpenDot::new(dot, facts, role),
                _ => Err(HubError::LoginNeeded),
            };
        };
        let (user, dot_name) = (caller.name.clone(), dot.clone());
        match verdict {
            Verdict::Allow if caller.scope < action.scope() => Err(HubError::NarrowKey {
                needed: action.scope(),
            }),
            Verdict::Allow => OpenDot::new(dot, facts, role),
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
    /// Opens a dot for an action, or says why not.
    pub async fn open(
        &self,
        hub: &Hub,
        dot: &DotName,
        action: Action,
    ) -> Result<OpenDot, HubError> {
        Viewer(Some(self.clone())).open(hub, dot, action).await
    }

    /// Applies the access rule to what is known of a dot.
    pub fn admit(
        &self,
        dot: &DotName,
        facts: &DotFacts,
        action: Action,
    ) -> Result<OpenDot, HubError> {
        Viewer(Some(self.clone())).admit(dot, facts, action)
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
