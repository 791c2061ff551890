//! Background work of the daemon: the pool's size, the trash and the undo budget.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use dotmesh_api::node::UndoBudget;
use dotmesh_model::DotName;
use dotmesh_pool::{Kept, Room};

use crate::error::NodeError;
use crate::node::{Node, place};
use crate::remount;

/// How often the pool is resized to fit the disk below it. A check costs a few system calls.
const ROOM_INTERVAL: Duration = Duration::from_secs(1);

/// The interval when the disk has little free space: a program can write 1 GB within a second.
const SHORT_INTERVAL: Duration = Duration::from_millis(100);

/// Below this number of bytes, free space counts as little.
const LITTLE: u64 = 8 << 30;

/// How often the trash is emptied.
const TRASH_INTERVAL: Duration = Duration::from_secs(10);

/// The environment variable that tells a re-executed daemon that it has just remounted its pool.
pub(crate) const REMOUNTED: &str = "DOTMESH_REMOUNTED";

/// The minimum time between two remounts.
const REMOUNT_PAUSE: Duration = Duration::from_secs(60);

/// When less than 1/20 of the pool is free, deleted data is freed at once, without the grace period.
const CROWDED_FRACTION: u64 = 20;

/// The maximum number of operations in a dot's log. Each commit reads all their descriptions.
const MOST_OPERATIONS: usize = 200;

/// The default undo budget: 1/10 of the pool.
const UNDO_FRACTION: u64 = 10;

/// How long the data of an interrupted transfer is kept for the next attempt.
const INCOMING_AGE: Duration = Duration::from_secs(7 * 24 * 3600);

/// Runs until the daemon ends, or until the pool must be remounted.
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
                tracing::warn!(%error, "cannot resize the pool to fit the disk below it");
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
            // Mounts may have been refused for lack of space.
            node.wake.notify_one();
        }
        was_crowded = crowded;
        let disk = room.and_then(|room| room.disk);
        let is_short = disk.is_some_and(|disk| disk.free < LITTLE);
        let is_busy = emptying.as_ref().is_some_and(|task| !task.is_finished());
        let is_hasty = grace.is_zero() || node.config.undo_time == 0;
        if !is_busy && (crowded || is_hasty || Instant::now() >= trash_at) {
            trash_at = Instant::now() + TRASH_INTERVAL;
            let (grace, age) = match crowded {
                true => (Duration::ZERO, Duration::ZERO),
                false => (grace, INCOMING_AGE),
            };
            // Emptying can take long, and the pool must be resized meanwhile.
            emptying = Some(tokio::spawn(empty(node.clone(), grace, age, crowded)));
        }
        tokio::time::sleep(if is_short {
            SHORT_INTERVAL
        } else {
            ROOM_INTERVAL
        })
        .await;
    }
}

/// The problem of the pool and the disk below it that users must know.
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
            "The pool is read-only, since a write to the disk below it failed. When that disk has {} MiB free, the daemon mounts the pool \
             again and restarts its containers.{free}",
            remount::ENOUGH >> 20
        ));
    }
    // If only the pool itself is full, the disk keeps about the whole reserve.
    let disk = disk.filter(|disk| disk.free < disk.reserve / 8 * 7)?;
    Some(format!(
        "The disk below the pool is nearly full, so containers cannot write more to their volumes. Free space on it, or delete dots. \
         The pool leaves the last {} MiB to other programs.{free}",
        disk.reserve >> 20
    ))
}

async fn empty(node: Node, grace: Duration, age: Duration, crowded: bool) {
    // Dropped states go to the trash, which is emptied below.
    if let Err(error) = keep_budget(&node).await {
        tracing::warn!(%error, "cannot check the undo budget");
    }
    if crowded && let Err(error) = drop_oldest(&node).await {
        tracing::warn!(%error, "cannot drop old undo data");
    }
    // This data goes to the trash, too.
    if let Err(error) = node.pool.forget_incoming(age).await {
        tracing::warn!(%error, "cannot delete the data of interrupted transfers");
    }
    if let Err(error) = node.pool.empty_trash(grace).await {
        tracing::warn!(%error, "cannot empty the trash");
    }
    if let Err(error) = node.pool.keep_reserve().await {
        tracing::warn!(%error, "cannot reserve space in the pool");
    }
    match node.pool.leftovers().await {
        Ok(leftovers) => node.leftovers.update(leftovers),
        Err(error) => tracing::warn!(%error, "cannot list what could not be deleted"),
    }
}

