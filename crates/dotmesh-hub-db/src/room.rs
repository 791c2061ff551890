//! Checks limits in the transaction that adds a row, so no two requests can take the last place.

use dotmesh_hub_model::limits::Limit;
use sqlx::AnyConnection;

use crate::DatabaseError;
use crate::ids;

/// Fails if one more row would exceed a limit. `count` is a statement that counts the existing rows of the row `$1`.
pub(crate) async fn for_one_more(
    connection: &mut AnyConnection,
    limit: &'static Limit,
    count: &'static str,
    of: i64,
) -> Result<(), DatabaseError> {
    let there: i64 = sqlx::query_scalar(count)
        .bind(of)
        .fetch_one(connection)
        .await?;
    Ok(limit.check(ids::unsigned::<usize>(there)? + 1)?)
}
