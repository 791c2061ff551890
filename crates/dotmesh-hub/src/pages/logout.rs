//! `POST /-/logout`: ends the session.

use axum::extract::{Request, State};

use super::login::set_cookie;
use crate::auth::session_digest;
use crate::state::Hub;
use crate::web::{Page, go};

/// Ends it, on the hub and in the browser.
pub async fn post(State(hub): State<Hub>, request: Request) -> Page {
    let (parts, _) = request.into_parts();
    if let Some(digest) = session_digest(&parts) {
        hub.database.end_session(&digest).await?;
    }
    let mut response = go("/")?;
    set_cookie(&hub, &mut response, "", 0)?;
    Ok(response)
}
