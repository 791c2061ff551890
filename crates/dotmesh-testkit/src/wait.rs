//! Waits for a condition, and reports the last observation if it never came true.

use std::time::Duration;

use anyhow::bail;
use tokio::time::{Instant, sleep, timeout_at};

const BETWEEN_PROBES: Duration = Duration::from_millis(20);

/// Calls the probe until it succeeds, and returns its result. After `timeout` it fails. The error has `what` and the
/// last error of the probe.
pub async fn wait_for<T>(
    what: &str,
    timeout: Duration,
    mut probe: impl AsyncFnMut() -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let deadline = Instant::now() + timeout;
    let mut last = "the first look did not end in time".to_owned();
    loop {
        match timeout_at(deadline, probe()).await {
            Ok(Ok(found)) => return Ok(found),
            Ok(Err(reason)) => last = format!("{reason:#}"),
            Err(_) => {}
        }
        if Instant::now() + BETWEEN_PROBES >= deadline {
            bail!("waited {timeout:?} for {what}, in vain; last seen: {last}");
        }
        sleep(BETWEEN_PROBES).await;
    }
}
