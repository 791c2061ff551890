//! Forks: dots made from other dots. A fork shares history and objects: rows are copied, but no bytes of packs.

use dotmesh_hub_model::event_kind::EventKind;
use dotmesh_hub_model::quota::Usage;
use dotmesh_model::DotName;
use sqlx::AnyConnection;

use crate::dots;
use crate::events::Deed;
use crate::ids::{self, DotId, UserId};
use crate::may_read::may_read;
use crate::names;
use crate::objects::id_sql::{between_ids_of, pack_of, same_in_pack};
use crate::paging::Part;
use crate::{Database, DatabaseError, quotas};

/// The result of forking a dot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Forking {
    /// The fork exists.
    Done,
    /// Another dot has the name.
    NameTaken,
    /// The fork would exceed its owner's quota.
    OverQuota(Usage),
}

impl Database {
    /// Forks `deed.dot` into the namespace of `owner`: commits, branches, tags and description. `quota` is the hub's
    /// default.
    pub async fn fork_dot(
        &self,
        deed: Deed<'_>,
        owner: UserId,
        to: &DotName,
        quota: Option<u64>,
    ) -> Result<Forking, DatabaseError> {
        let mut tx = self.begin().await?;
        if names::find(&mut tx, owner, to.name()).await?.is_some() {
            return Ok(Forking::NameTaken);
        }
        names::room_for_dot(&mut tx, owner).await?;
        names::take(&mut tx, owner, to.name()).await?;
        let fork: DotId = sqlx::query_scalar(
            "INSERT INTO dots (owner, name, created, description, default_branch, forked_from, texts)
             SELECT $1, $2, $3, description, default_branch, id, texts FROM dots WHERE id = $4 RETURNING id",
        )
        .bind(owner)
        .bind(to.name())
        .bind(deed.now.as_second())
        .bind(deed.dot)
        .fetch_one(&mut *tx)
        .await?;
        for statement in [
            "INSERT INTO commits (dot, id, parent, seal, root, record, author, time, message, left_out, without_data)
             SELECT $1, id, parent, seal, root, record, author, time, message, left_out, without_data
             FROM commits WHERE dot = $2 ORDER BY time",
            "INSERT INTO branches (dot, name, head) SELECT $1, name, head FROM branches WHERE dot = $2",
            "INSERT INTO tags (dot, name, commit_id, message, author, created)
             SELECT $1, name, commit_id, message, author, created FROM tags WHERE dot = $2",
            "INSERT INTO commit_databases (dot, commit_id, summary)
             SELECT $1, commit_id, summary FROM commit_databases WHERE dot = $2",
            "INSERT INTO dot_tables (dot, commit_id, names)
             SELECT $1, commit_id, names FROM dot_tables WHERE dot = $2",
        ] {
            sqlx::query(statement)
                .bind(fork)
                .bind(deed.dot)
                .execute(&mut *tx)
                .await?;
        }
        let origin_owner: UserId = sqlx::query_scalar("SELECT owner FROM dots WHERE id = $1")
            .bind(deed.dot)
            .fetch_one(&mut *tx)
            .await?;
        if origin_owner == owner {
            share_objects(&mut tx, deed.dot, fork).await?;
        } else {
            copy_objects(&mut tx, deed.dot, fork, owner).await?;
        }
        if let Some(usage) = quotas::exceeded(&mut tx, owner, quota).await? {
            return Ok(Forking::OverQuota(usage));
        }
        let of_fork = Deed {
            dot: fork,
            name: to,
            ..deed
        };
        let kind = EventKind::Fork {
            from: deed.name.clone(),
        };
        of_fork.log(&mut tx, kind).await?;
        tx.commit().await?;
        Ok(Forking::Done)
    }

    /// Returns a part of a dot's forks that the viewer may see, sorted by name.
    pub async fn forks(
        &self,
        dot: DotId,
        viewer: Option<UserId>,
        part: Part<DotName>,
    ) -> Result<Vec<DotName>, DatabaseError> {
        let (owner, name) = part.after.as_ref().map(dots::columns).unwrap_or_default();
        let rows: Vec<(String, String)> = sqlx::query_as(concat!(
            "SELECT o.name, d.name FROM dots d JOIN users o ON o.id = d.owner
                 WHERE d.forked_from = $1 AND d.deleted IS NULL AND ",
            may_read!("d", "$2"),
            " AND (o.name > $3 OR (o.name = $3 AND d.name > $4))
                 ORDER BY o.name, d.name LIMIT $5"
        ))
        .bind(dot)
        .bind(viewer)
        .bind(owner)
        .bind(name)
        .bind(i64::from(part.limit))
        .fetch_all(&self.readers)
        .await?;
        rows.iter()
            .map(|(owner, name)| ids::dot_name(owner, name))
            .collect()
    }
}

