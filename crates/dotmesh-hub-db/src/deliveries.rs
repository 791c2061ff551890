//! The outbox of webhook deliveries, with their results. The transaction that writes an event also queues its
//! deliveries. Any process may attempt them later: it claims a delivery for as long as an attempt may last. If it
//! does not report back in time, another process may claim the delivery.

use dotmesh_api::webhooks::{DeliveryState, WebhookTopic};
use dotmesh_hub_model::SigningSecret;
use dotmesh_hub_model::event_kind::EventKind;
use jiff::Timestamp;
use sqlx::AnyConnection;

use crate::events::{Deed, EventRow, PastEvent};
use crate::ids::{self, DeliveryId, DotId, WebhookId};
use crate::unique_id::unique_id;
use crate::{Database, DatabaseError, webhooks};

/// A stored delivery.
#[derive(Debug, Clone)]
pub struct StoredDelivery {
    pub id: DeliveryId,
    /// The message id, by which the receiver recognises a repeated delivery.
    pub message: String,
    /// The event that it reports.
    pub event: PastEvent,
    /// Its state.
    pub state: DeliveryState,
    /// How many attempts have begun.
    pub attempts: u64,
    /// When the next attempt is due. `None` unless the delivery is pending.
    pub due: Option<Timestamp>,
    /// Why the receiver does not have it yet, or never will.
    pub error: Option<String>,
    /// How the last attempt ended, if one has.
    pub last: Option<LastAttempt>,
}

/// The part of an attempt that the hub shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastAttempt {
    /// When it ended.
    pub ended: Timestamp,
    /// How long it took, in milliseconds.
    pub took: u64,
    /// The status of the answer, if there was one.
    pub status: Option<u16>,
    /// The beginning of the answer.
    pub response: String,
}

/// An attempt that has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// When it ended.
    pub ended: Timestamp,
    /// How long it took, in milliseconds.
    pub took: u64,
    /// The status of the answer, if there was one.
    pub status: Option<u16>,
    /// Why it failed, if it did.
    pub error: Option<String>,
    /// The beginning of the answer.
    pub response: String,
}

/// A delivery that only the caller attempts, until the claim ends.
#[derive(Debug)]
pub struct Claimed {
    pub id: DeliveryId,
    pub webhook: WebhookId,
    /// The random id of this claim.
    claim: String,
    /// The number of the attempt, from 1.
    pub attempt: u64,
    /// The message id, by which the receiver recognises a repeated delivery.
    pub message: String,
    /// The address of the receiver.
    pub url: String,
    /// The secret that signs the delivery.
    pub secret: SigningSecret,
    /// The hub's address, as the creator of the webhook used it.
    pub hub_url: String,
    /// The event that it reports.
    pub event: PastEvent,
}

/// The next step after an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Nothing, because the receiver has the delivery.
    Delivered,
    /// Another attempt.
    Retry { due: Timestamp },
    /// No further attempt, because there were enough. The webhook is switched off if it has been failing since
    /// `deadline` or earlier.
    GiveUp { deadline: Timestamp },
    /// No further attempt. The webhook is switched off, because its receiver wants no more deliveries.
    Gone,
}

/// The error of a delivery that ended because its webhook was switched off.
const SWITCHED_OFF: &str = "the webhook was switched off before this was delivered";

#[derive(sqlx::FromRow)]
struct Row {
    delivery: DeliveryId,
    message: String,
    state: String,
    attempts: i64,
    due: i64,
    /// When the last attempt ended.
    attempted: Option<i64>,
    took: Option<i64>,
    status: Option<i64>,
    error: Option<String>,
    response: Option<String>,
    #[sqlx(flatten)]
    event: EventRow,
}

impl Row {
    fn read(self) -> Result<StoredDelivery, DatabaseError> {
        let state = match self.state.as_str() {
            "pending" => DeliveryState::Pending,
            "delivered" => DeliveryState::Delivered,
            "failed" => DeliveryState::Failed,
            _ => return Err(DatabaseError::Damaged { what: "delivery" }),
        };
        let is_pending = state == DeliveryState::Pending;
        let last = self.attempted.map(|ended| {
            Ok::<_, DatabaseError>(LastAttempt {
                ended: ids::time(ended)?,
                took: ids::unsigned(self.took.unwrap_or(0))?,
                status: self.status.map(ids::unsigned).transpose()?,
                response: self.response.unwrap_or_default(),
            })
        });
        Ok(StoredDelivery {
            id: self.delivery,
            message: self.message,
            state,
            attempts: ids::unsigned(self.attempts)?,
            due: is_pending.then(|| ids::time(self.due)).transpose()?,
            error: self.error,
            last: last.transpose()?,
            event: self.event.read()?,
        })
    }
}

