//! `/OWNER`: the dots of a namespace that the viewer may see.

use askama::Template;
use axum::extract::State;
use dotmesh_hub_db::listing::{DotFilter, DotPreview};
use dotmesh_hub_model::quota::Usage;
use dotmesh_hub_service::{Hub, HubError};
use dotmesh_model::UserName;

use crate::extract::OwnerPath;
use crate::web::query::Query;
use crate::web::{Page, PageNumber, Visit, commands, render};

#[derive(Template)]
#[template(path = "owner.html")]
struct OwnerPage {
    visit: Visit,
    owner: UserName,
    /// The usage, if the viewer is the owner.
    usage: Option<Usage>,
    is_self: bool,
    dots: Vec<DotPreview>,
    /// The number of the next page of dots.
    next: Option<u32>,
    first_push: Vec<String>,
}

pub(crate) async fn get(
    State(hub): State<Hub>,
    visit: Visit,
    OwnerPath(owner): OwnerPath,
    Query(asked): Query<PageNumber>,
) -> Page {
    let viewer = visit.user().map(|caller| caller.id);
    let Some(id) = hub.database.user(&owner).await? else {
        // Only logged-in users may know who has an account.
        visit.caller()?;
        return Err(HubError::NoSuchUser { user: owner }.into());
    };
    let filter = DotFilter::Namespace { owner: id, viewer };
    let (dots, is_more) = hub.database.list_dots(filter, asked.number()).await?;
    if dots.is_empty() {
        visit.caller()?;
    }
    let is_self = viewer == Some(id);
    let usage = match is_self {
        true => Some(hub.database.usage(id, hub.settings.quota).await?),
        false => None,
    };
    let first_push = commands::first_push(&visit.hub_url, "Empty state");
    render(&OwnerPage {
        visit,
        owner,
        usage,
        is_self,
        next: asked.next(is_more),
        dots,
        first_push,
    })
}
