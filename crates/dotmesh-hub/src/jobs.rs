//! What the hub does from time to time. Of the processes that share a database one does each job: it holds the
//! job's lease until the job is due again. Each job can be done twice, or be cut, without harm.

use std::time::Duration;

use crate::clock;
use crate::database::DatabaseError;
use crate::operations::delete_dot::GRACE;
use crate::state::Hub;

/// How long an unfinished upload can be resumed.
const UPLOAD_LIFETIME: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// How long the log of webhooks' deliveries goes back.
const DELIVERY_LIFETIME: Duration = Duration::from_secs(28 * 24 * 60 * 60);

const EXPIRY_INTERVAL: Duration = Duration::from_secs(6 * 60 * 60);

/// Does them all for as long as it is polled.
pub async fn run(hub: &Hub) {
    let holder = hex::encode(rand::random::<[u8; 8]>());
    let mut ticks = tokio::time::interval(EXPIRY_INTERVAL);
    loop {
        ticks.tick().await;
        if let Err(error) = expire(hub, &holder).await {
            let error: &dyn std::error::Error = &error;
            tracing::error!(error, "cannot remove what has expired");
        }
    }
}

/// Removes what was never finished, what has ended and what was deleted long ago, unless another process sees to it.
async fn expire(hub: &Hub, holder: &str) -> Result<(), DatabaseError> {
    let database = &hub.database;
    let now = clock::now();
    let lease = database.lease("expire", holder, now, now + EXPIRY_INTERVAL);
    if !lease.await? {
        return Ok(());
    }
    database.expire_sessions(now).await?;
    database.expire_links(now).await?;
    database.expire_deliveries(now - DELIVERY_LIFETIME).await?;
    let dots = database.purge_dots(now - GRACE).await?;
    let uploads = database.expire_uploads(now - UPLOAD_LIFETIME).await?;
    if dots + uploads > 0 {
        tracing::info!(dots, uploads, "removed deleted dots and old uploads");
    }
    Ok(())
}