impl Database {
    /// Claims deliveries that are due at `now`, only the first one of each webhook. A delivery that is not finished
    /// by `until` counts as lost and is due again.
    ///
    /// `now` and `until` come from the caller's clock. If the clocks of two processes differ by more than the time
    /// between them, both processes may deliver.
    pub async fn claim_deliveries(
        &self,
        now: Timestamp,
        until: Timestamp,
        limit: usize,
    ) -> Result<Vec<Claimed>, DatabaseError> {
        let due = "SELECT d.id FROM deliveries d
             JOIN webhooks w ON w.id = d.webhook JOIN dots o ON o.id = w.dot
             JOIN users u ON u.id = o.owner
             WHERE d.state = 'pending' AND d.due <= $1 AND w.state = 'on' AND o.deleted IS NULL
             AND u.suspended IS NULL
             AND NOT EXISTS (
               SELECT 1 FROM deliveries b WHERE b.webhook = d.webhook AND b.state = 'pending'
               AND (b.due <= $1 AND b.id < d.id OR b.claim IS NOT NULL AND b.due > $1))
             ORDER BY d.due, d.id LIMIT $2";
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let find = || {
            sqlx::query_scalar::<_, DeliveryId>(due)
                .bind(now.as_second())
                .bind(limit)
        };
        // Most of the time nothing is due. This check blocks no writer.
        if find().fetch_all(&self.readers).await?.is_empty() {
            return Ok(Vec::new());
        }
        let mut tx = self.begin().await?;
        let mut claimed = Vec::new();
        for id in find().fetch_all(&mut *tx).await? {
            claimed.push(claim(&mut tx, id, until).await?);
        }
        tx.commit().await?;
        Ok(claimed)
    }

    /// Records how an attempt ended, if its claim still holds. The claim is gone if the delivery ended or was claimed
    /// anew.
    pub async fn finish_attempt(
        &self,
        claimed: &Claimed,
        attempt: &Attempt,
        next: Next,
    ) -> Result<(), DatabaseError> {
        let state = match next {
            Next::Delivered => DeliveryState::Delivered,
            Next::Retry { .. } => DeliveryState::Pending,
            Next::GiveUp { .. } | Next::Gone => DeliveryState::Failed,
        };
        let due = match next {
            Next::Retry { due } => due,
            _ => attempt.ended,
        };
        let mut tx = self.begin().await?;
        let done = sqlx::query(
            "UPDATE deliveries SET state = $1, due = $2, claim = NULL, attempted = $3, took = $4,
               status = $5, error = $6, response = $7
             WHERE id = $8 AND claim = $9",
        )
        .bind(state.as_str())
        .bind(due.as_second())
        .bind(attempt.ended.as_second())
        .bind(i64::try_from(attempt.took).unwrap_or(i64::MAX))
        .bind(attempt.status.map(i64::from))
        .bind(attempt.error.as_deref())
        .bind(ids::text(&attempt.response))
        .bind(claimed.id)
        .bind(claimed.claim.as_str())
        .execute(&mut *tx)
        .await?;
        if done.rows_affected() == 0 {
            return Ok(());
        }
        judge_webhook(&mut tx, claimed.webhook, attempt.ended, next).await?;
        tx.commit().await?;
        Ok(())
    }

    /// Returns a webhook's deliveries with ids below `before`, newest first.
    pub async fn deliveries(
        &self,
        webhook: WebhookId,
        before: Option<DeliveryId>,
        limit: u32,
    ) -> Result<Vec<StoredDelivery>, DatabaseError> {
        self.select_deliveries(
            "SELECT d.id AS delivery, d.message, d.state, d.attempts, d.due, d.attempted, d.took, d.status, d.error, d.response,
               e.id, e.time, e.actor, e.dot_name, e.detail
             FROM deliveries d JOIN events e ON e.id = d.event
             WHERE d.webhook = $1 AND d.id < $2 ORDER BY d.id DESC LIMIT $3",
            webhook,
            before.map_or(i64::MAX, DeliveryId::number),
            i64::from(limit),
        )
        .await
    }

