//! Routes that make subdots of other data, and other data of subdots.

use axum::body::Body as RawBody;
use axum::extract::State;
use axum::response::Response;
use dotmesh_api::node::{ArchiveQuery, Export, ExportEvent, Import, ImportEvent};

use super::ApiError;
use super::extract::{AtPath, Body, DotPath, Query};
use super::openapi::{Binary, EVENTS, Problems};
use crate::node::Node;
use crate::operations::{export, import};

/// Makes subdots of local Docker volumes and of archives.
///
/// The body begins with a line of JSON. It may be all of the body. If the import fails, the status is 200 all the same, and the
/// last line says so. It is cancelled when the client leaves, and then nothing was imported.
#[utoipa::path(
    post,
    path = "/v1/dots/{namespace}/{dot}/imports",
    operation_id = "import",
    tag = "volumes",
    params(DotPath),
    request_body = Import,
    responses(
        (status = 200, description = EVENTS, body = ImportEvent, content_type = "application/x-ndjson"),
        Problems,
    ),
)]
pub(super) async fn post_imports(
    State(node): State<Node>,
    DotPath(name): DotPath,
    body: RawBody,
) -> Result<Response, ApiError> {
    Ok(import::start(node, name, body).await?)
}

/// Copies a subdot of a commit into a local Docker volume.
///
/// If it fails, the status is 200 all the same, and the last line says so. It is cancelled when the client leaves.
#[utoipa::path(
    post,
    path = "/v1/dots/{namespace}/{dot}/exports",
    operation_id = "export",
    tag = "volumes",
    params(AtPath),
    request_body = Export,
    responses(
        (status = 200, description = EVENTS, body = ExportEvent, content_type = "application/x-ndjson"),
        Problems,
    ),
)]
pub(super) async fn post_exports(
    State(node): State<Node>,
    AtPath(at): AtPath,
    Body(body): Body<Export>,
) -> Result<Response, ApiError> {
    Ok(export::start(node, at, body))
}

/// Sends the subdots of a commit with all their metadata.
#[utoipa::path(
    get,
    path = "/v1/dots/{namespace}/{dot}/archive",
    operation_id = "get_archive",
    tag = "volumes",
    params(AtPath, ArchiveQuery),
    responses(
        (
            status = 200,
            description = "A `tar` archive (pax), whose first entry is `./`.",
            body = inline(Binary),
            content_type = "application/x-tar",
        ),
        Problems,
    ),
)]
pub(super) async fn get_archive(
    State(node): State<Node>,
    AtPath(at): AtPath,
    Query(query): Query<ArchiveQuery>,
) -> Result<Response, ApiError> {
    Ok(export::archive(&node, &at, query).await?)
}
