//! `/-/authorize`: whether a program that asks for a key gets one.

use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse as _;
use jiff::SignedDuration;
use serde::Deserialize;

use crate::access::Scope;
use crate::auth::Caller;
use crate::clock;
use crate::credentials::UserCode;
use crate::database::attempts::Limit;
use crate::database::device_logins::{Decision, WaitingLogin};
use crate::error::HubError;
use crate::state::Hub;
use crate::web::form::Form;
use crate::web::{Page, Visit, render};

/// Codes that a user may look for: who guesses one would give another's program a key to an account of their own.
const LIMIT: Limit = Limit {
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

/// What the page shows.
enum Step {
    /// A field for the code; and maybe that there is no login of the one given.
    Ask { missed: bool },
    /// The program that waits.
    Decide { code: UserCode, login: WaitingLogin },
    /// What was decided, and for how many days the key works.
    Done { approved: bool, days: Option<i64> },
}

/// Where it is. No address has a code in it: whoever sends a link to it knows the code, and who types one knows the program.
pub const PATH: &str = "/-/authorize";

/// The form: the code alone asks which program that is.
#[derive(Deserialize)]
pub struct Fields {
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
pub async fn get(visit: Visit) -> Page {
    let user = full(&visit)?.name.to_string();
    let step = Step::Ask { missed: false };
    render(&AuthorizePage { visit, user, step })
}

/// Shows who asks, or decides.
pub async fn post(State(hub): State<Hub>, visit: Visit, Form(fields): Form<Fields>) -> Page {
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
            let deciding = hub.database.decide_login(&digest, decision, clock::now());
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

/// The user, who has to be there in person: a narrow key makes no wider one.
fn full(visit: &Visit) -> Result<&Caller, HubError> {
    let caller = visit.caller()?;
    if caller.scope < Scope::Admin {
        let needed = Scope::Admin;
        return Err(HubError::NarrowKey { needed });
    }
    Ok(caller)
}

/// The code, if it may be one. Each look counts.
async fn look_up(hub: &Hub, caller: &Caller, text: &str) -> Result<Option<UserCode>, HubError> {
    let subject = format!("code by {}", caller.name);
    if !hub.database.attempt(&subject, LIMIT, clock::now()).await? {
        let what = "attempts to enter a code";
        return Err(HubError::TooMany { what });
    }
    Ok(text.parse().ok())
}

fn missed(visit: Visit, user: String) -> Page {
    let step = Step::Ask { missed: true };
    let page = render(&AuthorizePage { visit, user, step })?;
    Ok((StatusCode::NOT_FOUND, page).into_response())
}
