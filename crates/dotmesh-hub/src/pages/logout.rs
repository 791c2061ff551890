//! `POST /-/logout`: ends the session.

use axum::extract::State;
use dotmesh_hub_service::Hub;

use super::login::set_cookie;
use crate::authenticate::PresentSession;
use crate::web::{Page, go};

/// Ends the session on the hub and removes the cookie.
pub(crate) async fn post(State(hub): State<Hub>, PresentSession(session): PresentSession) -> Page {
    if let Some(digest) = session {
        hub.database.end_session(&digest).await?;
    }
    let mut response = go("/")?;
    set_cookie(&hub, &mut response, "", 0)?;
    Ok(response)
}
