//! Names of dots. A former name leads to its dot.

use dotmesh_hub_model::event_kind::EventKind;
use dotmesh_hub_model::limits;
use dotmesh_model::DotName;
use sqlx::AnyConnection;

use crate::events::Deed;
use crate::ids::{DotId, UserId};
use crate::{Database, DatabaseError, room};

impl Database {
    /// Renames a dot within its namespace. `false` when another dot has the name.
    pub async fn rename_dot(
        &self,
        deed: Deed<'_>,
        owner: UserId,
        to: &DotName,
    ) -> Result<bool, DatabaseError> {
        let mut tx = self.begin().await?;
        if find(&mut tx, owner, to.name()).await?.is_some() {
            return Ok(false);
        }
        leave(&mut tx, deed, owner).await?;
        take(&mut tx, owner, to.name()).await?;
        // Pushes that are under way continue under the new name.
        for statement in [
            "UPDATE uploads SET dot = $1 WHERE (owner, dot) IN (SELECT owner, name FROM dots WHERE id = $2)",
            "UPDATE dots SET name = $1 WHERE id = $2",
        ] {
            sqlx::query(statement)
                .bind(to.name())
                .bind(deed.dot)
                .execute(&mut *tx)
                .await?;
        }
        log(
            &mut tx,
            deed,
            to,
            EventKind::Rename {
                from: deed.name.clone(),
            },
        )
        .await?;
        tx.commit().await?;
        Ok(true)
    }
}

/// Returns the dot that has a name at present.
pub(crate) async fn find(
    connection: &mut AnyConnection,
    owner: UserId,
    name: &str,
) -> Result<Option<DotId>, DatabaseError> {
    let dot = sqlx::query_scalar("SELECT id FROM dots WHERE owner = $1 AND name = $2")
        .bind(owner)
        .bind(name)
        .fetch_optional(connection)
        .await?;
    Ok(dot)
}

/// Fails if one more dot would be more than a user may have.
pub(crate) async fn room_for_dot(
    connection: &mut AnyConnection,
    owner: UserId,
) -> Result<(), DatabaseError> {
    let count = "SELECT count(*) FROM dots WHERE owner = $1";
    room::for_one_more(connection, &limits::DOTS_PER_USER, count, owner.0).await
}

/// Makes a name free for a dot that is about to get it: the name no longer leads to its former dot.
pub(crate) async fn take(
    connection: &mut AnyConnection,
    owner: UserId,
    name: &str,
) -> Result<(), DatabaseError> {
    sqlx::query("DELETE FROM former_names WHERE owner = $1 AND name = $2")
        .bind(owner)
        .bind(name)
        .execute(connection)
        .await?;
    Ok(())
}

/// Records the name that a dot is about to lose, so that the name still leads to the dot.
pub(crate) async fn leave(
    connection: &mut AnyConnection,
    deed: Deed<'_>,
    owner: UserId,
) -> Result<(), DatabaseError> {
    take(connection, owner, deed.name.name()).await?;
    sqlx::query("INSERT INTO former_names (owner, name, dot) VALUES ($1, $2, $3)")
        .bind(owner)
        .bind(deed.name.name())
        .bind(deed.dot)
        .execute(connection)
        .await?;
    Ok(())
}

/// Logs a change of name under the new name, by which users look for the dot from now on.
pub(crate) async fn log(
    connection: &mut AnyConnection,
    deed: Deed<'_>,
    to: &DotName,
    kind: EventKind,
) -> Result<(), DatabaseError> {
    Deed { name: to, ..deed }.log(connection, kind).await?;
    Ok(())
}
