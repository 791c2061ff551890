//! Calls to the hub, repeated when no answer came, or one that passes by itself.

use std::time::Duration;

use dotmesh_api::hub::HubVersion;
use dotmesh_api::{ClientError, HubClient};
use tokio::time::Instant;

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

/// The longest wait that an answer may ask for. After a longer one the user decides.
const MAX_WAIT: Duration = Duration::from_secs(5 * 60);

/// How long the hub may take to look through all that a push refers to, however often a proxy gives up meanwhile.
pub(crate) const LONG: Duration = Duration::from_secs(15 * 60);

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
/// for calls that may be repeated.
pub async fn retry<T, F>(
    progress: &Progress,
    step: &'static str,
    call: impl FnMut() -> F,
) -> Result<T, HubError>
where
    F: Future<Output = Result<T, ClientError>>,
{
    retry_for(progress, step, Duration::ZERO, call).await
}

/// As [`retry`], for a call that may take so long: a proxy that does not wait for it is asked again until then.
pub(crate) async fn retry_for<T, F>(
    progress: &Progress,
    step: &'static str,
    takes: Duration,
    mut call: impl FnMut() -> F,
) -> Result<T, HubError>
where
    F: Future<Output = Result<T, ClientError>>,
{
    let start = Instant::now();
    let mut pauses = PAUSES.into_iter();
    loop {
        let error = match call().await {
            Ok(answer) => return Ok(answer),
            Err(source) => HubError { step, source },
        };
        let Some(asked) = error.source.passes().filter(|asked| *asked <= MAX_WAIT) else {
            return Err(error);
        };
        let is_at_work = error.source.is_timeout() && start.elapsed() < takes;
        let pause = match pauses.next() {
            Some(pause) => pause,
            None if is_at_work => PAUSES[0],
            None => return Err(error),
        };
        let pause = pause.max(asked);
        tracing::warn!(error = %error.source, "cannot {step}, trying again in {pause:?}");
        let _waiting = progress.wait(format!("{}, trying again in {pause:?}", error.source));
        tokio::time::sleep(pause).await;
    }
}

/// The first call of a transfer. When no connection comes about, the address may be wrong, and the user is told at once.
pub async fn greet(hub: &HubClient, progress: &Progress) -> Result<HubVersion, ClientError> {
    match hub.version().await {
        Err(error) if error.passes().is_some() && !error.is_connect() => {
            let version = retry(progress, "ask the hub for its version", || hub.version());
            version.await.map_err(|error| error.source)
        }
        answer => answer,
    }
}
