//! `/-/settings/keys`: the user's API keys. A new key is shown once, in the response to the form that creates it.

use askama::Template;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse as _;
use dotmesh_hub_db::ids::KeyId;
use dotmesh_hub_db::keys::{ListedKey, NewKey};
use dotmesh_hub_model::access::{Action, Scope};
use dotmesh_hub_model::credentials::ApiKey;
use dotmesh_hub_model::limits::{KEY_NAME, KEYS_PER_USER};
use dotmesh_hub_service::{Hub, HubError};
use dotmesh_model::DotName;
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;

use crate::error::HttpError;
use crate::web::form::Form;
use crate::web::visit::AccountTab;
use crate::web::{Page, Visit, go, render};

const PATH: &str = "/-/settings/keys";

/// The lifetimes to choose from, in days. 0 is for a key that works until it is revoked.
const LIFETIMES: [u32; 4] = [90, 30, 365, 0];

/// Returns the lifetimes that the hub's administrator allows. The first one is the default.
fn lifetimes(longest: Option<SignedDuration>) -> Vec<u32> {
    let Some(longest) = longest else {
        return LIFETIMES.to_vec();
    };
    let longest = u32::try_from(longest.as_hours() / 24).unwrap_or(u32::MAX);
    let shorter = LIFETIMES
        .into_iter()
        .filter(|days| (1..longest).contains(days));
    shorter.chain([longest]).collect()
}

#[derive(Template)]
#[template(path = "keys.html")]
struct KeysPage {
    visit: Visit,
    user: String,
    keys: Vec<ListedKey>,
    /// The key that was just created.
    made: Option<String>,
    problem: Option<String>,
    /// The lifetimes to choose from, in days.
    lifetimes: Vec<u32>,
    longest: Option<SignedDuration>,
}

impl KeysPage {
    fn tab(&self) -> AccountTab {
        AccountTab::Keys
    }

    fn is_expired(&self, key: &ListedKey) -> bool {
        self.expires(key)
            .is_some_and(|expires| expires <= self.visit.now)
    }

    /// Returns when the key expires: at its own limit or at the administrator's, whichever is earlier.
    fn expires(&self, key: &ListedKey) -> Option<Timestamp> {
        let limit = self.longest.map(|longest| key.created + longest);
        key.expires.into_iter().chain(limit).min()
    }
}

/// The form that creates a key.
#[derive(Deserialize)]
pub(crate) struct Fields {
    name: String,
    scope: String,
    /// The only dot that the key works for. Empty for all dots.
    #[serde(default)]
    dot: String,
    days: u32,
}

/// The form that revokes a key.
#[derive(Deserialize)]
pub(crate) struct Revoked {
    key: i64,
}

pub(crate) async fn get(State(hub): State<Hub>, visit: Visit) -> Page {
    show(&hub, visit, None, None).await
}

/// Creates a key.
pub(crate) async fn post(State(hub): State<Hub>, visit: Visit, Form(fields): Form<Fields>) -> Page {
    let caller = visit.account()?;
    let scope: Scope = fields
        .scope
        .parse()
        .map_err(|error| HttpError::malformed(format!("{error}")))?;
    if !lifetimes(hub.settings.longest_key).contains(&fields.days) {
        return Err(HttpError::malformed(
            "choose one of the lifetimes in the form",
        ));
    }
    let dot = fields.dot.trim();
    let name = fields.name.trim();
    let problem = if name.is_empty() || name.len() > KEY_NAME.most {
        Some(format!("A key's name has 1 to {} bytes.", KEY_NAME.most))
    } else if name.chars().any(char::is_control) {
        Some("A key's name is one line of text.".to_owned())
    } else if hub.database.keys(caller.id).await?.len() >= KEYS_PER_USER.most {
        let most = KEYS_PER_USER.most;
        Some(format!("You have {most} keys: revoke one first."))
    } else if !dot.is_empty() && scope == Scope::Admin {
        Some("A key for one dot has the scope read or write.".to_owned())
    } else {
        None
    };
    if problem.is_some() {
        return show(&hub, visit, None, problem).await;
    }
    let dot = if dot.is_empty() {
        None
    } else {
        let dot: DotName = dot.parse()?;
        match visit.viewer.open(&hub, &dot, Action::Read).await {
            Ok(open) => Some(open.existing()?),
            Err(HubError::NoSuchDot { dot }) => {
                let problem = format!("There is no dot {} that you may see.", dot.full());
                return show(&hub, visit, None, Some(problem)).await;
            }
            Err(error) => return Err(error.into()),
        }
    };
    let key = ApiKey::generate(&hub.random);
    let lifetime = SignedDuration::from_hours(24 * i64::from(fields.days));
    let new = NewKey {
        digest: key.digest(),
        name: name.to_owned(),
        scope,
        dot,
        expires: (fields.days > 0).then(|| visit.now + lifetime),
    };
    hub.database
        .create_key(caller.id, &caller.name, &new, visit.now)
        .await?;
    show(&hub, visit, Some(key), None).await
}

/// Revokes a key.
pub(crate) async fn revoke(
    State(hub): State<Hub>,
    visit: Visit,
    Form(Revoked { key }): Form<Revoked>,
) -> Page {
    let caller = visit.account()?;
    hub.database
        .revoke_key(caller.id, &caller.name, KeyId::from_number(key), visit.now)
        .await?;
    go(PATH)
}

async fn show(hub: &Hub, visit: Visit, made: Option<ApiKey>, problem: Option<String>) -> Page {
    let caller = visit.account()?;
    let keys = hub.database.keys(caller.id).await?;
    let status = if problem.is_some() {
        StatusCode::UNPROCESSABLE_ENTITY
    } else {
        StatusCode::OK
    };
    let page = KeysPage {
        user: caller.name.to_string(),
        visit,
        keys,
        made: made.map(|key| key.reveal().to_owned()),
        problem,
        lifetimes: lifetimes(hub.settings.longest_key),
        longest: hub.settings.longest_key,
    };
    // No cache may store a key, not even the browser's own.
    let headers = [(header::CACHE_CONTROL, "no-store")];
    Ok((status, headers, render(&page)?).into_response())
}
