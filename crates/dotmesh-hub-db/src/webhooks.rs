//! Webhooks: the addresses to which the hub reports the events of dots.

use std::collections::BTreeSet;

use dotmesh_api::webhooks::{WebhookState, WebhookTopic};
use dotmesh_hub_model::SigningSecret;
use dotmesh_hub_model::event_kind::EventKind;
use dotmesh_hub_model::limits;
use dotmesh_model::UserName;
use jiff::Timestamp;
use sqlx::AnyConnection;

use crate::deliveries;
use crate::events::Deed;
use crate::ids::{self, DotId, WebhookId};
use crate::{Database, DatabaseError, room};

/// A webhook.
#[derive(Debug, Clone)]
pub struct StoredWebhook {
    pub id: WebhookId,
    /// Its address.
    pub url: String,
    /// The topics that it listens to.
    pub topics: BTreeSet<WebhookTopic>,
    /// The hub's address, as its creator used it.
    pub hub_url: String,
    /// Whether it gets deliveries.
    pub state: WebhookState,
    /// The user who created it.
    pub created_by: UserName,
    pub created: Timestamp,
    /// The time of the first failed attempt after the last success.
    pub failing_since: Option<Timestamp>,
}

/// A webhook to create.
#[derive(Debug)]
pub struct WebhookToBe<'a> {
    /// Its address.
    pub url: &'a str,
    /// The topics that it listens to.
    pub topics: &'a BTreeSet<WebhookTopic>,
    /// The secret that signs its deliveries.
    pub secret: &'a SigningSecret,
    /// The hub's address, as the creator uses it.
    pub hub_url: &'a str,
}

/// A change of a webhook. Fields that are `None` stay as they are.
#[derive(Debug, Default)]
pub struct WebhookChange<'a> {
    /// Its address.
    pub url: Option<&'a str>,
    /// The topics that it listens to.
    pub topics: Option<&'a BTreeSet<WebhookTopic>>,
    /// The secret that signs its deliveries.
    pub secret: Option<&'a SigningSecret>,
    /// Whether it gets deliveries.
    pub on: Option<bool>,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: WebhookId,
    url: String,
    topics: String,
    hub_url: String,
    state: String,
    created_by: String,
    created: i64,
    failing_since: Option<i64>,
}

impl Row {
    fn read(self) -> Result<StoredWebhook, DatabaseError> {
        let state = match self.state.as_str() {
            "on" => WebhookState::On,
            "off" => WebhookState::Off,
            "failed" => WebhookState::Failed,
            _ => return Err(DatabaseError::Damaged { what: "webhook" }),
        };
        Ok(StoredWebhook {
            id: self.id,
            url: self.url,
            topics: parse_topics(&self.topics)?,
            hub_url: self.hub_url,
            state,
            created_by: ids::name(&self.created_by)?,
            created: ids::time(self.created)?,
            failing_since: self.failing_since.map(ids::time).transpose()?,
        })
    }
}

/// Returns topics as they are stored.
fn join_topics(topics: &BTreeSet<WebhookTopic>) -> String {
    let names: Vec<_> = topics.iter().map(|topic| topic.as_str()).collect();
    names.join(" ")
}

pub(crate) fn parse_topics(text: &str) -> Result<BTreeSet<WebhookTopic>, DatabaseError> {
    text.split_whitespace()
        .map(|topic| {
            topic
                .parse()
                .map_err(|_| DatabaseError::Damaged { what: "webhook" })
        })
        .collect()
}

impl Database {
    /// Returns a dot's webhooks, the oldest first.
    pub async fn webhooks(&self, dot: DotId) -> Result<Vec<StoredWebhook>, DatabaseError> {
        let rows: Vec<Row> = sqlx::query_as(
            "SELECT id, url, topics, hub_url, state, created_by, created, failing_since FROM webhooks
             WHERE dot = $1 ORDER BY id",
        )
        .bind(dot)
        .fetch_all(&self.readers)
        .await?;
        rows.into_iter().map(Row::read).collect()
    }

