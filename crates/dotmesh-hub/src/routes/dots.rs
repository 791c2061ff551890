//! `GET /api/v1/dots`: the dots that the caller may read.

use axum::extract::State;
use dotmesh_api::hub::{Access, HubDot};
use dotmesh_hub_model::access;
use dotmesh_hub_service::Hub;
use dotmesh_hub_service::auth::Caller;

use crate::error::HttpError;
use crate::extract::{ListPage, Paging};
use crate::openapi::OfUser;

/// Lists the dots that the caller owns, and those where the caller is a collaborator.
#[utoipa::path(
    get,
    path = "/dots",
    operation_id = "list_dots",
    tag = "dots",
    params(Paging),
    responses((status = 200, description = "The dots, by name.", body = Vec<HubDot>), OfUser),
)]
pub(crate) async fn get(
    State(hub): State<Hub>,
    caller: Caller,
    paging: Paging,
) -> Result<ListPage<HubDot>, HttpError> {
    let part = paging.part(|name| name.parse().ok())?;
    let mut dots = Vec::new();
    let (listed, is_cut) = hub.database.dots_of(caller.id, part).await?;
    for dot in listed {
        let Some(access) =
            access::role(Some(&caller.name), &dot.name, dot.grant, dot.visibility).access()
        else {
            continue;
        };
        let collaborators = match access {
            Access::Owner => hub.database.collaborators(dot.id).await?,
            Access::Read | Access::Write | Access::Maintain => Vec::new(),
        };
        dots.push(HubDot {
            name: dot.name,
            identity: Some(dot.identity),
            access,
            visibility: Some(dot.visibility),
            branches: dot.branches,
            collaborators,
            without_data: hub.database.count_without_data(dot.id).await?,
        });
    }
    let paging = match is_cut {
        true => paging.ending_early(),
        false => paging,
    };
    Ok(paging.page(dots, |dot| dot.name.full(), |dot| dot))
}
