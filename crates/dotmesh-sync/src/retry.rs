//! Calls to the hub, repeated when no answer came.

use std::time::Duration;

use dotmesh_api::ClientError;

use crate::progress::Progress;

/// How long to wait before each further attempt: for a hub that is restarted, or a train in a tunnel.
const PAUSES: [Duration; 6] = [
    Duration::from_millis(250),
    Duration::from_secs(1),
    Duration::from_secs(4),
    Duration::from_secs(8),
    Duration::from_secs(16),
    Duration::from_secs(32),
];

/// A step of a transfer that the hub did not do.
#[derive(Debug, thiserror::Error)]
#[error("cannot {step}")]
pub struct HubError {
    /// What was asked of it, e.g. `send a pack`.
    pub step: &'static str,
    /// What it answered.
    #[source]
    pub source: ClientError,
}

/// Calls until an answer comes, a few times, and says in `progress` what it waits for. A refusal is an answer. Only
/// for calls that may be repeated; the call is told how many were made before it.
pub(crate) async fn retry<T, F>(
    progress: &Progress,
    step: &'static str,
    mut call: impl FnMut(usize) -> F,
) -> Result<T, HubError>
where
    F: Future<Output = Result<T, ClientError>>,
{
    for (before, pause) in PAUSES.into_iter().enumerate() {
        match call(before).await {
            Err(error @ ClientError::Unreachable { .. }) => {
                tracing::warn!(%error, "cannot {step}, trying again in {pause:?}");
                let _waiting = progress.wait(format!("{error}, trying again in {pause:?}"));
                tokio::time::sleep(pause).await;
            }
            result => return result.map_err(|source| HubError { step, source }),
        }
    }
    call(PAUSES.len())
        .await
        .map_err(|source| HubError { step, source })
}
