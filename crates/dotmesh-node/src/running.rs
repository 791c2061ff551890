//! The long operations that run for clients. They go on when their client leaves, and other clients can attach to them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};
use dotmesh_api::node::{OPERATION_HEADER, OperationKind, RunningOperation};
use dotmesh_api::{ErrorBody, ErrorCode};
use dotmesh_model::DotName;
use tokio::sync::{Notify, broadcast};

use crate::node::random_hex;

/// How long the result of an operation is kept for a client that attaches again.
const KEPT: Duration = Duration::from_secs(600);

/// How many events a slow client may be behind before it misses some. It never misses the last one.
const BEHIND: usize = 64;

/// All operations, by their ids.
#[derive(Default)]
pub(crate) struct Running {
    operations: Mutex<BTreeMap<String, Arc<Entry>>>,
}

/// An operation.
struct Entry {
    told: RunningOperation,
    /// What it was asked to do. The same request attaches to it. `None` if it does not.
    request: Option<Vec<u8>>,
    state: Mutex<State>,
    events: broadcast::Sender<Line>,
    stop: Notify,
}

#[derive(Default)]
struct State {
    /// The newest event.
    newest: Option<Bytes>,
    ended: Option<Instant>,
}

#[derive(Clone)]
struct Line {
    /// Empty if the operation ended without a result.
    text: Bytes,
    is_last: bool,
}

/// The operation's own side: it tells the events. Dropping it ends the operation for all clients.
pub(crate) struct Operator(Arc<Entry>);

/// A client's side. It gets all events from when it attached.
pub(crate) struct Attached {
    id: String,
    /// The newest event at that time.
    first: Option<Line>,
    events: broadcast::Receiver<Line>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Running {
    /// Begins an operation.
    pub(crate) fn begin(&self, kind: OperationKind, dot: &DotName) -> (Operator, Attached) {
        Self::add(&mut lock(&self.operations), kind, dot, None)
    }

    /// Begins an operation, or attaches to the running one with the same request. It is the caller's to run it if there is an
    /// [`Operator`].
    pub(crate) fn begin_or_attach(
        &self,
        kind: OperationKind,
        dot: &DotName,
        request: Vec<u8>,
    ) -> (Option<Operator>, Attached) {
        let mut operations = lock(&self.operations);
        let is_same = |one: &&Arc<Entry>| {
            let told = &one.told;
            (told.kind, &told.dot, one.request.as_ref()) == (kind, dot, Some(&request))
                && lock(&one.state).ended.is_none()
        };
        if let Some(same) = operations.values().find(is_same) {
            return (None, Attached::to(same));
        }
        let (operator, attached) = Self::add(&mut operations, kind, dot, Some(request));
        (Some(operator), attached)
    }

    fn add(
        operations: &mut BTreeMap<String, Arc<Entry>>,
        kind: OperationKind,
        dot: &DotName,
        request: Option<Vec<u8>>,
    ) -> (Operator, Attached) {
        let entry = Arc::new(Entry {
            told: RunningOperation {
                id: random_hex::<8>(),
                kind,
                dot: dot.clone(),
                since: crate::node::now(),
                done: false,
            },
            request,
            state: Mutex::default(),
            events: broadcast::Sender::new(BEHIND),
            stop: Notify::new(),
        });
        operations.retain(|_, one| {
            let ended = lock(&one.state).ended;
            ended.is_none_or(|ended| ended.elapsed() < KEPT)
        });
        operations.insert(entry.told.id.clone(), Arc::clone(&entry));
        let attached = Attached::to(&entry);
        (Operator(entry), attached)
    }

    /// The operations that run or ended a short time ago, the oldest first.
    pub(crate) fn list(&self) -> Vec<RunningOperation> {
        let operations = lock(&self.operations);
        let told = operations.values().map(|one| RunningOperation {
            done: lock(&one.state).ended.is_some(),
            ..one.told.clone()
        });
        let mut list: Vec<_> = told.collect();
        list.sort_by(|one, other| (one.since, &one.id).cmp(&(other.since, &other.id)));
        list
    }

    fn entry(&self, id: &str) -> Result<Arc<Entry>, ErrorBody> {
        let found = lock(&self.operations).get(id).cloned();
        found.ok_or_else(|| {
            let message = format!("no operation {id} runs or has just ended");
            ErrorBody::new(ErrorCode::NotFound, message)
                .hint("'GET /v1/operations' lists the operations.")
        })
    }

    /// Attaches to an operation that runs or ended a short time ago.
    pub(crate) fn attach(&self, id: &str) -> Result<Attached, ErrorBody> {
        let entry = self.entry(id)?;
        Ok(Attached::to(&entry))
    }

    /// Stops an operation, and returns once it has ended.
    pub(crate) async fn stop(&self, id: &str) -> Result<(), ErrorBody> {
        let entry = self.entry(id)?;
        if !entry.told.kind.can_stop() {
            let message = "this operation changes the working copy, so it goes on to its end";
            return Err(ErrorBody::new(ErrorCode::Invalid, message)
                .hint("Wait until it is done, and undo it with 'dm undo'."));
        }
        let Attached {
            first, mut events, ..
        } = Attached::to(&entry);
        entry.stop.notify_one();
        let mut has_ended = first.is_some_and(|line| line.is_last);
        while !has_ended {
            has_ended = next(&mut events).await.is_none_or(|line| line.is_last);
        }
        Ok(())
    }

    /// Forgets an operation that failed before its first event: its client got the error as the answer.
    pub(crate) fn forget(&self, operator: &Operator) {
        lock(&self.operations).remove(&operator.0.told.id);
    }
}

impl Operator {
    /// Tells an event to all clients.
    pub(crate) fn tell(&self, text: Bytes) {
        self.send(text, false);
    }

