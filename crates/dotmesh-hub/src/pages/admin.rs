//! `/-/admin`: users, storage, jobs; links to sign up and to set a forgotten password. Shows nothing of what is in dots.

use askama::Template;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse as _;
use dotmesh_model::UserName;
use serde::Deserialize;

use super::{password, signup};
use crate::credentials::Token;
use crate::database::leases::Lease;
use crate::database::totals::Totals;
use crate::database::users::Account;
use crate::error::HubError;
use crate::settings::SignUp;
use crate::state::Hub;
use crate::web::form::Form;
use crate::web::visit::AdminTab;
use crate::web::{Page, Visit, render};

#[derive(Template)]
#[template(path = "admin.html")]
struct AdminPage {
    visit: Visit,
    accounts: Vec<Account>,
    totals: Totals,
    jobs: Vec<Lease>,
    sign_up: SignUp,
    made: Option<MadeLink>,
}

/// A link that is shown once.
struct MadeLink {
    /// Whose password it sets; `None` for an invitation.
    user: Option<UserName>,
    url: String,
}

impl AdminPage {
    fn tab(&self) -> AdminTab {
        AdminTab::Overview
    }

    fn takes_invitations(&self) -> bool {
        self.sign_up == SignUp::Invitation
    }
}

/// Of the form that makes a link for a forgotten password.
#[derive(Deserialize)]
pub struct Forgotten {
    user: String,
}

/// Shows it.
pub async fn get(State(hub): State<Hub>, visit: Visit) -> Page {
    show(&hub, visit, None).await
}

/// Makes an invitation.
pub async fn invite(State(hub): State<Hub>, visit: Visit) -> Page {
    let caller = visit.administrator()?;
    let token = Token::generate();
    hub.database
        .add_invitation(&token.digest(), &caller.name, visit.now)
        .await?;
    let url = link(&visit, signup::PATH, &token);
    show(&hub, visit, Some(MadeLink { user: None, url })).await
}

/// Makes a link by which someone can set another password.
pub async fn reset(
    State(hub): State<Hub>,
    visit: Visit,
    Form(Forgotten { user }): Form<Forgotten>,
) -> Page {
    let caller = visit.administrator()?;
    let user: UserName = user.trim().parse()?;
    let token = Token::generate();
    if !hub
        .database
        .add_password_link(&token.digest(), &user, &caller.name, visit.now)
        .await?
    {
        return Err(HubError::NoSuchUser { user });
    }
    let url = link(&visit, password::PATH, &token);
    let made = MadeLink {
        user: Some(user),
        url,
    };
    show(&hub, visit, Some(made)).await
}

fn link(visit: &Visit, path: &str, token: &Token) -> String {
    format!("{}{path}?token={}", visit.hub_url, token.reveal())
}

async fn show(hub: &Hub, visit: Visit, made: Option<MadeLink>) -> Page {
    visit.administrator()?;
    let page = AdminPage {
        accounts: hub.database.accounts().await?,
        totals: hub.database.totals().await?,
        jobs: hub.database.leases().await?,
        sign_up: hub.settings.sign_up,
        visit,
        made,
    };
    let headers = [(header::CACHE_CONTROL, "no-store")];
    Ok((headers, render(&page)?).into_response())
}
