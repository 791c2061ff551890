//! `/-/authorize`: lets a user approve or deny a program that asks for an API key.

use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse as _;
use dotmesh_hub_db::attempts::AttemptLimit;
use dotmesh_hub_db::device_logins::{Decision, WaitingLogin};
use dotmesh_hub_model::access::Scope;
use dotmesh_hub_model::credentials::UserCode;
use dotmesh_hub_service::auth::Caller;
use dotmesh_hub_service::{Hub, HubError};
use jiff::SignedDuration;
use serde::Deserialize;

use crate::error::HttpError;
use crate::web::form::Form;
use crate::web::{Page, Visit, render};

/// The codes that a user may try. A user who guesses a code could give another person's program a key to the guesser's
/// account.
const LIMIT: AttemptLimit = AttemptLimit {
    attempts: 20,
    within: SignedDuration::from_mins(10),
};

#[derive(Template)]
#[template(path = "authorize.html")]
struct AuthorizePage {
    visit: Visit,
    user: String,
    step: Step,
}

/// The content of the page.
enum Step {
    /// A field for the code. `missed` says that no login has the code that was entered.
    Ask { missed: bool },
    /// The waiting program.
    Decide { code: UserCode, login: WaitingLogin },
    /// The decision, and the key's lifetime in days.
    Done { approved: bool, days: Option<i64> },
}

/// The page's path. No address contains a code. So a link cannot make a user approve a program that they did not start.
pub(crate) const PATH: &str = "/-/authorize";

/// The form. Without a decision, it asks which program has the code.
#[derive(Deserialize)]
pub(crate) struct Fields {
    code: String,
    decision: Option<Word>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Word {
    Approve,
    Deny,
}

/// Asks for the code.
pub(crate) async fn get(visit: Visit) -> Page {
    let user = full(&visit)?.name.to_string();
    let step = Step::Ask { missed: false };
    render(&AuthorizePage { visit, user, step })
}

/// Shows the waiting program, or carries out the decision.
pub(crate) async fn post(State(hub): State<Hub>, visit: Visit, Form(fields): Form<Fields>) -> Page {
    let caller = full(&visit)?;
    let user = caller.name.to_string();
    let Some(code) = look_up(&hub, caller, &fields.code).await? else {
        return missed(visit, user);
    };
    let digest = code.digest();
    let step = match fields.decision {
        None => {
            let login = hub.database.waiting_login(&digest, visit.now).await?;
            login.map(|login| Step::Decide { code, login })
        }
        Some(word) => {
            let (decision, approved) = match word {
                Word::Approve => (Decision::Approve(caller.id), true),
                Word::Deny => (Decision::Deny, false),
            };
            let deciding = hub
                .database
                .decide_login(&digest, decision, hub.clock.now());
            let is_decided = deciding.await?;
            if is_decided {
                tracing::info!(%user, approved, "a program's login was decided");
            }
            let days = hub.settings.login_key_days();
            is_decided.then_some(Step::Done { approved, days })
        }
    };
    match step {
        Some(step) => render(&AuthorizePage { visit, user, step }),
        None => missed(visit, user),
    }
}

/// Returns the user. The scope must be `admin`, so that a narrow key cannot create a wider one.
fn full(visit: &Visit) -> Result<&Caller, HttpError> {
    let caller = visit.caller()?;
    if caller.scope < Scope::Admin {
        let needed = Scope::Admin;
        return Err(HubError::NarrowKey { needed }.into());
    }
    Ok(caller)
}

/// Parses a code. Each attempt counts.
async fn look_up(hub: &Hub, caller: &Caller, text: &str) -> Result<Option<UserCode>, HttpError> {
    let subject = format!("code by {}", caller.name);
    if !hub
        .database
        .attempt(&subject, LIMIT, hub.clock.now())
        .await?
    {
        let what = "attempts to enter a code";
        return Err(HubError::TooMany { what }.into());
    }
    Ok(text.parse().ok())
}

fn missed(visit: Visit, user: String) -> Page {
    let step = Step::Ask { missed: true };
    let page = render(&AuthorizePage { visit, user, step })?;
    Ok((StatusCode::NOT_FOUND, page).into_response())
}
