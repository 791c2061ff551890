//! Which errors are retried, how often, and with which delays. The clock advances only during waits.

use std::sync::Mutex;
use std::time::Duration;

use dotmesh_api::{ClientError, ErrorBody, ErrorCode, Foreign};
use dotmesh_sync::{Progress, retry};
use tokio::time::Instant;

fn page(status: u16, wait: Option<u64>) -> ClientError {
    let answer = Foreign {
        server: "https://hub".to_owned(),
        status,
        location: None,
        retry_after: wait.map(Duration::from_secs),
        is_json: false,
    };
    answer.into()
}

/// Gives these answers to the calls, then success. Returns the number of calls, the time, and the final error.
async fn call(mut answers: Vec<ClientError>) -> (usize, Duration, Option<String>) {
    answers.reverse();
    let (start, calls) = (Instant::now(), Mutex::new(0));
    let answers = Mutex::new(answers);
    let ended = retry(&Progress::default(), "ask", async || {
        *calls.lock().expect("calls") += 1;
        answers.lock().expect("answers").pop().map_or(Ok(()), Err)
    })
    .await;
    let calls = *calls.lock().expect("calls");
    let error = ended.err().map(|error| error.source.to_string());
    (calls, start.elapsed(), error)
}

#[tokio::test(start_paused = true)]
async fn what_passes_is_tried_again_until_it_has() {
    for status in [200, 302, 408, 429, 502, 503, 504] {
        let (calls, took, error) = call(vec![page(status, None), page(status, None)]).await;
        assert_eq!((calls, error), (3, None), "{status}");
        assert_eq!(took, Duration::from_millis(1250));
    }
    let (calls, took, error) = call((0..9).map(|_| page(502, None)).collect()).await;
    assert_eq!(calls, 7);
    assert!(took > Duration::from_secs(60));
    assert!(error.expect("an error").contains("status 502 Bad Gateway"));
}

#[tokio::test(start_paused = true)]
async fn what_does_not_pass_is_told_at_once() {
    for status in [301, 308, 400, 401, 403, 404, 407, 411, 413, 431, 500, 511] {
        let (calls, took, error) = call(vec![page(status, None)]).await;
        assert_eq!((calls, took), (1, Duration::ZERO), "{status}");
        assert!(error.is_some());
    }
    let refused = ErrorBody::new(ErrorCode::Behind, "pull first");
    assert_eq!(call(vec![refused.into()]).await.0, 1);
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_was_asked_for_is_kept_unless_it_is_long() {
    let (calls, took, error) = call(vec![page(503, Some(90)), page(429, Some(0))]).await;
    assert_eq!((calls, error), (3, None));
    assert_eq!(took, Duration::from_secs(91));
    let (calls, took, error) = call(vec![page(429, Some(24 * 60 * 60))]).await;
    assert_eq!((calls, took), (1, Duration::ZERO));
    assert!(error.expect("an error").ends_with("says to wait 86400 s"));
    // These are the hub's own answers.
    let later = |seconds| ClientError::Later {
        body: Box::new(ErrorBody::new(ErrorCode::TooMany, "too fast")),
        after: Some(Duration::from_secs(seconds)),
    };
    let (calls, took, error) = call(vec![later(2)]).await;
    assert_eq!((calls, took, error), (2, Duration::from_secs(2), None));
    let (calls, _, error) = call(vec![later(900)]).await;
    assert_eq!((calls, error.as_deref()), (1, Some("too fast")));
}
