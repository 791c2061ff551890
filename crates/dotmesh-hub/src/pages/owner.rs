//! `/OWNER`: the dots of a namespace that the viewer may see.

use askama::Template;
use axum::extract::State;
use dotmesh_model::UserName;

use crate::database::listing::{DotSummary, Listing};
use crate::error::HubError;
use crate::extract::OwnerPath;
use crate::quota::Usage;
use crate::state::Hub;
use crate::web::{Page, Visit, render};

#[derive(Template)]
#[template(path = "owner.html")]
struct OwnerPage {
    visit: Visit,
    owner: UserName,
    /// Of who looks at their own.
    usage: Option<Usage>,
    is_self: bool,
    dots: Vec<DotSummary>,
}

/// Shows it.
pub async fn get(State(hub): State<Hub>, visit: Visit, OwnerPath(owner): OwnerPath) -> Page {
    let viewer = visit.user().map(|caller| caller.id);
    let Some(id) = hub.database.user(&owner).await? else {
        // Who has an account here is for users to know.
        visit.caller()?;
        return Err(HubError::NoSuchUser { user: owner });
    };
    let dots = hub
        .database
        .list_dots(Listing::Namespace { owner: id, viewer })
        .await?;
    if dots.is_empty() {
        visit.caller()?;
    }
    let is_self = viewer == Some(id);
    let usage = match is_self {
        true => Some(hub.database.usage(id, hub.settings.quota).await?),
        false => None,
    };
    render(&OwnerPage {
        visit,
        owner,
        usage,
        is_self,
        dots,
    })
}
