//! `GET /metrics`: for Prometheus. For administrators, by a key of any scope, unless the settings open it.

use std::time::Instant;

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;

use super::health;
use crate::auth::Viewer;
use crate::error::HubError;
use crate::metrics::Measured;
use crate::state::Hub;

/// Tells them.
pub async fn get(State(hub): State<Hub>, viewer: Viewer) -> Result<impl IntoResponse, HubError> {
    if !hub.settings.open_metrics {
        viewer.administrator()?;
    }
    let start = Instant::now();
    hub.database.ping().await?;
    let database = start.elapsed();
    let totals = hub.database.totals().await?;
    let measured = Measured {
        users: totals.users,
        dots: totals.dots,
        stored_bytes: totals.stored_bytes,
        connections: hub.connections(),
        database,
        store: health::store(&hub).await,
    };
    let text = hub.metrics.render(&measured);
    Ok(([(CONTENT_TYPE, "text/plain; version=0.0.4")], text))
}
