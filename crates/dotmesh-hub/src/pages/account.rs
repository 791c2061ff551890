//! `/-/settings`: the user's password and sessions.

use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse as _;
use dotmesh_hub_db::sessions::ListedSession;
use dotmesh_hub_db::users::OldKeys;
use dotmesh_hub_model::credentials::KeyDigest;
use dotmesh_hub_model::quota::Usage;
use dotmesh_hub_service::Hub;
use dotmesh_hub_service::address::ClientAddress;
use dotmesh_hub_service::auth;
use serde::Deserialize;

use crate::authenticate::PresentSession;
use crate::error::HttpError;
use crate::web::form::Form;
use crate::web::visit::AccountTab;
use crate::web::{Page, Visit, go, render};

const PATH: &str = "/-/settings";

#[derive(Template)]
#[template(path = "account.html")]
struct AccountPage {
    visit: Visit,
    user: String,
    sessions: Vec<ListedSession>,
    usage: Usage,
    present: Option<KeyDigest>,
    problem: Option<String>,
    is_changed: bool,
}

impl AccountPage {
    fn tab(&self) -> AccountTab {
        AccountTab::Account
    }

    fn is_present(&self, session: &ListedSession) -> bool {
        self.present.as_ref() == Some(&session.digest)
    }
}

/// The form that changes the password.
#[derive(Deserialize)]
pub(crate) struct Passwords {
    old: String,
    new: String,
    /// Sent if all API keys are to be revoked too.
    end_keys: Option<String>,
}

/// The form that ends a session.
#[derive(Deserialize)]
pub(crate) struct Ended {
    session: String,
}

pub(crate) async fn get(
    State(hub): State<Hub>,
    visit: Visit,
    PresentSession(present): PresentSession,
) -> Page {
    show(&hub, visit, present, Outcome::None).await
}

/// Changes the password, if the old one is right. All other sessions end.
pub(crate) async fn change_password(
    State(hub): State<Hub>,
    visit: Visit,
    PresentSession(present): PresentSession,
    address: ClientAddress,
    Form(fields): Form<Passwords>,
) -> Page {
    let caller = visit.account()?.clone();
    let known = auth::by_password(&hub, &caller.name, fields.old, &address).await?;
    let outcome = match known {
        None => Outcome::Problem("The old password is wrong.".to_owned()),
        Some(_) => match auth::hash_password(&hub, &caller.name, fields.new, &address).await? {
            Err(error) => Outcome::Problem(error.to_string()),
            Ok(password) => {
                let (user, name, session) = (caller.id, &caller.name, present.as_ref());
                let keys = OldKeys::ending(fields.end_keys.is_some());
                hub.database
                    .change_password(user, name, &password, session, keys, visit.now)
                    .await?;
                tracing::info!(user = %caller.name, "a password was changed");
                Outcome::Changed
            }
        },
    };
    show(&hub, visit, present, outcome).await
}

/// Ends one of the user's sessions.
pub(crate) async fn end_session(
    State(hub): State<Hub>,
    visit: Visit,
    Form(Ended { session }): Form<Ended>,
) -> Page {
    let caller = visit.account()?;
    let digest = KeyDigest::from_hex(&session)
        .ok_or_else(|| HttpError::malformed("the form names no session"))?;
    hub.database.end_session_of(caller.id, &digest).await?;
    go(PATH)
}

enum Outcome {
    None,
    Problem(String),
    Changed,
}

async fn show(hub: &Hub, visit: Visit, present: Option<KeyDigest>, outcome: Outcome) -> Page {
    let caller = visit.account()?;
    let sessions = hub.database.sessions(caller.id, visit.now).await?;
    let usage = hub.database.usage(caller.id, hub.settings.quota).await?;
    let (status, problem, is_changed) = match outcome {
        Outcome::None => (StatusCode::OK, None, false),
        Outcome::Changed => (StatusCode::OK, None, true),
        Outcome::Problem(problem) => (StatusCode::UNPROCESSABLE_ENTITY, Some(problem), false),
    };
    let page = AccountPage {
        user: caller.name.to_string(),
        visit,
        sessions,
        usage,
        present,
        problem,
        is_changed,
    };
    Ok((status, render(&page)?).into_response())
}
