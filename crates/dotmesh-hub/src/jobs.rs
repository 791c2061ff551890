//! What the hub does from time to time. Of the processes that share a database one does each job: it holds the
//! job's lease until the job is due again. Each job can be done twice, or be cut, without harm.

use std::time::Duration;

use crate::clock;
use crate::database::DatabaseError;
use crate::state::Hub;

/// How long an unfinished upload can be resumed.
const UPLOAD_LIFETIME: Duration = Duration::from_secs(7 * 24 * 60 * 60);

const EXPIRY_INTERVAL: Duration = Duration::from_secs(6 * 60 * 60);

/// Does them all for as long as it is polled.
pub async fn run(hub: &Hub) {
    let holder = hex::encode(rand::random::<[u8; 8]>());
    let mut ticks = tokio::time::interval(EXPIRY_INTERVAL);
    loop {
        ticks.tick().await;
        match expire_uploads(hub, &holder).await {
            Ok(0) => {}
            Ok(expired) => tracing::info!(expired, "removed old uploads"),
            Err(error) => {
                let error: &dyn std::error::Error = &error;
                tracing::error!(error, "cannot remove old uploads");
            }
        }
    }
}

/// Removes what was never finished, and sessions and links that have ended, unless another process sees to it. Says how
/// many uploads.
async fn expire_uploads(hub: &Hub, holder: &str) -> Result<u64, DatabaseError> {
    let now = clock::now();
    let lease = hub
        .database
        .lease("expire-uploads", holder, now, now + EXPIRY_INTERVAL);
    if !lease.await? {
        return Ok(0);
    }
    hub.database.expire_sessions(now).await?;
    hub.database.expire_links(now).await?;
    hub.database.expire_uploads(now - UPLOAD_LIFETIME).await
}