    /// Returns a webhook of a dot.
    pub async fn webhook(
        &self,
        dot: DotId,
        webhook: WebhookId,
    ) -> Result<Option<StoredWebhook>, DatabaseError> {
        let row: Option<Row> = sqlx::query_as(
            "SELECT id, url, topics, hub_url, state, created_by, created, failing_since FROM webhooks
             WHERE dot = $1 AND id = $2",
        )
        .bind(dot)
        .bind(webhook)
        .fetch_optional(&self.readers)
        .await?;
        row.map(Row::read).transpose()
    }

    /// Creates a webhook.
    pub async fn create_webhook(
        &self,
        deed: Deed<'_>,
        new: &WebhookToBe<'_>,
    ) -> Result<WebhookId, DatabaseError> {
        let mut tx = self.begin().await?;
        let count = "SELECT count(*) FROM webhooks WHERE dot = $1";
        room::for_one_more(&mut tx, &limits::WEBHOOKS_PER_DOT, count, deed.dot.0).await?;
        let id: WebhookId = sqlx::query_scalar(
            "INSERT INTO webhooks (dot, url, secret, topics, hub_url, state, created_by, created)
             VALUES ($1, $2, $3, $4, $5, 'on', $6, $7) RETURNING id",
        )
        .bind(deed.dot)
        .bind(new.url)
        .bind(new.secret.as_bytes())
        .bind(join_topics(new.topics))
        .bind(new.hub_url)
        .bind(deed.actor.as_str())
        .bind(deed.now.as_second())
        .fetch_one(&mut *tx)
        .await?;
        let webhook = id.number();
        deed.log(&mut tx, EventKind::CreateWebhook { webhook })
            .await?;
        tx.commit().await?;
        Ok(id)
    }

    /// Changes a webhook. `false` when there is none.
    pub async fn change_webhook(
        &self,
        deed: Deed<'_>,
        id: WebhookId,
        change: &WebhookChange<'_>,
    ) -> Result<bool, DatabaseError> {
        let mut tx = self.begin().await?;
        let state = change.on.map(|on| if on { "on" } else { "off" });
        let done = sqlx::query(
            "UPDATE webhooks SET url = coalesce($1, url), topics = coalesce($2, topics),
               secret = coalesce($3, secret), state = coalesce($4, state),
               failing_since = CASE WHEN $4 IS NULL THEN failing_since ELSE NULL END
             WHERE id = $5 AND dot = $6",
        )
        .bind(change.url)
        .bind(change.topics.map(join_topics))
        .bind(change.secret.map(|secret| secret.as_bytes().to_vec()))
        .bind(state)
        .bind(id)
        .bind(deed.dot)
        .execute(&mut *tx)
        .await?;
        if done.rows_affected() == 0 {
            return Ok(false);
        }
        if change.on == Some(false) {
            deliveries::drop_pending(&mut tx, id).await?;
        }
        let webhook = id.number();
        deed.log(&mut tx, EventKind::ChangeWebhook { webhook })
            .await?;
        tx.commit().await?;
        Ok(true)
    }

    /// Deletes a webhook with its deliveries, sent and pending. `false` when there is none.
    pub async fn delete_webhook(
        &self,
        deed: Deed<'_>,
        id: WebhookId,
    ) -> Result<bool, DatabaseError> {
        let mut tx = self.begin().await?;
        let done = sqlx::query("DELETE FROM webhooks WHERE id = $1 AND dot = $2")
            .bind(id)
            .bind(deed.dot)
            .execute(&mut *tx)
            .await?;
        if done.rows_affected() == 0 {
            return Ok(false);
        }
        let webhook = id.number();
        deed.log(&mut tx, EventKind::DeleteWebhook { webhook })
            .await?;
        tx.commit().await?;
        Ok(true)
    }
}

/// Switches off all webhooks of a dot, because the dot's former owner chose their addresses.
pub(crate) async fn switch_off(
    connection: &mut AnyConnection,
    dot: DotId,
) -> Result<(), DatabaseError> {
    let ids: Vec<WebhookId> =
        sqlx::query_scalar("UPDATE webhooks SET state = 'off' WHERE dot = $1 RETURNING id")
            .bind(dot)
            .fetch_all(&mut *connection)
            .await?;
    for id in ids {
        deliveries::drop_pending(connection, id).await?;
    }
    Ok(())
}
