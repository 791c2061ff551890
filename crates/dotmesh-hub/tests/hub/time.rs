//! What ends with time, by a clock that the test moves on.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use dotmesh_model::ambient::Clock;
use jiff::Timestamp;
use reqwest::StatusCode;

use crate::ambient;
use crate::pages::Browser;
use crate::support::TestHub;

#[tokio::test]
async fn a_session_ends_a_month_after_its_last_use() {
    let time = Arc::new(AtomicI64::new(ambient::now().as_second()));
    let read = Arc::clone(&time);
    let clock = Clock::new(move || Timestamp::from_second(read.load(Ordering::Relaxed)).unwrap());
    let hub = TestHub::start_at(clock).await;
    let mut alice = Browser::logged_in(&hub, "alice").await;
    for (days, status) in [
        (29, StatusCode::OK),
        (29, StatusCode::OK),
        (31, StatusCode::SEE_OTHER),
    ] {
        time.fetch_add(days * 24 * 60 * 60, Ordering::Relaxed);
        assert_eq!(alice.get("/-/settings").await.status, status, "{days}");
    }
}
