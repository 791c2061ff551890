//! The hub's periodic jobs. If several processes share a database, one of them does each job: it holds the job's lease
//! until the job is due again. A job may run twice or be interrupted without harm.

use std::time::Duration;

use dotmesh_hub_db::DatabaseError;
use dotmesh_hub_db::access_log::MOST_ROWS;

use crate::operations::collect_garbage::{self, CollectError, Collected};
use crate::operations::delete_dot::GRACE;
use crate::operations::repack::{RepackError, Repacker};
use crate::running_lease::{self, REPACKING};
use crate::state::Hub;

/// How long an unfinished upload can be resumed.
const UPLOAD_LIFETIME: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// How long deliveries of webhooks stay in the log.
const DELIVERY_LIFETIME: Duration = Duration::from_secs(28 * 24 * 60 * 60);

/// The interval of each job.
const INTERVAL: Duration = Duration::from_secs(6 * 60 * 60);

/// The interval of repacks.
const REPACKS: Duration = Duration::from_secs(60 * 60);

/// Runs the jobs for as long as the future is polled.
pub async fn run(hub: &Hub) {
    tokio::join!(run_others(hub), run_repacks(hub));
}

/// Repacks. A long repack must not keep other jobs from running.
async fn run_repacks(hub: &Hub) {
    let holder = hex::encode(hub.random.bytes::<8>());
    let mut ticks = tokio::time::interval(REPACKS);
    // While a hub is upgraded, processes of the version before may still serve, and cannot read groups. So the first
    // repack waits.
    ticks.tick().await;
    loop {
        ticks.tick().await;
        if let Err(error) = repack(hub, &holder).await {
            let error: &dyn std::error::Error = &error;
            tracing::error!(error, "cannot repack");
        }
    }
}

async fn repack(hub: &Hub, holder: &str) -> Result<(), RepackError> {
    let Some(settled) = hub.settings.repack_after else {
        return Ok(());
    };
    let now = hub.clock.now();
    // A bit less than the interval, so that the next tick finds the lease ended.
    let until = now + REPACKS / 2;
    if !hub.database.lease("repack", holder, now, until).await? {
        return Ok(());
    }
    let repacker = Repacker::of(hub);
    let repacking = repacker.repack(now, settled);
    let (database, clock) = (&hub.database, &hub.clock);
    let Some(done) = running_lease::hold(database, clock, REPACKING, holder, repacking).await?
    else {
        // `dothub repack` is at it.
        return Ok(());
    };
    let done = done?;
    if done.packs > 0 {
        let (packs, before, after) = (done.packs, done.before, done.after);
        tracing::info!(packs, before, after, "repacked");
    }
    let damaged = done.damaged.len() as u64;
    hub.metrics.repacked(done.before, done.after, damaged);
    Ok(())
}

async fn run_others(hub: &Hub) {
    let holder = hex::encode(hub.random.bytes::<8>());
    let mut ticks = tokio::time::interval(INTERVAL);
    loop {
        ticks.tick().await;
        // Expired data becomes garbage first, so that the collector finds it.
        if let Err(error) = expire(hub, &holder).await {
            let error: &dyn std::error::Error = &error;
            tracing::error!(error, "cannot remove what has expired");
        }
        if let Err(error) = collect(hub, &holder).await {
            let error: &dyn std::error::Error = &error;
            tracing::error!(error, "cannot collect garbage");
        }
    }
}

/// Takes the job's lease. Returns whether this process must do the job now.
async fn is_due(hub: &Hub, job: &str, holder: &str) -> Result<bool, DatabaseError> {
    let now = hub.clock.now();
    hub.database.lease(job, holder, now, now + INTERVAL).await
}

/// Removes expired data and unfinished uploads, and purges dots that were deleted long ago.
async fn expire(hub: &Hub, holder: &str) -> Result<(), DatabaseError> {
    if !is_due(hub, "expire", holder).await? {
        return Ok(());
    }
    let database = &hub.database;
    let now = hub.clock.now();
    database.expire_sessions(now).await?;
    database.expire_links(now).await?;
    database.expire_deliveries(now - DELIVERY_LIFETIME).await?;
    database.expire_accesses(now, MOST_ROWS).await?;
    let dots = database.purge_dots(now - GRACE).await?;
    let uploads = database.expire_uploads(now - UPLOAD_LIFETIME).await?;
    if dots + uploads > 0 {
        tracing::info!(dots, uploads, "removed deleted dots and old uploads");
    }
    Ok(())
}

/// Collects garbage.
async fn collect(hub: &Hub, holder: &str) -> Result<(), CollectError> {
    if !is_due(hub, "collect garbage", holder).await? {
        return Ok(());
    }
    let (database, packs) = (&hub.database, &hub.packs);
    let grace = collect_garbage::GRACE;
    let collected =
        collect_garbage::collect_garbage(database, packs, hub.clock.now(), grace).await?;
    if collected != Collected::default() {
        let Collected {
            packs,
            bytes,
            files,
        } = collected;
        tracing::info!(packs, bytes, files, "collected garbage");
    }
    hub.metrics.collected(collected.bytes);
    Ok(())
}
