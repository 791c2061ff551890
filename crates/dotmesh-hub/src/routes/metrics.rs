//! `GET /metrics`: for Prometheus. For administrators, by a key of any scope, unless the settings open it.

use std::time::Instant;

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use dotmesh_hub_service::Hub;
use dotmesh_hub_service::auth::Viewer;
use dotmesh_hub_service::metrics::Measured;

use super::health;
use crate::error::HttpError;

/// Tells them.
pub(crate) async fn get(
    State(hub): State<Hub>,
    viewer: Viewer,
) -> Result<impl IntoResponse, HttpError> {
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
