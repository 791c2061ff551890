//! Events: the audit log, and the source of activity pages. An event is written in the same transaction as the change
//! that it reports.

use std::sync::LazyLock;

use dotmesh_api::hub::Access;
use dotmesh_hub_model::access::{self, EventClass, Telling};
use dotmesh_hub_model::event_kind::EventKind;
use dotmesh_model::{CommitId, DotName, UserName};
use jiff::Timestamp;

use crate::deliveries;
use crate::ids::{self, DotId};
use crate::{Database, DatabaseError};

/// Something that happened.
#[derive(Debug, Clone)]
pub struct Event {
    /// Who did it.
    pub actor: UserName,
    /// The dot that it concerns, if any.
    pub dot: Option<(DotId, DotName)>,
    pub kind: EventKind,
}

/// SQL: the kinds of the class [`EventClass::Administration`], as they are stored.
macro_rules! administration {
    () => {
        "'grant', 'revoke', 'offer', 'allow_forks', 'create_webhook', 'change_webhook', 'delete_webhook', 'ping_webhook'"
    };
}

/// The actor of events from the hub's command line. No account has this name.
pub static OPERATOR: LazyLock<UserName> =
    LazyLock::new(|| "dothub".parse().expect("is in the grammar"));

/// An action on a dot: who does it, and when.
#[derive(Debug, Clone, Copy)]
pub struct Deed<'a> {
    pub actor: &'a UserName,
    pub dot: DotId,
    /// The dot's name.
    pub name: &'a DotName,
    pub now: Timestamp,
}

impl Deed<'_> {
    pub(crate) async fn log(
        &self,
        connection: &mut sqlx::AnyConnection,
        kind: EventKind,
    ) -> Result<i64, DatabaseError> {
        let event = Event {
            actor: self.actor.clone(),
            dot: Some((self.dot, self.name.clone())),
            kind,
        };
        insert(connection, &event, self.now).await
    }
}

impl Event {
    /// Makes an event that concerns no dot.
    pub fn of_hub(actor: &UserName, kind: EventKind) -> Self {
        Self {
            actor: actor.clone(),
            dot: None,
            kind,
        }
    }
}

/// A stored event. The users and dots that it names may be gone.
#[derive(Debug, Clone)]
pub struct PastEvent {
    /// Its number: later events have greater ones.
    pub id: i64,
    pub time: Timestamp,
    pub actor: UserName,
    /// The dot's name at that time.
    pub dot: Option<DotName>,
    pub kind: EventKind,
}

#[derive(sqlx::FromRow)]
pub(crate) struct EventRow {
    id: i64,
    time: i64,
    actor: String,
    dot_name: Option<String>,
    /// What happened, as JSON.
    detail: String,
}

impl EventRow {
    pub(crate) fn read(self) -> Result<PastEvent, DatabaseError> {
        Ok(PastEvent {
            id: self.id,
            time: ids::time(self.time)?,
            actor: ids::name(&self.actor)?,
            dot: self.dot_name.as_deref().map(ids::name).transpose()?,
            kind: serde_json::from_str(&self.detail)
                .map_err(|_| DatabaseError::Damaged { what: "event" })?,
        })
    }
}

/// The events to read.
#[derive(Debug, Clone, Copy)]
pub enum EventsOf {
    /// All events of the hub.
    Hub,
    /// The events of a dot that someone with this access is told of.
    Dot(DotId, Access),
}

/// Whether someone with this access is told of every event of a dot, as the number that SQL statements take.
fn is_told_all(access: Access) -> i64 {
    let telling = access::tell(EventClass::Administration, access, false);
    i64::from(telling != Telling::Nothing)
}

/// The most events of a dot that are searched for the push of a commit.
const MAX_PUSHES: i64 = 2_000;

impl Database {
    /// Returns who pushed a commit as the head of a branch. `None` if that was no recent push.
    pub async fn pusher(
        &self,
        dot: DotId,
        commit: CommitId,
    ) -> Result<Option<UserName>, DatabaseError> {
        let actor: Option<String> = sqlx::query_scalar(
            "SELECT actor FROM
             (SELECT id, actor, kind, detail FROM events WHERE dot = $1 ORDER BY id DESC LIMIT $2) e
             WHERE kind = 'push' AND detail LIKE $3 ORDER BY id LIMIT 1",
        )
        .bind(dot)
        .bind(MAX_PUSHES)
        .bind(format!("%\"head\":\"{commit}\"%"))
        .fetch_optional(&self.readers)
        .await?;
        actor.as_deref().map(ids::name).transpose()
    }

    /// Writes an event that is not part of another transaction.
    pub async fn log_event(&self, event: &Event, now: Timestamp) -> Result<(), DatabaseError> {
        let mut tx = self.begin().await?;
        insert(&mut tx, event, now).await?;
        tx.commit().await?;
        Ok(())
    }

