//! `/-/admin`: users, storage and jobs, and links to sign up or to set a new password. It shows nothing of what dots
//! contain.

use askama::Template;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse as _;
use dotmesh_hub_db::leases::JobLease;
use dotmesh_hub_db::paging::Part;
use dotmesh_hub_db::repack::RepackLog;
use dotmesh_hub_db::totals::Totals;
use dotmesh_hub_db::users::Account;
use dotmesh_hub_model::credentials::Token;
use dotmesh_hub_model::quota::Quota;
use dotmesh_hub_model::show;
use dotmesh_hub_service::running_lease::REPACKING;
use dotmesh_hub_service::settings::SignUp;
use dotmesh_hub_service::{Hub, HubError};
use dotmesh_model::UserName;
use serde::Deserialize;

use super::{password, signup};
use crate::error::HttpError;
use crate::web::form::Form;
use crate::web::query::Query;
use crate::web::visit::AdminTab;
use crate::web::{Page, Visit, go, render};

/// The number of users on a page.
const ACCOUNTS: u32 = 200;

/// The number of repacks that are shown.
const REPACKS: u32 = 10;

#[derive(Template)]
#[template(path = "admin.html")]
struct AdminPage {
    visit: Visit,
    accounts: Vec<Account>,
    /// The user after whom the next page begins.
    next: Option<UserName>,
    totals: Totals,
    jobs: Vec<JobLease>,
    repacks: RepackLog,
    quota: Option<u64>,
    sign_up: SignUp,
    made: Option<MadeLink>,
}

/// A link that is shown once.
struct MadeLink {
    /// The user whose password it sets. `None` for an invitation.
    user: Option<UserName>,
    url: String,
}

impl AdminPage {
    fn tab(&self) -> AdminTab {
        AdminTab::Overview
    }

    /// Returns the quota of an account, if there is one.
    fn limit(&self, account: &Account) -> Option<String> {
        account.quota.limit(self.quota).map(show::bytes)
    }

    /// Returns whether this is the viewer's own account, which they cannot suspend.
    fn is_own(&self, account: &Account) -> bool {
        let user = self.visit.user();
        user.is_some_and(|user| user.name == account.name)
    }

    fn takes_invitations(&self) -> bool {
        self.sign_up == SignUp::Invitation
    }
}

/// The form that creates a link to set a new password.
#[derive(Deserialize)]
pub(crate) struct Forgotten {
    user: String,
}

/// The form that sets a user's quota.
#[derive(Deserialize)]
pub(crate) struct NewQuota {
    user: String,
    quota: String,
}

/// The form that suspends a user, or ends the suspension.
#[derive(Deserialize)]
pub(crate) struct Suspension {
    user: String,
    state: SuspensionState,
}

#[derive(Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum SuspensionState {
    Suspended,
    Active,
}

/// The user after whom the list begins.
#[derive(Deserialize)]
pub(crate) struct After {
    after: Option<UserName>,
}

pub(crate) async fn get(
    State(hub): State<Hub>,
    visit: Visit,
    Query(After { after }): Query<After>,
) -> Page {
    page(&hub, visit, after, None).await
}

/// Creates an invitation.
pub(crate) async fn invite(State(hub): State<Hub>, visit: Visit) -> Page {
    let caller = visit.administrator()?;
    let token = Token::generate(&hub.random);
    hub.database
        .add_invitation(&token.digest(), &caller.name, visit.now)
        .await?;
    let url = link(&visit, signup::PATH, &token);
    page(&hub, visit, None, Some(MadeLink { user: None, url })).await
}

/// Creates a link with which a user can set a new password.
pub(crate) async fn reset(
    State(hub): State<Hub>,
    visit: Visit,
    Form(Forgotten { user }): Form<Forgotten>,
) -> Page {
    let caller = visit.administrator()?;
    let user: UserName = user.trim().parse()?;
    let token = Token::generate(&hub.random);
    if !hub
        .database
        .add_password_link(&token.digest(), &user, &caller.name, visit.now)
        .await?
    {
        return Err(HubError::NoSuchUser { user }.into());
    }
    let url = link(&visit, password::PATH, &token);
    let made = MadeLink {
        user: Some(user),
        url,
    };
    page(&hub, visit, None, Some(made)).await
}

/// Sets a user's quota.
pub(crate) async fn set_quota(
    State(hub): State<Hub>,
    visit: Visit,
    Form(NewQuota { user, quota }): Form<NewQuota>,
) -> Page {
    let caller = visit.administrator()?;
    let user: UserName = user.trim().parse()?;
    let quota: Quota = quota.parse().map_err(|error| {
        HttpError::malformed(format!(
            "{error}; or `none` for no limit, `default` for the hub's default"
        ))
    })?;
    let set = hub
        .database
        .set_quota(&user, quota, &caller.name, visit.now);
    if set.await? {
        go("/-/admin")
    } else {
        Err(HubError::NoSuchUser { user }.into())
    }
}

/// Suspends a user, or ends the suspension.
pub(crate) async fn suspend(
    State(hub): State<Hub>,
    visit: Visit,
    Form(Suspension { user, state }): Form<Suspension>,
) -> Page {
    let caller = visit.administrator()?;
    let user: UserName = user.trim().parse()?;
    let is_suspended = state == SuspensionState::Suspended;
    if is_suspended && user == caller.name {
        return Err(HttpError::malformed(
            "you cannot suspend yourself: ask another administrator",
        ));
    }
    let set = hub
        .database
        .set_suspended(&user, is_suspended, &caller.name, visit.now);
    if set.await? {
        go("/-/admin")
    } else {
        Err(HubError::NoSuchUser { user }.into())
    }
}

fn link(visit: &Visit, path: &str, token: &Token) -> String {
    format!("{}{path}?token={}", visit.hub_url, token.reveal())
}

async fn page(hub: &Hub, visit: Visit, after: Option<UserName>, made: Option<MadeLink>) -> Page {
    visit.administrator()?;
    let part = Part {
        after,
        limit: ACCOUNTS + 1,
    };
    let mut accounts = hub.database.accounts(part).await?;
    let is_more = accounts.len() > ACCOUNTS as usize;
    accounts.truncate(ACCOUNTS as usize);
    let last = accounts.last().filter(|_| is_more);
    let next = last.map(|account| account.name.clone());
    let mut jobs = hub.database.leases().await?;
    // This lease only says that a repack is running.
    jobs.retain(|job| job.name != REPACKING);
    let page = AdminPage {
        accounts,
        next,
        totals: hub.database.totals().await?,
        jobs,
        repacks: hub.database.repack_log(REPACKS).await?,
        quota: hub.settings.quota,
        sign_up: hub.settings.sign_up,
        visit,
        made,
    };
    let headers = [(header::CACHE_CONTROL, "no-store")];
    Ok((headers, render(&page)?).into_response())
}
