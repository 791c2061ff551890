//! `/-/login`: begins a session by name and password.

use askama::Template;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use dotmesh_hub_db::ids::UserId;
use dotmesh_hub_model::credentials::Token;
use dotmesh_hub_service::address::ClientAddress;
use dotmesh_hub_service::audit;
use dotmesh_hub_service::auth;
use dotmesh_hub_service::{Hub, HubError};
use serde::Deserialize;

use crate::authenticate;
use crate::error::HttpError;
use crate::web::form::Form;
use crate::web::query::Query;
use crate::web::{Page, Visit, go, render};

/// The longest `User-Agent` that is stored, in bytes.
const MAX_AGENT_LENGTH: usize = 200;

#[derive(Template)]
#[template(path = "login.html")]
struct LoginPage {
    visit: Visit,
    to: String,
    user: String,
    failed: bool,
}

/// The page to go to after the login.
#[derive(Debug, Deserialize)]
pub(crate) struct AfterLogin {
    #[serde(default)]
    to: String,
}

#[derive(Deserialize)]
pub(crate) struct Fields {
    user: String,
    password: String,
    #[serde(default)]
    to: String,
}

/// Shows the form.
pub(crate) async fn get(visit: Visit, Query(target): Query<AfterLogin>) -> Page {
    let to = local(&target.to).to_owned();
    if visit.user().is_some() {
        return go(&to);
    }
    render(&LoginPage {
        visit,
        to,
        user: String::new(),
        failed: false,
    })
}

/// Logs in.
pub(crate) async fn post(
    State(hub): State<Hub>,
    visit: Visit,
    address: ClientAddress,
    headers: HeaderMap,
    Form(fields): Form<Fields>,
) -> Page {
    let to = local(&fields.to).to_owned();
    let name = fields.user.trim();
    let caller = match name.parse() {
        Ok(name) => auth::by_password(&hub, &name, fields.password, &address).await?,
        Err(_) => None,
    };
    match caller {
        Some(caller) => {
            audit::logged_in(&hub, caller.name.as_str(), &address, "with a browser").await?;
            begin_session(&hub, caller.id, &headers, go(&to)?).await
        }
        None => {
            let page = LoginPage {
                user: name.to_owned(),
                visit,
                to,
                failed: true,
            };
            Ok((StatusCode::UNPROCESSABLE_ENTITY, render(&page)?).into_response())
        }
    }
}

/// Begins a session with a new token. So a token that an attacker planted before the login is useless.
pub(crate) async fn begin_session(
    hub: &Hub,
    user: UserId,
    headers: &HeaderMap,
    mut response: Response,
) -> Page {
    let token = Token::generate(&hub.random);
    let agent = headers
        .get(header::USER_AGENT)
        .and_then(|agent| agent.to_str().ok())
        .unwrap_or_default();
    let agent = &agent[..agent.floor_char_boundary(MAX_AGENT_LENGTH.min(agent.len()))];
    let digest = token.digest();
    let begun = hub
        .database
        .begin_session(user, &digest, agent, hub.clock.now());
    if !begun.await? {
        return Err(HubError::Suspended.into());
    }
    set_cookie(hub, &mut response, token.reveal(), MAX_AGE)?;
    Ok(response)
}

/// The cookie's lifetime in seconds. It may be longer than the session's, because the hub decides when a session ends.
const MAX_AGE: u64 = 400 * 24 * 3600;

/// Sets the session's cookie. A `max_age` of 0 removes it.
pub(crate) fn set_cookie(
    hub: &Hub,
    response: &mut Response,
    token: &str,
    max_age: u64,
) -> Result<(), HttpError> {
    let name = authenticate::session_cookie(&hub.settings);
    let secure = if hub.settings.is_secure() {
        "; Secure"
    } else {
        ""
    };
    let cookie =
        format!("{name}={token}; Path=/; HttpOnly; SameSite=Lax; Max-Age={max_age}{secure}");
    let cookie = cookie
        .parse()
        .map_err(|_| HttpError::malformed("the session cannot be told to the browser"))?;
    response.headers_mut().append(header::SET_COOKIE, cookie);
    Ok(())
}

/// Returns the address if it is on this hub, and `/` otherwise.
fn local(to: &str) -> &str {
    let plain = to.starts_with('/')
        && !to[1..].starts_with(['/', '\\'])
        && to.bytes().all(|byte| byte.is_ascii_graphic());
    if plain { to } else { "/" }
}

#[cfg(test)]
mod tests {
    use super::local;

    #[test]
    fn a_login_leads_nowhere_else() {
        for to in ["/", "/alice/app?x=1", "/alice/app/commit/00"] {
            assert_eq!(local(to), to);
        }
        for to in [
            "",
            "https://evil",
            "//evil",
            "/\\evil",
            "/a\r\nb",
            "evil",
            "/ü",
        ] {
            assert_eq!(local(to), "/", "{to}");
        }
    }
}
