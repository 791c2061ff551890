//! `POST /-/logout`: ends the session.

use axum::extract::State;

use super::login::set_cookie;
use crate::auth::PresentSession;
use crate::state::Hub;
use crate::web::{Page, go};

/// Ends the session on the hub and removes the cookie.
pub async fn post(State(hub): State<Hub>, PresentSession(session): PresentSession) -> Page {
    if let Some(digest) = session {
        hub.database.end_session(&digest).await?;
    }
    let mut response = go("/")?;
    set_cookie(&hub, &mut response, "", 0)?;
    Ok(response)
}
