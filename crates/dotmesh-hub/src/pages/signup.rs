//! `/-/signup`: creates an account, for everyone or with an invitation.

use askama::Template;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse as _;
use dotmesh_hub_db::attempts::AttemptLimit;
use dotmesh_hub_db::users::SignedUp;
use dotmesh_hub_model::credentials::KeyDigest;
use dotmesh_hub_service::address::ClientAddress;
use dotmesh_hub_service::audit;
use dotmesh_hub_service::auth;
use dotmesh_hub_service::settings::SignUp;
use dotmesh_hub_service::{Hub, HubError};
use dotmesh_model::UserName;
use jiff::SignedDuration;
use serde::Deserialize;

use super::login::begin_session;
use crate::error::HttpError;
use crate::web::form::Form;
use crate::web::query::Query;
use crate::web::{Page, Visit, go, render};

/// The page's path.
pub(crate) const PATH: &str = "/-/signup";

/// The attempts to sign up from one address, including refused ones.
const LIMIT: AttemptLimit = AttemptLimit {
    attempts: 20,
    within: SignedDuration::from_hours(1),
};

#[derive(Template)]
#[template(path = "signup.html")]
struct SignUpPage {
    visit: Visit,
    token: String,
    user: String,
    problem: Option<String>,
}

/// The invitation.
#[derive(Deserialize)]
pub(crate) struct Invitation {
    #[serde(default)]
    token: String,
}

#[derive(Deserialize)]
pub(crate) struct Fields {
    user: String,
    password: String,
    #[serde(default)]
    token: String,
}

/// Shows the form.
pub(crate) async fn get(
    State(hub): State<Hub>,
    visit: Visit,
    Query(Invitation { token }): Query<Invitation>,
) -> Page {
    if visit.user().is_some() {
        return go("/");
    }
    invitation(&hub, &visit, &token).await?;
    render(&SignUpPage {
        visit,
        token,
        user: String::new(),
        problem: None,
    })
}

/// Creates the account and begins a session.
pub(crate) async fn post(
    State(hub): State<Hub>,
    visit: Visit,
    address: ClientAddress,
    headers: HeaderMap,
    Form(fields): Form<Fields>,
) -> Page {
    let invitation = invitation(&hub, &visit, &fields.token).await?;
    let subject = format!("sign up from {}", address.network());
    if !hub.database.attempt(&subject, LIMIT, visit.now).await? {
        let what = "new accounts from this address";
        return Err(HubError::TooMany { what }.into());
    }
    let user = fields.user.trim().to_owned();
    let problem = match user.parse::<UserName>() {
        Err(error) => error.to_string(),
        Ok(name) => match auth::hash_password(&hub, &name, fields.password, &address).await? {
            Err(error) => error.to_string(),
            Ok(password) => {
                let signing_up =
                    hub.database
                        .sign_up(&name, &password, invitation.as_ref(), visit.now);
                match signing_up.await? {
                    SignedUp::Made(id) => {
                        tracing::info!(user = %name, "signed up");
                        audit::logged_in(&hub, name.as_str(), &address, "with a new account")
                            .await?;
                        return begin_session(&hub, id, &headers, go("/")?).await;
                    }
                    SignedUp::NotInvited => return Err(HubError::NotInvited.into()),
                    SignedUp::Taken => format!("The name {name} is taken: choose another."),
                }
            }
        },
    };
    let page = SignUpPage {
        visit,
        token: fields.token,
        user,
        problem: Some(problem),
    };
    Ok((StatusCode::UNPROCESSABLE_ENTITY, render(&page)?).into_response())
}

/// Returns the invitation, if one is needed.
async fn invitation(hub: &Hub, visit: &Visit, token: &str) -> Result<Option<KeyDigest>, HttpError> {
    match hub.settings.sign_up {
        SignUp::Open => Ok(None),
        SignUp::Closed => Err(HubError::SignUpClosed.into()),
        SignUp::Invitation => {
            let digest = KeyDigest::of(token);
            if hub.database.has_invitation(&digest, visit.now).await? {
                Ok(Some(digest))
            } else {
                Err(HubError::NotInvited.into())
            }
        }
    }
}
