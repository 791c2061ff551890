//! Authentication, as two extractors. A route that takes a [`Caller`] is for logged-in users only. A route that takes a
//! [`Viewer`] is for everybody.

use axum::extract::{FromRequestParts, MatchedPath};
use axum::http::header::{AUTHORIZATION, COOKIE};
use axum::http::request::Parts;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dotmesh_api::identity::{IDENTITY_HEADER, Meant};
use dotmesh_hub_db::keys::OnlyDot;
use dotmesh_hub_model::credentials::{KeyDigest, MAX_SECRET_LENGTH, Secret};
use dotmesh_hub_service::address::ClientAddress;
use dotmesh_hub_service::auth::{self, Caller, Credentials, Viewer};
use dotmesh_hub_service::rate_limit::Subject;
use dotmesh_hub_service::settings::Settings;
use dotmesh_hub_service::{Hub, HubError};

use crate::error::HttpError;
use crate::extract::client_address;
use crate::router_state::RouterState;

/// The longest `Authorization` header that is parsed, in bytes.
const MAX_HEADER_LENGTH: usize = 4 * MAX_SECRET_LENGTH;

/// The name of the session cookie without TLS.
const SESSION_COOKIE: &str = "dothub_session";

/// The name of the session cookie over TLS. Browsers accept the prefix `__Host-` only from the host itself.
const SECURE_SESSION_COOKIE: &str = "__Host-dothub_session";

impl FromRequestParts<RouterState> for Caller {
    type Rejection = HttpError;

    async fn from_request_parts(parts: &mut Parts, hub: &RouterState) -> Result<Self, HttpError> {
        let viewer = Viewer::from_request_parts(parts, hub).await?;
        Ok(viewer.caller.ok_or(HubError::LoginNeeded)?)
    }
}

impl FromRequestParts<RouterState> for Viewer {
    type Rejection = HttpError;

    async fn from_request_parts(parts: &mut Parts, hub: &RouterState) -> Result<Self, HttpError> {
        let (caller, subject) = authenticate(parts, hub).await?;
        let meant = meant(parts)?;
        Ok(Self {
            caller: caller.map(|caller| Caller { meant, ..caller }),
            meant,
            subject,
        })
    }
}

/// Returns the dot that the client means, from the identity header.
fn meant(parts: &Parts) -> Result<Option<Meant>, HttpError> {
    let Some(header) = parts.headers.get(IDENTITY_HEADER) else {
        return Ok(None);
    };
    let meant = header.to_str().ok().and_then(|text| text.parse().ok());
    meant.map(Some).ok_or_else(|| {
        HttpError::malformed(format!(
            "the header {IDENTITY_HEADER} must be the identity of a dot, or 'new'"
        ))
    })
}

/// Authenticates by key, password or session, and returns the subject of the limits. Wrong credentials are an error. An
/// expired session counts as no login.
async fn authenticate(parts: &Parts, hub: &Hub) -> Result<(Option<Caller>, Subject), HttpError> {
    let address = client_address(parts, &hub.settings);
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
    auth::count_request(hub, &subject)?;
    Ok((caller?, subject))
}

/// Returns whether the path names a dot, so that [`Viewer::admit`] checks a key that works for one dot only.
/// `/api/v1/user` passes too: `dm login` asks it for the owner of a key.
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
    let credentials = match parts.headers.get(AUTHORIZATION) {
        Some(header) => {
            let credentials = header
                .to_str()
                .ok()
                .filter(|text| text.len() <= MAX_HEADER_LENGTH)
                .and_then(parse_credentials);
            Some(credentials.ok_or(HubError::LoginWrong)?)
        }
        None => session_digest(parts, &hub.settings).map(Credentials::Session),
    };
    match credentials {
        Some(credentials) => auth::identify(hub, credentials, address).await,
        None => Ok(None),
    }
}

/// Returns the subject whose share a reading request takes, before the request is admitted. It doesn't check passwords.
pub(crate) async fn subject(parts: &Parts, hub: &Hub) -> Subject {
    let address = client_address(parts, &hub.settings);
    let header = parts.headers.get(AUTHORIZATION);
    let header = header.map(|header| header.to_str().ok().and_then(parse_credentials));
    let caller = match header {
        Some(Some(Credentials::Key(_))) | None => identify(parts, hub, &address).await,
        _ => Ok(None),
    };
    match caller {
        Ok(Some(caller)) => Subject::User(caller.id),
        // The route reports the error, if it needs a login.
        Ok(None) | Err(_) => address.subject(),
    }
}

/// The session cookie that a browser sends. The session may have expired.
#[derive(Debug, Clone)]
pub(crate) struct PresentSession(pub(crate) Option<KeyDigest>);

impl FromRequestParts<RouterState> for PresentSession {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(
        parts: &mut Parts,
        hub: &RouterState,
    ) -> Result<Self, Self::Rejection> {
        Ok(Self(session_digest(parts, &hub.settings)))
    }
}

/// Returns the name of the session cookie. The hub ignores the other name: over TLS, another host could have set it.
pub(crate) fn session_cookie(settings: &Settings) -> &'static str {
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

/// Parses `Bearer KEY` or `Basic base64(user:secret)`. The secret may contain colons.
fn parse_credentials(header: &str) -> Option<Credentials> {
    let (scheme, rest) = header.split_once(' ')?;
    let rest = rest.trim();
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(Credentials::Key(KeyDigest::of(rest)));
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let text = String::from_utf8(STANDARD.decode(rest).ok()?).ok()?;
    let (name, secret) = text.split_once(':')?;
    if secret.len() > MAX_SECRET_LENGTH {
        return None;
    }
    Some(Credentials::Named(name.parse().ok()?, Secret::new(secret)))
}

#[cfg(test)]
mod tests {
    use dotmesh_hub_model::credentials::{KeyDigest, Secret};

    use super::{Credentials, parse_credentials};

    #[test]
    fn credentials() {
        let basic = |header| match parse_credentials(header) {
            Some(Credentials::Named(name, Secret::Password(password))) => {
                format!("{name} {password}")
            }
            other => panic!("{other:?}"),
        };
        assert_eq!(basic("Basic YWxpY2U6cGFzczp3b3Jk"), "alice pass:word");
        assert_eq!(basic("basic YWxpY2U6cA=="), "alice p");
        match parse_credentials("bearer  dmk_00") {
            Some(Credentials::Key(digest)) => assert!(digest == KeyDigest::of("dmk_00")),
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
