//! `/-/password?token=…`: sets a new password with an administrator's one-time link.

use askama::Template;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse as _;
use dotmesh_hub_db::users::OldKeys;
use dotmesh_hub_model::credentials::KeyDigest;
use dotmesh_hub_service::address::ClientAddress;
use dotmesh_hub_service::audit;
use dotmesh_hub_service::auth;
use dotmesh_hub_service::{Hub, HubError};
use dotmesh_model::UserName;
use serde::Deserialize;

use super::login::begin_session;
use crate::error::HttpError;
use crate::web::form::Form;
use crate::web::query::Query;
use crate::web::{Page, Visit, go, render};

/// The page's path.
pub(crate) const PATH: &str = "/-/password";

#[derive(Template)]
#[template(path = "password.html")]
struct PasswordPage {
    visit: Visit,
    token: String,
    user: UserName,
    problem: Option<String>,
}

/// The link's token.
#[derive(Deserialize)]
pub(crate) struct Link {
    #[serde(default)]
    token: String,
}

#[derive(Deserialize)]
pub(crate) struct Fields {
    token: String,
    password: String,
    /// Sent if all API keys are to be revoked too.
    end_keys: Option<String>,
}

/// Shows the form.
pub(crate) async fn get(
    State(hub): State<Hub>,
    visit: Visit,
    Query(Link { token }): Query<Link>,
) -> Page {
    let user = user(&hub, &visit, &token).await?;
    render(&PasswordPage {
        visit,
        token,
        user,
        problem: None,
    })
}

/// Sets the password and begins a session.
pub(crate) async fn post(
    State(hub): State<Hub>,
    visit: Visit,
    address: ClientAddress,
    headers: HeaderMap,
    Form(fields): Form<Fields>,
) -> Page {
    let user = user(&hub, &visit, &fields.token).await?;
    match auth::hash_password(&hub, &user, fields.password, &address).await? {
        Ok(password) => {
            let digest = KeyDigest::of(&fields.token);
            let keys = OldKeys::ending(fields.end_keys.is_some());
            let using = hub
                .database
                .use_password_link(&digest, &password, keys, visit.now);
            let id = using.await?.ok_or(HubError::LinkUsed)?;
            tracing::info!(%user, "a password was set by a link");
            audit::logged_in(
                &hub,
                user.as_str(),
                &address,
                "by a link that sets the password",
            )
            .await?;
            begin_session(&hub, id, &headers, go("/")?).await
        }
        Err(error) => {
            let page = PasswordPage {
                visit,
                token: fields.token,
                user,
                problem: Some(error.to_string()),
            };
            Ok((StatusCode::UNPROCESSABLE_ENTITY, render(&page)?).into_response())
        }
    }
}

async fn user(hub: &Hub, visit: &Visit, token: &str) -> Result<UserName, HttpError> {
    let digest = KeyDigest::of(token);
    let user = hub.database.password_link(&digest, visit.now).await?;
    Ok(user.ok_or(HubError::LinkUsed)?)
}
