//! A lease that is held while work runs, so that only one process does it at a time.

use std::time::Duration;

use dotmesh_hub_db::{Database, DatabaseError};
use dotmesh_model::ambient::Clock;

/// The lease of a running repack, by the job or by `dothub repack`.
pub const REPACKING: &str = "repack under way";

/// How long the lease holds when this program dies.
const LENGTH: Duration = Duration::from_secs(2 * 60);

/// How often it is renewed.
const RENEWAL: Duration = Duration::from_secs(20);

/// Does work while it holds a lease. `None` if another holder has the lease, also if it took the lease over because
/// this process was paused for long. The work may then be half done.
pub async fn hold<T>(
    database: &Database,
    clock: &Clock,
    name: &str,
    holder: &str,
    work: impl Future<Output = T>,
) -> Result<Option<T>, DatabaseError> {
    let now = clock.now();
    if !database.lease(name, holder, now, now + LENGTH).await? {
        return Ok(None);
    }
    let renewing = async {
        let mut ticks = tokio::time::interval(RENEWAL);
        loop {
            ticks.tick().await;
            let now = clock.now();
            if !database.lease(name, holder, now, now + LENGTH).await? {
                return Ok::<(), DatabaseError>(());
            }
        }
    };
    let done = tokio::select! {
        done = work => Some(done),
        lost = renewing => {
            lost?;
            None
        }
    };
    let now = clock.now();
    database.lease(name, holder, now, now).await?;
    Ok(done)
}
