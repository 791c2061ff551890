//! `/OWNER/DOT/archive/REF/PATH`: a commit, a subdot, a folder or a file as a tar archive.

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::IntoResponse as _;
use dotmesh_browse::TreeError;
use dotmesh_hub_service::Hub;
use dotmesh_hub_service::audit;
use dotmesh_hub_service::operations::sending;
use dotmesh_store::EntryName;

use super::raw::disposition;
use crate::web::tree_address::TreeAddress;
use crate::web::{Page, Visit};

/// Sends the archive. A missing path is reported before anything is sent.
pub(crate) async fn get(State(hub): State<Hub>, visit: Visit, at: TreeAddress) -> Page {
    let open = at.open(&hub, &visit).await?;
    open.reader.entry_at(open.root(), &at.path).await?;
    let name = |text: String| EntryName::new(text.as_bytes()).map_err(|_| TreeError::BadPath);
    let whole = format!("{}-{}", open.header.name, &open.commit.id.to_string()[..12]);
    let (top, file) = match at.path.last() {
        Some(last) => {
            let file = [whole.as_bytes(), b"-", last.as_bytes(), b".tar"].concat();
            // If the name is too long with the extension, the file's own name is left out.
            let file = EntryName::new(&file).unwrap_or(name(format!("{whole}.tar"))?);
            (last.clone(), file)
        }
        None => (name(whole.clone())?, name(format!("{whole}.tar"))?),
    };
    audit::download(
        &hub,
        &open.dot,
        visit.viewer.caller.as_ref(),
        "as an archive",
    )
    .await?;
    let turn = hub.turns.downloads.take(&open.dot.subject, 1).await?;
    let parts = open.reader.archive(open.root(), at.path, top);
    let body = Body::from_stream(sending::send(turn, "an archive", parts));
    let headers = [
        (
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/x-tar"),
        ),
        (
            header::CONTENT_DISPOSITION,
            // The name is percent-encoded, so it is ASCII.
            HeaderValue::from_str(&disposition(false, &file))
                .unwrap_or(HeaderValue::from_static("attachment")),
        ),
    ];
    Ok((headers, body).into_response())
}
