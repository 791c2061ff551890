//! What webhooks are to be told, and what came of it. Written in the transaction of the event, and done later by any
//! process: one takes a delivery for as long as an attempt may last, and if it is not heard of again, another does.

use dotmesh_api::webhooks::{DeliveryState, WebhookTopic};
use jiff::Timestamp;
use sqlx::AnyConnection;

use super::events::{Deed, EventKind, EventRow, PastEvent};
use super::ids::{self, DeliveryId, DotId, WebhookId};
use super::{Database, DatabaseError, webhooks};
use crate::webhooks::SigningSecret;

/// A delivery as it is looked at.
#[derive(Debug, Clone)]
pub struct StoredDelivery {
    /// Its row.
    pub id: DeliveryId,
    /// By which the receiver knows it again.
    pub message: String,
    /// What it tells.
    pub event: PastEvent,
    /// How far it is.
    pub state: DeliveryState,
    /// Attempts that have begun.
    pub attempts: u64,
    /// When the next one is due.
    pub due: Option<Timestamp>,
    /// Why the receiver does not have it yet, or never will.
    pub error: Option<String>,
    /// How the last attempt ended, if one has.
    pub last: Option<LastAttempt>,
}

/// What is shown of an attempt.
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
    /// When.
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

/// A delivery that the caller alone attempts, until its claim ends.
#[derive(Debug)]
pub struct Claimed {
    /// The delivery.
    pub id: DeliveryId,
    /// Whose.
    pub webhook: WebhookId,
    /// The attempt.
    claim: String,
    /// Which one it is, from 1.
    pub attempt: u64,
    /// By which the receiver knows it again.
    pub message: String,
    /// Where to.
    pub url: String,
    /// What it is signed with.
    pub secret: SigningSecret,
    /// The hub's address as who made the webhook knows it.
    pub hub_url: String,
    /// What it tells.
    pub event: PastEvent,
}

/// What to do after an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Nothing: the receiver has it.
    Delivered,
    /// Another attempt.
    Retry { due: Timestamp },
    /// Nothing: there were enough, and the webhook is switched off if nothing succeeded after `deadline`.
    GiveUp { deadline: Timestamp },
    /// Nothing, and the webhook is switched off: its receiver wants no more.
    Gone,
}

/// Why a delivery never was attempted.
const SWITCHED_OFF: &str = "the webhook was switched off before this was delivered";

impl Database {
    /// Takes deliveries that are due at `now`, of each webhook the one that comes first. What is not finished by `until`
    /// is taken to be lost, and due again.
    ///
    /// `now` and `until` are of the caller's clock: processes whose clocks differ by more than that may deliver twice.
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
        // Most of the time there is nothing: that holds nobody up.
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

    /// Writes down how an attempt ended, unless it was taken to be lost.
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

    /// What a webhook was told and what waits, the newest before one of that number first.
    pub async fn deliveries(
        &self,
        webhook: WebhookId,
        before: Option<DeliveryId>,
        limit: u32,
    ) -> Result<Vec<StoredDelivery>, DatabaseError> {
        self.select_deliveries(
            "SELECT d.id, d.message, d.state, d.attempts, d.due, d.attempted, d.took, d.status, d.error, d.response,
               e.id, e.time, e.actor, e.dot_name, e.detail
             FROM deliveries d JOIN events e ON e.id = d.event
             WHERE d.webhook = $1 AND d.id < $2 ORDER BY d.id DESC LIMIT $3",
            webhook,
            before.map_or(i64::MAX, DeliveryId::number),
            i64::from(limit),
        )
        .await
    }

    /// A delivery of a webhook.
    pub async fn delivery(
        &self,
        webhook: WebhookId,
        delivery: DeliveryId,
    ) -> Result<Option<StoredDelivery>, DatabaseError> {
        let found = self
            .select_deliveries(
                "SELECT d.id, d.message, d.state, d.attempts, d.due, d.attempted, d.took, d.status, d.error, d.response,
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
        let rows = sqlx::query(statement)
            .bind(webhook)
            .bind(number)
            .bind(limit)
            .fetch_all(&self.readers)
            .await?;
        rows.iter().map(StoredDelivery::new).collect()
    }

    /// Has something delivered again, or at once what waits. `false` when there is no such delivery.
    pub async fn redeliver(
        &self,
        webhook: WebhookId,
        delivery: DeliveryId,
        now: Timestamp,
    ) -> Result<bool, DatabaseError> {
        let mut tx = self.begin().await?;
        // One that is under way stays as it is: it is what was asked for.
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

    /// Has a webhook told something that did not happen, to see whether it arrives.
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

    /// Forgets what was to be told before `deadline`. Says how much.
    pub async fn expire_deliveries(&self, deadline: Timestamp) -> Result<u64, DatabaseError> {
        let mut expired = 0;
        // A part at a time: others write in between.
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

impl StoredDelivery {
    fn new(row: &sqlx::any::AnyRow) -> Result<Self, DatabaseError> {
        use sqlx::Row as _;
        let damaged = || DatabaseError::Damaged { what: "delivery" };
        let state = match row.try_get::<String, _>(2)?.as_str() {
            "pending" => DeliveryState::Pending,
            "delivered" => DeliveryState::Delivered,
            "failed" => DeliveryState::Failed,
            _ => return Err(damaged()),
        };
        let is_pending = state == DeliveryState::Pending;
        let last = row.try_get::<Option<i64>, _>(5)?.map(|ended| {
            let status: Option<i64> = row.try_get(7)?;
            Ok::<_, DatabaseError>(LastAttempt {
                ended: ids::time(ended)?,
                took: ids::unsigned(row.try_get::<Option<i64>, _>(6)?.unwrap_or(0))?,
                status: status.map(ids::unsigned).transpose()?,
                response: row.try_get::<Option<String>, _>(9)?.unwrap_or_default(),
            })
        });
        Ok(Self {
            id: row.try_get(0)?,
            message: row.try_get(1)?,
            state,
            attempts: ids::unsigned(row.try_get(3)?)?,
            due: is_pending.then(|| ids::time(row.try_get(4)?)).transpose()?,
            error: row.try_get(8)?,
            last: last.transpose()?,
            event: PastEvent::from_row((
                row.try_get(10)?,
                row.try_get(11)?,
                row.try_get(12)?,
                row.try_get(13)?,
                row.try_get(14)?,
            ))?,
        })
    }
}

/// What those who listen for a topic are told of.
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

/// Queues what webhooks of a dot are to be told of an event.
pub(super) async fn enqueue(
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
    let message = format!("msg_{}", hex::encode(rand::random::<[u8; 16]>()));
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

/// Ends what waits, and what is under way.
pub(super) async fn drop_pending(
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
    let claim = hex::encode(rand::random::<[u8; 16]>());
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
        event: PastEvent::from_row(event)?,
    })
}

/// What an attempt's end means for its webhook.
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
