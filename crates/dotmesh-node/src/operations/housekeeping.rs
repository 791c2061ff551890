//! What the daemon looks after while it runs: room in the pool, and what was deleted.

use std::time::Duration;

use crate::node::Node;

/// Databases fill gigabytes within seconds; a look costs one system call.
const ROOM_INTERVAL: Duration = Duration::from_secs(1);

/// How many looks at the room come to one at the trash.
const ROOM_PER_TRASH: u32 = 10;

/// What was deleted goes at once when less than this share of the pool is free: the living come first.
const CROWDED_FRACTION: u64 = 20;

/// How long what a transfer that ended early had received waits for the next attempt.
const INCOMING_AGE: Duration = Duration::from_secs(7 * 24 * 3600);

/// Runs until the daemon ends.
pub(crate) async fn keep_house(node: Node) {
    let grace = Duration::from_secs(node.config.trash_grace);
    let mut ticks = tokio::time::interval(ROOM_INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut emptying: Option<tokio::task::JoinHandle<()>> = None;
    for count in 0_u32.. {
        ticks.tick().await;
        let crowded = match node.pool.grow().await {
            Ok(grew) => !grew && is_crowded(&node).await,
            Err(error) => {
                tracing::warn!(%error, "the pool cannot grow");
                true
            }
        };
        let is_busy = emptying.as_ref().is_some_and(|task| !task.is_finished());
        if is_busy || !(crowded || grace.is_zero() || count % ROOM_PER_TRASH == 0) {
            continue;
        }
        let (grace, age) = match crowded {
            true => (Duration::ZERO, Duration::ZERO),
            false => (grace, INCOMING_AGE),
        };
        // A container decides how much there is to delete: the pool has to grow meanwhile.
        emptying = Some(tokio::spawn(empty(node.clone(), grace, age)));
    }
}

async fn empty(node: Node, grace: Duration, age: Duration) {
    // It goes into the trash.
    if let Err(error) = node.pool.forget_incoming(age).await {
        tracing::warn!(%error, "what transfers left cannot be deleted");
    }
    if let Err(error) = node.pool.empty_trash(grace).await {
        tracing::warn!(%error, "the trash cannot be emptied");
    }
    match node.pool.leftovers().await {
        Ok(leftovers) => node.leftovers.update(leftovers),
        Err(error) => tracing::warn!(%error, "what cannot be deleted is not known"),
    }
}

async fn is_crowded(node: &Node) -> bool {
    node.pool
        .space()
        .await
        .is_ok_and(|space| space.free < space.total / CROWDED_FRACTION)
}
