//! A client that goes away ends its request at any await point, also in the middle of a statement. The database
//! connection must still serve the next request.

use std::pin::pin;
use std::time::Duration;

use dotmesh_api::ErrorCode;
use dotmesh_hub_db::DatabaseError;
use dotmesh_hub_db::events::OPERATOR;
use dotmesh_hub_model::credentials::Token;
use dotmesh_hub_model::search::{Place as In, Words};
use dotmesh_hub_service::HubError;
use futures::future::Either;

use crate::ambient;
use crate::place::Place;
use crate::support::TestHub;

/// More polls than any of the calls below needs.
const POLLS: usize = 120;

/// Polls a call at most `polls` times, then drops it. Returns whether it had ended by then.
async fn abandon<T>(call: impl Future<Output = T>, polls: usize) -> bool {
    let call = pin!(call);
    let over = pin!(async {
        for _ in 0..polls {
            tokio::task::yield_now().await;
        }
    });
    matches!(futures::future::select(call, over).await, Either::Left(_))
}

#[tokio::test]
async fn a_connection_outlives_the_request_that_was_abandoned() {
    for place in [
        Place::folder(tempfile::tempdir().unwrap()),
        Place::shared().await,
    ] {
        let hub = TestHub::start_in(place).await;
        hub.user("alice").await;
        let database = &hub.hub.database;
        let name = "alice".parse().unwrap();
        let user = database.user(&name).await.unwrap().unwrap();
        let words = Words::new("anything");
        let mut ended = 0;
        for polls in 0..POLLS {
            let call = database.search(Some(user), In::Dots, &words, 0, 10);
            ended += u32::from(abandon(call, polls).await);
            let is_suspended = polls % 2 == 0;
            let call = database.set_suspended(&name, is_suspended, &OPERATOR, ambient::now());
            ended += u32::from(abandon(call, polls).await);

            // Use every connection of the pool, with single statements and with transactions.
            for _ in 0..8 {
                assert_eq!(database.user(&name).await.unwrap(), Some(user));
            }
            for _ in 0..8 {
                let call = database.search(Some(user), In::Dots, &words, 0, 10);
                assert!(call.await.is_ok(), "after {polls} polls");
            }
            // Other connections see the write, so no transaction was left open.
            let digest = Token::generate(&ambient::random()).digest();
            let begun = database
                .begin_session(user, &digest, "", ambient::now())
                .await
                .unwrap();
            let session = database.session(&digest, ambient::now()).await.unwrap();
            assert_eq!(session.is_some(), begun, "after {polls} polls");
            database
                .set_suspended(&name, false, &OPERATOR, ambient::now())
                .await
                .unwrap();
        }
        // Otherwise the calls were not cut at every await point.
        assert!(ended > 2, "{ended}");
    }
}

/// A client then waits and asks again. After an internal error it would not.
#[test]
fn a_database_without_a_free_connection_is_busy() {
    let error = DatabaseError::from(sqlx::Error::PoolTimedOut);
    let error = HubError::from(error);
    assert_eq!(error.body().code, ErrorCode::TooMany);
    assert_eq!(error.retry_after(), Some(Duration::from_secs(5)));
}