    /// Returns a delivery of a webhook.
    pub async fn delivery(
        &self,
        webhook: WebhookId,
        delivery: DeliveryId,
    ) -> Result<Option<StoredDelivery>, DatabaseError> {
        let found = self
            .select_deliveries(
                "SELECT d.id AS delivery, d.message, d.state, d.attempts, d.due, d.attempted, d.took, d.status, d.error, d.response,
                   e.id, e.time, e.actor, e.dot_name, e.detail
                 FROM deliveries d JOIN events e ON e.id = d.event
                 WHERE d.webhook = $1 AND d.id = $2 LIMIT $3",
                webhook,
                delivery.number(),
                1,
            )
            .await?;
        Ok(found.into_iter().next())
    }

    async fn select_deliveries(
        &self,
        statement: &'static str,
        webhook: WebhookId,
        number: i64,
        limit: i64,
    ) -> Result<Vec<StoredDelivery>, DatabaseError> {
        let rows: Vec<Row> = sqlx::query_as(statement)
            .bind(webhook)
            .bind(number)
            .bind(limit)
            .fetch_all(&self.readers)
            .await?;
        rows.into_iter().map(Row::read).collect()
    }

    /// Queues a delivery again, due at once. `false` when there is no such delivery.
    pub async fn redeliver(
        &self,
        webhook: WebhookId,
        delivery: DeliveryId,
        now: Timestamp,
    ) -> Result<bool, DatabaseError> {
        let mut tx = self.begin().await?;
        // A delivery under way keeps its due time and its count: its attempt is the requested one.
        let done = sqlx::query(
            "UPDATE deliveries SET state = 'pending',
               attempts = CASE WHEN claim IS NULL THEN 0 ELSE attempts END,
               due = CASE WHEN claim IS NULL THEN $1 ELSE due END
             WHERE id = $2 AND webhook = $3",
        )
        .bind(now.as_second())
        .bind(delivery)
        .bind(webhook)
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(done.rows_affected() > 0)
    }

    /// Queues a test delivery, which shows whether the webhook works.
    pub async fn ping_webhook(
        &self,
        deed: Deed<'_>,
        id: WebhookId,
    ) -> Result<DeliveryId, DatabaseError> {
        let mut tx = self.begin().await?;
        let webhook = id.number();
        let event = deed
            .log(&mut tx, EventKind::PingWebhook { webhook })
            .await?;
        let delivery = insert(&mut tx, id, event, deed.now).await?;
        tx.commit().await?;
        Ok(delivery)
    }

    /// Deletes the deliveries that were created before `deadline`, and returns their number.
    pub async fn expire_deliveries(&self, deadline: Timestamp) -> Result<u64, DatabaseError> {
        let mut expired = 0;
        // One batch per transaction, so that others can write in between.
        loop {
            let mut tx = self.begin().await?;
            let done = sqlx::query(
                "DELETE FROM deliveries WHERE id IN (
                   SELECT id FROM deliveries WHERE created < $1 ORDER BY id LIMIT 1000)",
            )
            .bind(deadline.as_second())
            .execute(&mut *tx)
            .await?;
            tx.commit().await?;
            if done.rows_affected() == 0 {
                return Ok(expired);
            }
            expired += done.rows_affected();
        }
    }
}

/// Returns the topics of an event. A webhook that listens to one of them gets the event.
fn topics(kind: &EventKind) -> &'static [WebhookTopic] {
    use WebhookTopic::{Access, Branch, Push, Tag};
    match kind {
        EventKind::Push { branches, .. } if branches.iter().any(|branch| branch.is_new) => {
            &[Push, Branch]
        }
        EventKind::Push { .. } => &[Push],
        EventKind::CreateBranch { .. }
        | EventKind::DeleteBranch { .. }
        | EventKind::DefaultBranch { .. }
        | EventKind::Protect { .. } => &[Branch],
        EventKind::CreateTag { .. } | EventKind::DeleteTag { .. } => &[Tag],
        EventKind::Grant { .. }
        | EventKind::Revoke { .. }
        | EventKind::Publish
        | EventKind::Unpublish
        | EventKind::Rename { .. }
        | EventKind::Offer { .. }
        | EventKind::RestoreDot => &[Access],
        _ => &[],
    }
}

