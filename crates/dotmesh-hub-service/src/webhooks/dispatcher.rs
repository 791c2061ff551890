//! Delivers events to webhooks. Every process has a dispatcher, which claims a delivery for the time of an attempt.
//!
//! Delivery is at least once. If a process dies after an attempt and before it records the result, another process
//! repeats the attempt with the same `webhook-id`. Each webhook has only one delivery under way at a time, and first
//! attempts are made in order.

use std::sync::Arc;
use std::time::{Duration, Instant};

use dotmesh_hub_db::DatabaseError;
use dotmesh_hub_db::deliveries::{Attempt, Claimed, Next};
use dotmesh_model::ambient::Random;
use jiff::{SignedDuration, Timestamp};
use reqwest::StatusCode;
use reqwest::header::{CONTENT_TYPE, USER_AGENT};
use tokio::task::JoinSet;

use super::payload;
use super::target::{self, Resolver};
use crate::state::Hub;

/// How long a receiver may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long a claim lasts. It must be longer than any attempt, and longer than the difference between the processes'
/// clocks.
pub const CLAIM: SignedDuration = SignedDuration::from_mins(2);

/// The number of attempts at once in each process.
const AT_ONCE: usize = 16;

/// How often a process looks for deliveries that other processes queued or that have become due.
const POLL_INTERVAL: Duration = Duration::from_secs(5);

/// Seconds from each attempt to the next, without jitter: eight attempts in about a day.
const DELAYS: [u64; 7] = [10, 60, 300, 1800, 7200, 21_600, 54_000];

/// When a delivery is given up, its webhook is switched off if it has been failing for this long.
const FAILING: SignedDuration = SignedDuration::from_hours(3 * 24);

/// How much of an answer is kept, in bytes.
const MAX_RESPONSE: usize = 4096;

/// The dispatcher of a process.
#[derive(Clone)]
pub struct Dispatcher {
    hub: Hub,
    client: reqwest::Client,
    patience: Duration,
}

/// The answer of a receiver.
struct Answer {
    status: StatusCode,
    response: String,
}

/// Delivers until this future is dropped.
pub async fn run(hub: &Hub) {
    let dispatcher = match Dispatcher::new(hub, PATIENCE) {
        Ok(dispatcher) => dispatcher,
        Err(error) => {
            let error: &dyn std::error::Error = &error;
            tracing::error!(error, "cannot deliver webhooks");
            return;
        }
    };
    let mut running = JoinSet::new();
    loop {
        let free = AT_ONCE - running.len();
        match dispatcher.claim(hub.clock.now(), free).await {
            Ok(claimed) => {
                for claimed in claimed {
                    let dispatcher = dispatcher.clone();
                    running.spawn(async move {
                        let now = dispatcher.hub.clock.now();
                        dispatcher.attempt(&claimed, now).await;
                    });
                }
            }
            Err(error) => {
                let error: &dyn std::error::Error = &error;
                tracing::warn!(error, "cannot look for what webhooks are to be told");
            }
        }
        tokio::select! {
            () = hub.outbox.notified() => {}
            () = tokio::time::sleep(POLL_INTERVAL) => {}
            Some(_) = running.join_next() => {}
        }
    }
}

impl Dispatcher {
    /// Makes a dispatcher that waits for an answer for at most `patience`.
    pub fn new(hub: &Hub, patience: Duration) -> Result<Self, reqwest::Error> {
        // This fails only if another provider is installed already, which works as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder()
            .dns_resolver(Arc::new(Resolver::new(hub.settings.webhooks_to_private)))
            .redirect(reqwest::redirect::Policy::none())
            // A proxy would look names up itself, without the resolver's check.
            .no_proxy()
            .pool_max_idle_per_host(0)
            .timeout(patience)
            .build()?;
        Ok(Self {
            hub: hub.clone(),
            client,
            patience,
        })
    }

    /// Attempts the deliveries that are due at `now`, up to `AT_ONCE` of them, and returns their number.
    pub async fn round(&self, now: Timestamp) -> Result<usize, DatabaseError> {
        let claimed = self.claim(now, AT_ONCE).await?;
        let attempts = claimed.iter().map(|claimed| self.attempt(claimed, now));
        futures::future::join_all(attempts).await;
        Ok(claimed.len())
    }

