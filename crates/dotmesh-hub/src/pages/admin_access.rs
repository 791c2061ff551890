//! `/-/admin/access`: the access log, newest first: who logged in, from where, and what they downloaded or deleted.

use askama::Template;
use axum::extract::State;
use dotmesh_hub_db::access_log::{Act, PastAccess};
use dotmesh_hub_service::Hub;
use serde::Deserialize;

use crate::web::query::Query;
use crate::web::visit::AdminTab;
use crate::web::{Page, Visit, render};

const ROWS_PER_PAGE: u32 = 100;

#[derive(Template)]
#[template(path = "admin_access.html")]
struct AdminAccessPage {
    visit: Visit,
    user: String,
    accesses: Vec<PastAccess>,
    next: Option<i64>,
}

impl AdminAccessPage {
    fn tab(&self) -> AdminTab {
        AdminTab::Access
    }

    fn text(&self, past: &PastAccess) -> String {
        let subject = &past.access.subject;
        let what = match past.access.act {
            Act::Login => format!("logged in {subject}"),
            Act::WrongPassword => "gave a wrong password".to_owned(),
            Act::Key => format!("used the API key “{subject}”"),
            Act::Password => "used the password in a program".to_owned(),
            Act::Download => format!("downloaded data of {subject}"),
            Act::Deletion => format!("deleted {subject}"),
        };
        match past.count {
            1 => what,
            count => format!("{what} ({count} times that day)"),
        }
    }

    /// Returns the rest of the next page's query.
    fn filter(&self) -> String {
        match self.user.as_str() {
            "" => String::new(),
            user => format!("&user={user}"),
        }
    }
}

/// The place where the list begins, and the user whose entries are listed.
#[derive(Debug, Deserialize)]
pub(crate) struct Asked {
    before: Option<i64>,
    #[serde(default)]
    user: String,
}

pub(crate) async fn get(State(hub): State<Hub>, visit: Visit, Query(asked): Query<Asked>) -> Page {
    visit.administrator()?;
    let user = asked.user.trim().to_owned();
    // A text that is not a user name has no entries. Dropping it keeps it out of addresses.
    let is_name = user.parse::<dotmesh_model::UserName>().is_ok();
    let user = if is_name { user } else { String::new() };
    let of = Some(user.as_str()).filter(|user| !user.is_empty());
    let listing = hub.database.accesses(of, asked.before, ROWS_PER_PAGE);
    let accesses = listing.await?;
    let is_full = accesses.len() == ROWS_PER_PAGE as usize;
    let next = accesses.last().filter(|_| is_full).map(|past| past.id);
    render(&AdminAccessPage {
        visit,
        user,
        accesses,
        next,
    })
}