/// Queues the deliveries of an event to the webhooks of its dot.
pub(crate) async fn enqueue(
    connection: &mut AnyConnection,
    dot: DotId,
    event: i64,
    kind: &EventKind,
    now: Timestamp,
) -> Result<(), DatabaseError> {
    let topics = topics(kind);
    if topics.is_empty() {
        return Ok(());
    }
    let webhooks: Vec<(WebhookId, String)> = sqlx::query_as(
        "SELECT w.id, w.topics FROM webhooks w
             JOIN dots d ON d.id = w.dot JOIN users u ON u.id = d.owner
             WHERE w.dot = $1 AND w.state = 'on' AND u.suspended IS NULL",
    )
    .bind(dot)
    .fetch_all(&mut *connection)
    .await?;
    for (webhook, listens) in webhooks {
        let listens = webhooks::parse_topics(&listens)?;
        if topics.iter().any(|topic| listens.contains(topic)) {
            insert(connection, webhook, event, now).await?;
        }
    }
    Ok(())
}

async fn insert(
    connection: &mut AnyConnection,
    webhook: WebhookId,
    event: i64,
    now: Timestamp,
) -> Result<DeliveryId, DatabaseError> {
    let message = format!("msg_{}", unique_id());
    let id = sqlx::query_scalar(
        "INSERT INTO deliveries (webhook, event, message, created, state, due)
         VALUES ($1, $2, $3, $4, 'pending', $4) RETURNING id",
    )
    .bind(webhook)
    .bind(event)
    .bind(message)
    .bind(now.as_second())
    .fetch_one(connection)
    .await?;
    Ok(id)
}

/// Fails the pending deliveries of a webhook, including those under way.
pub(crate) async fn drop_pending(
    connection: &mut AnyConnection,
    webhook: WebhookId,
) -> Result<(), DatabaseError> {
    sqlx::query(
        "UPDATE deliveries SET state = 'failed', claim = NULL, error = $1
         WHERE webhook = $2 AND state = 'pending'",
    )
    .bind(SWITCHED_OFF)
    .bind(webhook)
    .execute(connection)
    .await?;
    Ok(())
}

async fn claim(
    connection: &mut AnyConnection,
    id: DeliveryId,
    until: Timestamp,
) -> Result<Claimed, DatabaseError> {
    let claim = unique_id();
    let (webhook, event, attempt, message): (WebhookId, i64, i64, String) = sqlx::query_as(
        "UPDATE deliveries SET claim = $1, due = $2, attempts = attempts + 1 WHERE id = $3
         RETURNING webhook, event, attempts, message",
    )
    .bind(claim.as_str())
    .bind(until.as_second())
    .bind(id)
    .fetch_one(&mut *connection)
    .await?;
    let (url, secret, hub_url): (String, Vec<u8>, String) =
        sqlx::query_as("SELECT url, secret, hub_url FROM webhooks WHERE id = $1")
            .bind(webhook)
            .fetch_one(&mut *connection)
            .await?;
    let event: EventRow =
        sqlx::query_as("SELECT id, time, actor, dot_name, detail FROM events WHERE id = $1")
            .bind(event)
            .fetch_one(&mut *connection)
            .await?;
    Ok(Claimed {
        id,
        webhook,
        claim,
        attempt: ids::unsigned(attempt)?,
        message,
        url,
        secret: SigningSecret::from_stored(&secret)
            .ok_or(DatabaseError::Damaged { what: "webhook" })?,
        hub_url,
        event: event.read()?,
    })
}

/// Updates a webhook after an attempt: since when it has been failing, and whether it is switched off.
async fn judge_webhook(
    connection: &mut AnyConnection,
    webhook: WebhookId,
    now: Timestamp,
    next: Next,
) -> Result<(), DatabaseError> {
    let statement = match next {
        Next::Delivered => "UPDATE webhooks SET failing_since = NULL WHERE id = $1",
        _ => "UPDATE webhooks SET failing_since = coalesce(failing_since, $2) WHERE id = $1",
    };
    let query = sqlx::query(statement).bind(webhook);
    let query = match next {
        Next::Delivered => query,
        _ => query.bind(now.as_second()),
    };
    query.execute(&mut *connection).await?;
    let deadline = match next {
        Next::Delivered | Next::Retry { .. } => return Ok(()),
        Next::GiveUp { deadline } => deadline,
        Next::Gone => now,
    };
    let done = sqlx::query(
        "UPDATE webhooks SET state = 'failed' WHERE id = $1 AND state = 'on' AND failing_since <= $2",
    )
    .bind(webhook)
    .bind(deadline.as_second())
    .execute(&mut *connection)
    .await?;
    if done.rows_affected() > 0 {
        tracing::warn!(%webhook, "switched a webhook off that has failed for long");
        drop_pending(connection, webhook).await?;
    }
    Ok(())
}
