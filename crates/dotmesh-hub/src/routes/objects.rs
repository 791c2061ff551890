//! `POST /api/v1/dots/{namespace}/{dot}/objects`: objects of a dot by their hashes, as a pack.

use axum::body::Body;
use axum::extract::State;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::response::IntoResponse;

use crate::access::Action;
use crate::auth::Viewer;
use crate::error::HubError;
use crate::extract::{DotPath, read_hashes};
use crate::operations::serve_objects;
use crate::state::Hub;

/// Sends as many of them as one pack takes, in the order asked.
pub async fn post(
    State(hub): State<Hub>,
    viewer: Viewer,
    DotPath(dot): DotPath,
    body: Body,
) -> Result<impl IntoResponse, HubError> {
    let dot = viewer.open(&hub, &dot, Action::Read).await?;
    let hashes = read_hashes(body).await?;
    let pack = serve_objects::serve_objects(&hub, &dot, &hashes).await?;
    let headers = [
        (CONTENT_TYPE, "application/octet-stream".to_owned()),
        // With it a client knows a pack that was cut.
        (CONTENT_LENGTH, pack.length.to_string()),
    ];
    Ok((headers, Body::from_stream(pack.parts)))
}
