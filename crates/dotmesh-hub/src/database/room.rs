//! Whether there is room for one more. Asked in the transaction that adds it, so no two requests take the last place.

use sqlx::AnyConnection;

use super::DatabaseError;
use super::ids;
use crate::limits::Limit;

/// Refuses one more than a limit allows. `count` counts what there is, of the row `$1`.
pub(super) async fn for_one_more(
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
