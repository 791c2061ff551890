//! `GET /healthz` and `GET /readyz`: whether this process runs, and whether it can serve. For load balancers: no login.

use std::time::{Duration, Instant};

use axum::extract::State;
use axum::http::StatusCode;
use dotmesh_hub_service::Hub;
use dotmesh_hub_service::readiness::Readiness;
use dotmesh_store::{PackId, PackStoreError};

/// How long the database and the store may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// An answer counts for so long: whoever asks without end does not make the hub ask its store as often.
const FRESH: Duration = Duration::from_secs(1);

/// Says that the process runs.
pub(crate) async fn live() -> &'static str {
    "ok\n"
}

/// Says whether the database and the store answer.
pub(crate) async fn ready(State(hub): State<Hub>) -> (StatusCode, &'static str) {
    let mut last = hub.readiness.lock().await;
    let answer = match *last {
        Some((at, answer)) if at.elapsed() < FRESH => answer,
        _ => ask(&hub).await,
    };
    *last = Some((Instant::now(), answer));
    match answer {
        Readiness::Ready => (StatusCode::OK, "ready\n"),
        Readiness::NoDatabase => (
            StatusCode::SERVICE_UNAVAILABLE,
            "the database does not answer\n",
        ),
        Readiness::NoStore => (
            StatusCode::SERVICE_UNAVAILABLE,
            "the store does not answer\n",
        ),
    }
}

async fn ask(hub: &Hub) -> Readiness {
    match tokio::time::timeout(PATIENCE, hub.database.ping()).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            let error: &dyn std::error::Error = &error;
            tracing::error!(error, "the database does not answer");
            return Readiness::NoDatabase;
        }
        Err(_) => return Readiness::NoDatabase,
    }
    match store(hub).await {
        Some(_) => Readiness::Ready,
        None => Readiness::NoStore,
    }
}

/// How long the store takes to say that it has not what is nobody's; `None` when it does not answer.
pub(crate) async fn store(hub: &Hub) -> Option<Duration> {
    let start = Instant::now();
    let nothing = PackId::from_bytes([0; 32]);
    match tokio::time::timeout(PATIENCE, hub.packs.get(nothing)).await {
        Ok(Err(PackStoreError::NotFound { .. }) | Ok(_)) => Some(start.elapsed()),
        Ok(Err(error)) => {
            let error: &dyn std::error::Error = &error;
            tracing::error!(error, "the store does not answer");
            None
        }
        Err(_) => None,
    }
}