    /// Returns the newest events with numbers below `before`, newest first.
    pub async fn events(
        &self,
        of: EventsOf,
        before: Option<i64>,
        limit: u32,
    ) -> Result<Vec<PastEvent>, DatabaseError> {
        let before = before.unwrap_or(i64::MAX);
        let query = match of {
            EventsOf::Hub => sqlx::query_as(
                "SELECT id, time, actor, dot_name, detail FROM events
                 WHERE id < $1 ORDER BY id DESC LIMIT $2",
            )
            .bind(before)
            .bind(i64::from(limit)),
            EventsOf::Dot(dot, access) => sqlx::query_as(concat!(
                "SELECT id, time, actor, dot_name, detail FROM events
                 WHERE dot = $3 AND id < $1 AND ($4 = 1 OR kind NOT IN (",
                administration!(),
                ")) ORDER BY id DESC LIMIT $2",
            ))
            .bind(before)
            .bind(i64::from(limit))
            .bind(dot)
            .bind(is_told_all(access)),
        };
        let rows: Vec<EventRow> = query.fetch_all(&self.readers).await?;
        rows.into_iter().map(EventRow::read).collect()
    }
}

impl Database {
    /// Returns how many events a dot had in each week of 7 days since `from`, by the number of the week. Weeks
    /// without events are left out. Events that someone with this access is not told of do not count.
    pub async fn events_by_week(
        &self,
        dot: DotId,
        access: Access,
        from: Timestamp,
    ) -> Result<Vec<(i64, u64)>, DatabaseError> {
        let rows: Vec<(i64, i64)> = sqlx::query_as(concat!(
            "SELECT (time - $2) / 604800, count(*) FROM events
             WHERE dot = $1 AND time >= $2 AND ($3 = 1 OR kind NOT IN (",
            administration!(),
            ")) GROUP BY 1 ORDER BY 1",
        ))
        .bind(dot)
        .bind(from.as_second())
        .bind(is_told_all(access))
        .fetch_all(&self.readers)
        .await?;
        rows.into_iter()
            .map(|(week, count)| Ok((week, ids::unsigned(count)?)))
            .collect()
    }

    /// Returns the number of a dot's last event that someone with this access is told of. 0 when there is none.
    pub async fn newest_event(&self, dot: DotId, access: Access) -> Result<i64, DatabaseError> {
        let id: Option<i64> = sqlx::query_scalar(concat!(
            "SELECT id FROM events WHERE dot = $1 AND ($2 = 1 OR kind NOT IN (",
            administration!(),
            ")) ORDER BY id DESC LIMIT 1",
        ))
        .bind(dot)
        .bind(is_told_all(access))
        .fetch_optional(&self.readers)
        .await?;
        Ok(id.unwrap_or(0))
    }

    /// Returns the number of the last event, and the dots with an event after number `after`.
    pub async fn changed_dots(&self, after: i64) -> Result<(i64, Vec<DotId>), DatabaseError> {
        let newest: i64 = sqlx::query_scalar("SELECT coalesce(max(id), 0) FROM events")
            .fetch_one(&self.readers)
            .await?;
        if newest <= after {
            return Ok((newest, Vec::new()));
        }
        let dots = sqlx::query_scalar(
            "SELECT DISTINCT dot FROM events WHERE id > $1 AND id <= $2 AND dot IS NOT NULL",
        )
        .bind(after)
        .bind(newest)
        .fetch_all(&self.readers)
        .await?;
        Ok((newest, dots))
    }
}

/// Writes an event, queues its webhook deliveries, and returns its number. A dot's event counts towards the quota of the
/// dot's namespace.
pub(crate) async fn insert(
    connection: &mut sqlx::AnyConnection,
    event: &Event,
    now: Timestamp,
) -> Result<i64, DatabaseError> {
    let damaged = || DatabaseError::Damaged { what: "event" };
    let detail = serde_json::to_value(&event.kind).map_err(|_| damaged())?;
    let kind = detail["kind"].as_str().ok_or_else(damaged)?;
    let text = detail.to_string();
    let id = sqlx::query_scalar(
        "INSERT INTO events (time, actor, dot, dot_name, kind, detail) VALUES ($1, $2, $3, $4, $5, $6)
         RETURNING id",
    )
    .bind(now.as_second())
    .bind(event.actor.as_str())
    .bind(event.dot.as_ref().map(|(id, _)| *id))
    .bind(event.dot.as_ref().map(|(_, name)| name.full()))
    .bind(kind)
    .bind(&text)
    .fetch_one(&mut *connection)
    .await?;
    if let Some((dot, _)) = event.dot {
        sqlx::query("UPDATE dots SET events = events + $1 WHERE id = $2")
            .bind(text.len() as i64)
            .bind(dot)
            .execute(&mut *connection)
            .await?;
        deliveries::enqueue(connection, dot, id, &event.kind, now).await?;
    }
    Ok(id)
}
