//! Stops forks whose lifetime is over. Their branches stay, so `dm up` starts them again where they were.

use std::time::Duration;

use super::{of, stop::stop_locked};
use crate::error::NodeError;
use crate::node::Node;

/// How often the daemon looks. A look reads one small file for each dot.
const INTERVAL: Duration = Duration::from_secs(5);

/// Runs until the daemon ends.
pub(crate) async fn watch(node: Node) {
    loop {
        if let Err(error) = stop_expired(&node).await {
            tracing::debug!(%error, "cannot stop expired forks yet");
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

/// Stops the containers of all expired forks.
pub(crate) async fn stop_expired(node: &Node) -> Result<(), NodeError> {
    let now = crate::node::now();
    for dot in node.registry.dots().await? {
        for (branch, fork) in of(node, &dot.name).await?.forks {
            if fork.expires.is_none_or(|expires| expires > now) {
                continue;
            }
            // An operation on the fork may end soon, and the next look is soon, too.
            let doing = "stopped, since its lifetime is over";
            let Some(_held) = node.locks.try_on_branch(&dot.name, &branch, doing) else {
                continue;
            };
            // It may have got a longer lifetime meanwhile.
            let now_known = of(node, &dot.name).await?.forks.remove(&branch);
            if now_known.is_none_or(|known| known.expires != fork.expires) {
                continue;
            }
            let stopped = stop_locked(node, &dot.name, &branch).await?;
            if !stopped.is_empty() {
                tracing::info!(dot = %dot.name, %branch, containers = stopped.join(", "), "stopped an expired fork");
            }
        }
    }
    Ok(())
}
