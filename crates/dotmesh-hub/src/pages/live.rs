//! `/OWNER/DOT/live`: server-sent events with the number of the dot's last event, now and after each new event.

use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse as _;
use bytes::Bytes;
use dotmesh_api::hub::Access;
use dotmesh_hub_db::ids::DotId;
use dotmesh_hub_model::access::Action;
use dotmesh_hub_service::auth::Viewer;
use dotmesh_hub_service::live::{Heard, Listener};
use dotmesh_hub_service::{Hub, HubError};
use futures::stream;
use tokio::time::Instant;

use crate::error::HttpError;
use crate::extract::DotPath;
use crate::web::{Page, Visit};

/// The interval at which access is checked again, and a sign of life is sent.
const CHECK_INTERVAL: Duration = Duration::from_secs(20);

/// The lifetime of a stream. The browser then reconnects with its current credentials.
const LIFETIME: Duration = Duration::from_secs(10 * 60);

struct Stream {
    hub: Hub,
    viewer: Viewer,
    dot: dotmesh_model::DotName,
    id: DotId,
    listener: Listener,
    end: Instant,
    told: Option<i64>,
}

/// Sends the stream.
pub(crate) async fn get(State(hub): State<Hub>, visit: Visit, DotPath(name): DotPath) -> Page {
    let (open, _) = visit.open(&hub, &name, Action::Read).await?;
    // After a 204, a browser does not reconnect. The page then behaves as it does without scripts.
    let subject = &visit.viewer.subject;
    let Some(listener) = hub.live.listen(&hub.database, subject).await? else {
        return Ok(StatusCode::NO_CONTENT.into_response());
    };
    let stream = Stream {
        id: open.existing()?,
        viewer: visit.viewer,
        dot: open.name,
        hub,
        listener,
        end: Instant::now() + LIFETIME,
        told: None,
    };
    let parts = stream::unfold(stream, async |mut stream| {
        let part = stream.next().await?;
        Some((Ok::<_, std::convert::Infallible>(part), stream))
    });
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    Ok((headers, Body::from_stream(parts)).into_response())
}

impl Stream {
    /// Returns what to send next. `None` at the end.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            let mut is_due = self.told.is_none();
            if !is_due {
                let heard = self.listener.hear(self.id);
                match tokio::time::timeout(CHECK_INTERVAL, heard).await {
                    Ok(Heard::End) => return None,
                    Ok(Heard::Change) => {}
                    Err(_) => is_due = true,
                }
            }
            let access = self.check().await.ok()?;
            let database = &self.hub.database;
            let newest = database.newest_event(self.id, access).await.ok()?;
            if self.told != Some(newest) {
                self.told = Some(newest);
                return Some(format!("data: {newest}\n\n").into());
            }
            if is_due {
                return Some(Bytes::from_static(b":\n\n"));
            }
        }
    }

    /// Returns the viewer's access. It is an error if their login has ended, if they can no longer see the dot, or if
    /// the stream's lifetime is over.
    async fn check(&self) -> Result<Access, HttpError> {
        if !self.viewer.is_still_there(&self.hub).await? {
            return Err(HubError::LoginNeeded.into());
        }
        let open = self.viewer.open(&self.hub, &self.dot, Action::Read).await?;
        if open.id == Some(self.id) && Instant::now() < self.end {
            Ok(open.access)
        } else {
            Err(HubError::NoSuchDot { dot: open.name }.into())
        }
    }
}