    async fn claim(&self, now: Timestamp, limit: usize) -> Result<Vec<Claimed>, DatabaseError> {
        if limit == 0 {
            return Ok(Vec::new());
        }
        let database = &self.hub.database;
        database.claim_deliveries(now, now + CLAIM, limit).await
    }

    async fn attempt(&self, claimed: &Claimed, now: Timestamp) {
        let start = Instant::now();
        let answer = self.post(claimed, now).await;
        let took = start.elapsed();
        let ended = now + took;
        let (status, error, response) = match answer {
            Ok(Answer { status, response }) if status.is_success() => {
                (Some(status), None, response)
            }
            Ok(Answer { status, response }) => {
                let error = if status.is_redirection() {
                    format!("the receiver answered {status}; redirects are not followed")
                } else {
                    format!("the receiver answered {status}")
                };
                (Some(status), Some(error), response)
            }
            Err(error) => (None, Some(error), String::new()),
        };
        let next = match (&error, status) {
            (None, _) => Next::Delivered,
            (_, Some(StatusCode::GONE)) => Next::Gone,
            _ => after(claimed.attempt, ended, &self.hub.random),
        };
        // The log has neither address nor body, because both may be secrets.
        tracing::info!(
            webhook = %claimed.webhook, delivery = %claimed.id, attempt = claimed.attempt,
            status = status.map(|status| status.as_u16()), ms = took.as_millis() as u64, "webhook"
        );
        let attempt = Attempt {
            ended,
            took: took.as_millis() as u64,
            status: status.map(|status| status.as_u16()),
            error,
            response,
        };
        let finished = self.hub.database.finish_attempt(claimed, &attempt, next);
        if let Err(error) = finished.await {
            let error: &dyn std::error::Error = &error;
            tracing::warn!(
                error,
                "cannot write down how a delivery went: it is repeated"
            );
        }
    }

    /// Posts a delivery. The owner of the webhook reads the error.
    async fn post(&self, claimed: &Claimed, now: Timestamp) -> Result<Answer, String> {
        let settings = &self.hub.settings;
        let url = target::parse(&claimed.url, settings.webhooks_to_private)
            .map_err(|error| error.to_string())?;
        let body = payload::body(&claimed.event, settings.url_or(&claimed.hub_url));
        let timestamp = now.as_second();
        let signature = claimed.secret.sign(&claimed.message, timestamp, &body);
        let request = self
            .client
            .post(url)
            .header(CONTENT_TYPE, "application/json")
            .header(USER_AGENT, concat!("dothub/", env!("CARGO_PKG_VERSION")))
            .header("webhook-id", &claimed.message)
            .header("webhook-timestamp", timestamp)
            .header("webhook-signature", signature)
            .body(body);
        let mut response = request.send().await.map_err(|error| self.reason(error))?;
        let mut beginning = Vec::new();
        // An incomplete answer is an answer too.
        while let Ok(Some(chunk)) = response.chunk().await {
            let room = MAX_RESPONSE - beginning.len();
            beginning.extend_from_slice(&chunk[..chunk.len().min(room)]);
            if beginning.len() == MAX_RESPONSE {
                break;
            }
        }
        Ok(Answer {
            status: response.status(),
            response: String::from_utf8_lossy(&beginning).into_owned(),
        })
    }

    fn reason(&self, error: reqwest::Error) -> String {
        if error.is_timeout() {
            return format!("no answer within {} seconds", self.patience.as_secs_f32());
        }
        // The innermost cause is the most specific.
        let error = error.without_url();
        let mut cause: &dyn std::error::Error = &error;
        while let Some(source) = cause.source() {
            cause = source;
        }
        format!("cannot be reached: {cause}")
    }
}

/// Returns the next step after a failed attempt.
fn after(attempt: u64, now: Timestamp, random: &Random) -> Next {
    let delay = usize::try_from(attempt).ok().and_then(|attempt| {
        let number = attempt.checked_sub(1)?;
        DELAYS.get(number)
    });
    match delay {
        // Jitter: webhooks that failed together must not retry together.
        Some(delay) => {
            let jitter = random.below(delay / 5 + 1);
            let delay = i64::try_from(delay + jitter).unwrap_or(i64::MAX);
            Next::Retry {
                due: now + SignedDuration::from_secs(delay),
            }
        }
        None => Next::GiveUp {
            deadline: now - FAILING,
        },
    }
}