/// The undo budget, with its present use.
pub(crate) async fn budget(node: &Node, kept: &[Kept]) -> Result<UndoBudget, NodeError> {
    let bytes = match node.config.undo_space {
        Some(bytes) => bytes,
        None => node.pool.space().await?.total / UNDO_FRACTION,
    };
    Ok(UndoBudget {
        seconds: node.config.undo_time,
        bytes,
        used: kept.iter().map(|kept| kept.bytes).sum(),
    })
}

/// Drops what exceeds the undo budget, oldest first.
pub(crate) async fn keep_budget(node: &Node) -> Result<(), NodeError> {
    let kept = node.pool.kept().await?;
    let budget = budget(node, &kept).await?;
    let now = crate::node::now();
    for kept in surplus(kept, budget, node.config.trash_grace, now) {
        drop_one(node, kept).await?;
    }
    Ok(())
}

/// The entries that exceed the budget. `kept` is sorted, oldest first. An entry is dropped for its size only once it is
/// older than `grace` seconds, so that even a large one can be undone for a while.
fn surplus(kept: Vec<Kept>, budget: UndoBudget, grace: u64, now: jiff::Timestamp) -> Vec<Kept> {
    let mut used = budget.used;
    let mut left: BTreeMap<DotName, usize> = BTreeMap::new();
    for one in &kept {
        *left.entry(one.dot.clone()).or_default() += 1;
    }
    let mut surplus = Vec::new();
    for one in kept {
        let age = u64::try_from(now.duration_since(one.since).as_secs()).unwrap_or(0);
        let left = left.entry(one.dot.clone()).or_default();
        let is_large = used > budget.bytes && one.bytes > 0 && age >= grace;
        if age >= budget.seconds || is_large || *left > MOST_OPERATIONS {
            used -= one.bytes;
            *left -= 1;
            surplus.push(one);
        }
    }
    surplus
}

/// Makes room in a full pool: drops the oldest entry that takes space.
pub(crate) async fn drop_oldest(node: &Node) -> Result<(), NodeError> {
    let kept = node.pool.kept().await?;
    match kept.into_iter().find(|kept| kept.bytes > 0) {
        Some(oldest) => drop_one(node, oldest).await,
        None => Ok(()),
    }
}

/// Drops an entry, unless another operation holds its dot.
async fn drop_one(node: &Node, kept: Kept) -> Result<(), NodeError> {
    let doing = "cleaned of old undo data";
    let Some(_lock) = node.locks.try_operation(&kept.dot, doing) else {
        return Ok(());
    };
    Ok(node.pool.drop_kept(kept).await?)
}

async fn is_crowded(node: &Node) -> bool {
    node.pool
        .space()
        .await
        .is_ok_and(|space| space.free < space.total / CROWDED_FRACTION)
}

#[cfg(test)]
mod tests {
    use dotmesh_pool::{KeptWhere, State};

    use super::*;

    const HOUR: i64 = 3600;

    /// An entry that is `hours` old and has `bytes` bytes.
    fn kept(number: u64, hours: i64, bytes: u64) -> Kept {
        Kept {
            dot: "app".parse().expect("a name"),
            place: KeptWhere::Operation {
                number,
                state: State::Done,
            },
            since: jiff::Timestamp::from_second((100 - hours) * HOUR).expect("a time"),
            bytes,
        }
    }

    /// The numbers of the dropped entries.
    fn goes(kept: Vec<Kept>, bytes: u64) -> Vec<u64> {
        let budget = UndoBudget {
            seconds: 24 * 3600,
            bytes,
            used: kept.iter().map(|kept| kept.bytes).sum(),
        };
        let now = jiff::Timestamp::from_second(100 * HOUR).expect("a time");
        let surplus = surplus(kept, budget, 3600, now);
        let number = |kept: Kept| match kept.place {
            KeptWhere::Operation { number, .. } => number,
            KeptWhere::Deleted(_) => 0,
        };
        surplus.into_iter().map(number).collect()
    }

    #[test]
    fn what_is_old_or_too_much_goes() {
        let all = || {
            vec![
                kept(1, 30, 5),
                kept(2, 20, 10),
                kept(3, 10, 0),
                kept(4, 2, 10),
            ]
        };
        assert_eq!(goes(all(), 100), [1]);
        assert_eq!(goes(all(), 20), [1]);
        assert_eq!(goes(all(), 19), [1, 2]);
        assert_eq!(goes(all(), 9), [1, 2, 4], "an empty one makes no room");
        // A large entry stays for an hour.
        assert_eq!(goes(vec![kept(1, 2, 5), kept(2, 0, 1000)], 10), [1]);
    }

    #[test]
    fn a_dot_keeps_so_many_operations() {
        let many = (0..MOST_OPERATIONS as u64 + 3).map(|number| kept(number, 1, 0));
        assert_eq!(goes(many.collect(), 100), [0, 1, 2]);
    }
}
