//! `POST /api/v1/dots/{namespace}/{dot}/objects`: objects of a dot by their hashes, as a pack.

use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderValue;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::response::{IntoResponse as _, Response};
use dotmesh_hub_model::access::Action;
use dotmesh_hub_service::Hub;
use dotmesh_hub_service::audit;
use dotmesh_hub_service::auth::Viewer;
use dotmesh_hub_service::operations::serve_objects;

use crate::error::HttpError;
use crate::extract::{DotPath, read_hashes};
use crate::openapi::{Binary, OfObjects};

/// Sends objects of a dot as a pack.
#[utoipa::path(
    post,
    path = "/dots/{namespace}/{dot}/objects",
    operation_id = "get_objects",
    tag = "pulling",
    security((), ("key" = []), ("password" = []), ("session" = [])),
    params(DotPath),
    request_body(content = inline(Binary), content_type = "application/octet-stream", description = "Hashes, 32 bytes each, at most 8192."),
    responses((status = 200, description = "A pack with as many of the objects as fit, in the requested order; see `docs/format.md`.", body = inline(Binary), content_type = "application/octet-stream"), OfObjects),
)]
pub(crate) async fn post(
    State(hub): State<Hub>,
    viewer: Viewer,
    DotPath(dot): DotPath,
    body: Body,
) -> Result<Response, HttpError> {
    let dot = viewer.open(&hub, &dot, Action::Read).await?;
    let hashes = read_hashes(body).await?;
    audit::download(&hub, &dot, viewer.caller.as_ref(), "by clone or pull").await?;
    let pack = serve_objects::serve_objects(&hub, &dot, &hashes).await?;
    let mut response = Body::from_stream(pack.parts).into_response();
    let headers = response.headers_mut();
    let kind = HeaderValue::from_static("application/octet-stream");
    headers.insert(CONTENT_TYPE, kind);
    // With it a client knows a pack that was cut. Without it, the end of the last chunk tells.
    if let Some(length) = pack.length {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    Ok(response)
}
