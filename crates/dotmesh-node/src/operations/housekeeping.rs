//! What the daemon looks after while it runs: room in the pool, and what was deleted.

use std::time::{Duration, Instant};

use dotmesh_pool::Room;

use crate::node::{Node, place};
use crate::remount;

/// How often the pool is fitted to the disk below it. A look costs a few system calls.
const ROOM_INTERVAL: Duration = Duration::from_secs(1);

/// The same on a disk with little free space: a program can fill a gigabyte within a second.
const SHORT_INTERVAL: Duration = Duration::from_millis(100);

/// What little free space is, in bytes.
const LITTLE: u64 = 8 << 30;

/// How often the trash is looked at.
const TRASH_INTERVAL: Duration = Duration::from_secs(10);

/// This variable says that the daemon has just mounted its pool again.
pub(crate) const REMOUNTED: &str = "DOTMESH_REMOUNTED";

/// A pool that becomes read-only again is not mounted again within this time.
const REMOUNT_PAUSE: Duration = Duration::from_secs(60);

/// What was deleted goes at once when less than this share of the pool is free: the living come first.
const CROWDED_FRACTION: u64 = 20;

/// How long what a transfer that ended early had received waits for the next attempt.
const INCOMING_AGE: Duration = Duration::from_secs(7 * 24 * 3600);

/// Runs until the daemon ends, or until it has to mount the pool again.
pub(crate) async fn keep_house(node: Node) {
    let grace = Duration::from_secs(node.config.trash_grace);
    let remount_at = match std::env::var_os(REMOUNTED) {
        Some(_) => Instant::now() + REMOUNT_PAUSE,
        None => Instant::now(),
    };
    let is_ours = place(&node.config).is_ours();
    let mut trash_at = Instant::now();
    let mut emptying: Option<tokio::task::JoinHandle<()>> = None;
    let mut was_crowded = false;
    loop {
        let (room, crowded) = match node.pool.fit().await {
            Ok(room) => (Some(room), is_crowded(&node).await),
            Err(error) => {
                tracing::warn!(%error, "the pool cannot be fitted to the disk below it");
                (None, true)
            }
        };
        node.leftovers
            .set_pool(room.and_then(|room| problem(room, is_ours)));
        if room.is_some_and(|room| room.read_only && remount::has_room(room.disk))
            && is_ours
            && Instant::now() >= remount_at
        {
            return;
        }
        node.mounts.save().await;
        if was_crowded && !crowded {
            // Containers may have been refused for want of room.
            node.wake.notify_one();
        }
        was_crowded = crowded;
        let disk = room.and_then(|room| room.disk);
        let is_short = disk.is_some_and(|disk| disk.free < LITTLE);
        let is_busy = emptying.as_ref().is_some_and(|task| !task.is_finished());
        if !is_busy && (crowded || grace.is_zero() || Instant::now() >= trash_at) {
            trash_at = Instant::now() + TRASH_INTERVAL;
            let (grace, age) = match crowded {
                true => (Duration::ZERO, Duration::ZERO),
                false => (grace, INCOMING_AGE),
            };
            // A container decides how much there is to delete: the pool has to be fitted meanwhile.
            emptying = Some(tokio::spawn(empty(node.clone(), grace, age)));
        }
        tokio::time::sleep(if is_short {
            SHORT_INTERVAL
        } else {
            ROOM_INTERVAL
        })
        .await;
    }
}

/// What users have to know of the pool and the disk below it.
fn problem(room: Room, is_ours: bool) -> Option<String> {
    let disk = room.disk;
    let free = disk.map_or_else(String::new, |disk| {
        format!(" It has {} MiB free.", disk.free >> 20)
    });
    if room.read_only && !is_ours {
        return Some(
            "The filesystem that the pool's folder is on is read-only. Mount it again.".to_owned(),
        );
    }
    if room.read_only {
        return Some(format!(
            "The pool is read-only, since the disk below it did not take a write. The daemon mounts it again, and starts its containers \
             anew, when that disk has {} MiB free.{free}",
            remount::ENOUGH >> 20
        ));
    }
    // A pool that is full itself leaves about as much as the reserve.
    let disk = disk.filter(|disk| disk.free < disk.reserve / 8 * 7)?;
    Some(format!(
        "The disk below the pool is nearly full, so containers can't write more to their volumes. Make room on it, or delete dots: the pool \
         leaves the last {} MiB to other programs.{free}",
        disk.reserve >> 20
    ))
}

async fn empty(node: Node, grace: Duration, age: Duration) {
    // It goes into the trash.
    if let Err(error) = node.pool.forget_incoming(age).await {
        tracing::warn!(%error, "what transfers left cannot be deleted");
    }
    if let Err(error) = node.pool.empty_trash(grace).await {
        tracing::warn!(%error, "the trash cannot be emptied");
    }
    if let Err(error) = node.pool.keep_reserve().await {
        tracing::warn!(%error, "no space can be kept back in the pool");
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
