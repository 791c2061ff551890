//! Who calls: an extractor. A route that takes a [`Caller`] is for logged-in users only.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dotmesh_api::hub::Access;
use dotmesh_model::{DotName, UserName};

use crate::access::{self, Action, Presence, Verdict};
use crate::credentials::{KeyDigest, MAX_SECRET_LENGTH, Secret};
use crate::database::dots::DotFacts;
use crate::database::ids::{DotId, UserId};
use crate::database::users::Login;
use crate::error::HubError;
use crate::state::Hub;

/// The longest `Authorization` header that is looked at.
const MAX_HEADER_LENGTH: usize = 4 * MAX_SECRET_LENGTH;

/// A logged-in user.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The account.
    pub id: UserId,
    /// Its name.
    pub name: UserName,
}

impl FromRequestParts<Hub> for Caller {
    type Rejection = HubError;

    async fn from_request_parts(parts: &mut Parts, hub: &Hub) -> Result<Self, HubError> {
        let header = parts
            .headers
            .get(AUTHORIZATION)
            .ok_or(HubError::LoginNeeded)?;
        let (name, secret) = header
            .to_str()
            .ok()
            .filter(|text| text.len() <= MAX_HEADER_LENGTH)
            .and_then(parse_basic)
            .ok_or(HubError::LoginWrong)?;
        let name: UserName = name.parse().map_err(|_| HubError::LoginWrong)?;
        let login = hub.database.login(&name).await?;
        let id = match Secret::new(&secret) {
            Secret::Key(digest) => check_key(login, &digest),
            Secret::Password(password) => check_password(hub, login, password).await?,
        };
        let id = id.ok_or(HubError::LoginWrong)?;
        Ok(Self { id, name })
    }
}

/// `Basic base64(user:secret)`; the secret may contain colons.
fn parse_basic(header: &str) -> Option<(String, String)> {
    let (scheme, encoded) = header.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let text = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (name, secret) = text.split_once(':')?;
    (secret.len() <= MAX_SECRET_LENGTH).then(|| (name.to_owned(), secret.to_owned()))
}

fn check_key(login: Option<Login>, digest: &KeyDigest) -> Option<UserId> {
    let login = login?;
    // Every key is compared: which one matches, and whether an early one does, shows in no time.
    let matches = login
        .keys
        .iter()
        .filter(|stored| digest.matches(stored))
        .count();
    (matches > 0).then_some(login.user)
}

async fn check_password(
    hub: &Hub,
    login: Option<Login>,
    password: String,
) -> Result<Option<UserId>, HubError> {
    let (user, hashed) = match login {
        Some(Login {
            user,
            password: Some(hashed),
            ..
        }) => (Some(user), Arc::new(hashed)),
        // An account that is unknown or has no password costs the same as a wrong one.
        _ => (None, hub.nobody.clone()),
    };
    let turn = hub.password_checks.clone().acquire_owned().await;
    let matches = tokio::task::spawn_blocking(move || {
        let _turn = turn;
        hashed.matches(&password)
    })
    .await?;
    Ok(user.filter(|_| matches))
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
}

impl OpenDot {
    /// The dot, which exists whenever the action was not a push.
    pub fn existing(&self) -> Result<DotId, HubError> {
        self.id.ok_or_else(|| HubError::NoSuchDot {
            dot: self.name.clone(),
        })
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
        let facts = hub.database.dot_facts(dot, self.id).await?;
        self.admit(dot, &facts, action)
    }

    /// Applies the access rule to what is known of a dot.
    pub fn admit(
        &self,
        dot: &DotName,
        facts: &DotFacts,
        action: Action,
    ) -> Result<OpenDot, HubError> {
        let role = access::role(&self.name, dot, facts.grant);
        let presence = if facts.dot.is_some() {
            Presence::Exists
        } else {
            Presence::Missing
        };
        let hidden = || HubError::NoSuchDot { dot: dot.clone() };
        match access::judge(role, presence, action) {
            Verdict::Allow => Ok(OpenDot {
                name: dot.clone(),
                owner: facts.owner.ok_or_else(hidden)?,
                id: facts.dot,
                access: role.access().ok_or_else(hidden)?,
            }),
            Verdict::Hide => Err(hidden()),
            Verdict::ReadOnly => Err(HubError::ReadOnly {
                user: self.name.clone(),
                dot: dot.clone(),
            }),
            Verdict::Closed => Err(HubError::Closed {
                user: self.name.clone(),
                dot: dot.clone(),
            }),
            Verdict::OwnerOnly => Err(HubError::OwnerOnly { dot: dot.clone() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::parse_basic;

    #[test]
    fn basic_credentials() {
        let parsed = |header| parse_basic(header);
        // alice:pass:word
        assert_eq!(
            parsed("Basic YWxpY2U6cGFzczp3b3Jk"),
            Some(("alice".to_owned(), "pass:word".to_owned()))
        );
        assert_eq!(
            parsed("basic YWxpY2U6cA=="),
            Some(("alice".to_owned(), "p".to_owned()))
        );
        for bad in [
            "",
            "Basic",
            "Basic !!!!",
            "Bearer YWxpY2U6cA==",
            "Basic YWxpY2U=",
            "Basic //79",
        ] {
            assert_eq!(parsed(bad), None, "{bad}");
        }
    }
}