    /// Tells the last event.
    pub(crate) fn finish(self, text: Bytes) {
        self.send(text, true);
    }

    fn send(&self, text: Bytes, is_last: bool) {
        let mut state = lock(&self.0.state);
        if state.ended.is_some() {
            return;
        }
        state.newest = Some(text.clone());
        if is_last {
            state.ended = Some(Instant::now());
        }
        // It fails if nobody listens.
        let _ = self.0.events.send(Line { text, is_last });
    }

    /// Returns when a client wants it to stop.
    pub(crate) async fn stopped(&self) {
        self.0.stop.notified().await;
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        self.send(Bytes::new(), true);
    }
}

impl Attached {
    fn to(entry: &Entry) -> Self {
        // The lock keeps an event from coming twice or never.
        let state = lock(&entry.state);
        let is_last = state.ended.is_some();
        let newest = state.newest.clone();
        Self {
            id: entry.told.id.clone(),
            first: newest.map(|text| Line { text, is_last }),
            events: entry.events.subscribe(),
        }
    }

    /// The response: the events as lines of JSON.
    pub(crate) fn answer(self) -> Response {
        let Self { id, first, events } = self;
        let lines = futures::stream::unfold((first, Some(events)), async |(first, events)| {
            let mut events = events?;
            let line = match first {
                Some(line) => line,
                None => next(&mut events).await?,
            };
            let rest = (!line.is_last).then_some(events);
            Some((Ok::<_, std::convert::Infallible>(line.text), (None, rest)))
        });
        let headers = [
            (CONTENT_TYPE.as_str(), "application/x-ndjson".to_owned()),
            (OPERATION_HEADER, id),
        ];
        (headers, Body::from_stream(lines)).into_response()
    }
}

async fn next(events: &mut broadcast::Receiver<Line>) -> Option<Line> {
    loop {
        match events.recv().await {
            Ok(line) => return Some(line),
            Err(broadcast::error::RecvError::Lagged(_)) => {}
            Err(broadcast::error::RecvError::Closed) => return None,
        }
    }
}