/// Gives a dot all objects of another dot in the same namespace.
async fn share_objects(
    connection: &mut AnyConnection,
    from: DotId,
    to: DotId,
) -> Result<(), DatabaseError> {
    for statement in [
        "INSERT INTO dot_packs (dot, pack) SELECT $1, pack FROM dot_packs WHERE dot = $2",
        "INSERT INTO dot_objects (dot, object) SELECT $1, object FROM dot_objects WHERE dot = $2",
    ] {
        sqlx::query(statement)
            .bind(to)
            .bind(from)
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

/// SQL: the objects `o` of the source dot, each with the new pack `n` that replaces its own pack. Until its objects
/// are counted, a new pack's column `objects` holds the id of the pack that it replaces.
macro_rules! objects_by_new_pack {
    () => {
        concat!(
            "FROM packs n JOIN objects o ON o.id ",
            between_ids_of!("n.objects"),
            " WHERE n.owner = $1 AND n.id > $2
           AND (EXISTS (SELECT 1 FROM dot_packs m WHERE m.dot = $3 AND m.pack = n.objects)
                OR EXISTS (SELECT 1 FROM dot_objects m WHERE m.dot = $3 AND m.object = o.id))"
        )
    };
}

/// Gives a dot exactly the objects of another dot, in another namespace. Each pack with any of these objects gets a
/// new row in that namespace, with the same name. If the namespace has an object already, the dot gets the existing
/// one.
pub(crate) async fn copy_objects(
    connection: &mut AnyConnection,
    from: DotId,
    to: DotId,
    owner: UserId,
) -> Result<(), DatabaseError> {
    // No other transaction writes meanwhile, so packs with greater ids are new.
    let last: i64 = sqlx::query_scalar("SELECT coalesce(max(id), 0) FROM packs")
        .fetch_one(&mut *connection)
        .await?;
    sqlx::query(concat!(
        "INSERT INTO packs (owner, name, length, added, form, objects)
         SELECT $1, p.name, p.length, p.added, p.form, p.id FROM packs p
         WHERE p.id IN (SELECT pack FROM dot_packs WHERE dot = $2
                        UNION SELECT ",
        pack_of!("object"),
        " FROM dot_objects WHERE dot = $2)"
    ))
    .bind(owner)
    .bind(from)
    .execute(&mut *connection)
    .await?;
    sqlx::query(concat!(
        "INSERT INTO dot_objects (dot, object)
         SELECT $4, e.id FROM (SELECT o.hash AS hash ",
        objects_by_new_pack!(),
        ") w JOIN objects e ON e.owner = $1 AND e.hash = w.hash"
    ))
    .bind(owner)
    .bind(last)
    .bind(from)
    .bind(to)
    .execute(&mut *connection)
    .await?;
    sqlx::query(concat!(
        "INSERT INTO objects (id, owner, hash, frame)
         SELECT ",
        same_in_pack!("n.id", "o.id"),
        ", $1, o.hash, o.frame ",
        objects_by_new_pack!(),
        " ON CONFLICT (owner, hash) DO NOTHING"
    ))
    .bind(owner)
    .bind(last)
    .bind(from)
    .execute(&mut *connection)
    .await?;
    for statement in [
        concat!(
            "UPDATE packs SET objects = (SELECT count(*) FROM objects o WHERE o.id ",
            between_ids_of!("packs.id"),
            ") WHERE owner = $1 AND id > $2"
        ),
        // The namespace already had all objects of these packs.
        "DELETE FROM packs WHERE owner = $1 AND id > $2 AND objects = 0",
    ] {
        sqlx::query(statement)
            .bind(owner)
            .bind(last)
            .execute(&mut *connection)
            .await?;
    }
    sqlx::query(
        "INSERT INTO dot_packs (dot, pack) SELECT $3, id FROM packs WHERE owner = $1 AND id > $2",
    )
    .bind(owner)
    .bind(last)
    .bind(to)
    .execute(connection)
    .await?;
    Ok(())
}

/// Removes a dot's objects of a namespace from the dot. The namespace keeps them until garbage collection.
pub(crate) async fn drop_objects(
    connection: &mut AnyConnection,
    dot: DotId,
    owner: UserId,
) -> Result<(), DatabaseError> {
    for statement in [
        "DELETE FROM dot_packs WHERE dot = $1
         AND EXISTS (SELECT 1 FROM packs p WHERE p.id = dot_packs.pack AND p.owner = $2)",
        "DELETE FROM dot_objects WHERE dot = $1
         AND EXISTS (SELECT 1 FROM objects o WHERE o.id = dot_objects.object AND o.owner = $2)",
    ] {
        sqlx::query(statement)
            .bind(dot)
            .bind(owner)
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}
