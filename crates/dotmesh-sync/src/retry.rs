//! Repeats calls to the hub if there was no answer, or only a temporary error.

use std::time::Duration;

use dotmesh_api::hub::HubVersion;
use dotmesh_api::{ClientError, HubClient};
use tokio::time::Instant;

use crate::progress::Progress;

/// The pauses between attempts. They are long enough for a hub that restarts, or a train in a tunnel.
const PAUSES: [Duration; 6] = [
    Duration::from_millis(250),
    Duration::from_secs(1),
    Duration::from_secs(4),
    Duration::from_secs(8),
    Duration::from_secs(16),
    Duration::from_secs(32),
];

/// The longest pause that a hub may ask for. If it asks for a longer one, the call fails and the user decides.
const MAX_WAIT: Duration = Duration::from_secs(5 * 60);

/// The time that the hub may take to check all objects that a push refers to. A proxy may give up earlier, several
/// times.
pub(crate) const LONG: Duration = Duration::from_secs(15 * 60);

/// A step of a transfer that the hub did not perform.
#[derive(Debug, thiserror::Error)]
#[error("cannot {step}")]
pub struct HubRequestError {
    /// The failed step, for example `send a pack`.
    pub step: &'static str,
    /// The hub's answer, or the lack of one.
    #[source]
    pub source: ClientError,
}

/// Repeats a call a few times until there is an answer, and shows in `progress` what it waits for. A refusal is an
/// answer. Use this only for calls that may be repeated.
pub async fn retry<T, F>(
    progress: &Progress,
    step: &'static str,
    call: impl FnMut() -> F,
) -> Result<T, HubRequestError>
where
    F: Future<Output = Result<T, ClientError>>,
{
    retry_for(progress, step, Duration::ZERO, call).await
}

/// Like [`retry`], for a call that may take as long as `takes`. If a proxy stops waiting for the answer before then,
/// the call is repeated.
pub(crate) async fn retry_for<T, F>(
    progress: &Progress,
    step: &'static str,
    takes: Duration,
    mut call: impl FnMut() -> F,
) -> Result<T, HubRequestError>
where
    F: Future<Output = Result<T, ClientError>>,
{
    let start = Instant::now();
    let mut pauses = PAUSES.into_iter();
    loop {
        let error = match call().await {
            Ok(answer) => return Ok(answer),
            Err(source) => HubRequestError { step, source },
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

/// Makes the first call of a transfer. If there is no connection at all, the address may be wrong, so it fails at once
/// instead of repeating the call.
pub async fn greet(hub: &HubClient, progress: &Progress) -> Result<HubVersion, ClientError> {
    match hub.version().await {
        Err(error) if error.passes().is_some() && !error.is_connect() => {
            let version = retry(progress, "ask the hub for its version", || hub.version());
            version.await.map_err(|error| error.source)
        }
        answer => answer,
    }
}
