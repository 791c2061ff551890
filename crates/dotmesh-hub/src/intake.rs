//! The middleware around every request: it limits a client's requests and memory, and enforces the speed of its body.
//!
//! An idle client reserves nothing. A body counts as it arrives, and a route takes a turn for work only when the body
//! is complete.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use dotmesh_hub_service::rate_limit::Subject;
use dotmesh_hub_service::turns::{Turn, Turns};
use dotmesh_hub_service::{Hub, HubError};
use futures::future::BoxFuture;
use hyper::body::{Frame, SizeHint};

use crate::authenticate;
use crate::error::HttpError;
use crate::extract::client_address;
use crate::pacer::Pacer;

/// Memory is counted in steps of this many bytes. A smaller amount is not counted.
const STEP: usize = 64 << 10;

/// Why the hub stopped reading a body.
#[derive(Debug, Clone, Copy, thiserror::Error)]
pub(crate) enum Interrupted {
    /// The client was too slow.
    #[error("the request body did not arrive in time")]
    Slow,
    /// No memory for it became free in time.
    #[error("the hub had no memory left for the request body")]
    NoRoom,
}

/// Admits a request if its client's share allows it.
pub(crate) async fn admit(State(hub): State<Hub>, request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    let subject = client_address(&parts, &hub.settings).subject();
    let Some(turn) = hub.turns.requests.try_take(&subject, 1) else {
        return HttpError::from(HubError::Overloaded).into_response();
    };
    let memory = Arc::default();
    let body = Arriving {
        body,
        pacer: Pacer::new(&hub.settings.pace),
        turns: hub.turns.memory.clone(),
        subject: subject.clone(),
        uncounted: 0,
        memory: Arc::clone(&memory),
        waiting: None,
    };
    let request = Request::from_parts(parts, Body::new(body));
    let response = next.run(request).await;
    // The route has read the body by now, if it needs it.
    memory.lock().unwrap_or_else(PoisonError::into_inner).take();
    let length = response.body().size_hint().exact().unwrap_or_default();
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    let memory = match length < STEP {
        true => None,
        // The response is in memory already, so waiting for memory would keep that memory in use.
        false => match hub.turns.memory.try_take(&subject, length) {
            Some(memory) => Some(memory),
            None => return HttpError::from(HubError::Overloaded).into_response(),
        },
    };
    response.map(|body| {
        Body::new(Leaving {
            body,
            _turn: turn,
            _memory: memory,
        })
    })
}

/// Makes a request of a safe method, such as GET, wait for a turn. The request keeps the turn until the route returns
/// its response. So one person or address can never use up the database's connections.
pub(crate) async fn in_turn(State(hub): State<Hub>, request: Request, next: Next) -> Response {
    if !request.method().is_safe() {
        return next.run(request).await;
    }
    let (parts, body) = request.into_parts();
    let subject = authenticate::subject(&parts, &hub).await;
    match hub.turns.pages.take(&subject, 1).await {
        Ok(_turn) => next.run(Request::from_parts(parts, body)).await,
        Err(error) => HttpError::from(error).into_response(),
    }
}

/// The body of a request, which counts its bytes as they arrive.
struct Arriving {
    body: Body,
    pacer: Pacer,
    turns: Turns,
    subject: Subject,
    /// Bytes since the last step.
    uncounted: usize,
    /// The memory that is counted, until the route returns its response.
    memory: Arc<Mutex<Option<Turn>>>,
    waiting: Option<BoxFuture<'static, Result<Turn, HubError>>>,
}

impl Arriving {
    /// Waits for memory. This time doesn't count against the client's speed.
    fn poll_room(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Interrupted>> {
        let Some(waiting) = &mut self.waiting else {
            return Poll::Ready(Ok(()));
        };
        let turn = ready!(waiting.as_mut().poll(context));
        self.waiting = None;
        let turn = turn.map_err(|_| Interrupted::NoRoom)?;
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *memory {
            Some(memory) => memory.join(turn),
            None => *memory = Some(turn),
        }
        Poll::Ready(Ok(()))
    }
}

impl HttpBody for Arriving {
    type Data = Bytes;
    type Error = axum::BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = self.get_mut();
        if let Err(error) = ready!(this.poll_room(context)) {
            return Poll::Ready(Some(Err(error.into())));
        }
        let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(context) else {
            return this
                .pacer
                .poll_wait(context)
                .map(|()| Some(Err(Interrupted::Slow.into())));
        };
        let length = match &frame {
            Some(Ok(frame)) => frame.data_ref().map_or(0, Bytes::len),
            _ => 0,
        };
        this.pacer.moved(length);
        this.uncounted += length;
        if this.uncounted >= STEP {
            let (turns, subject) = (this.turns.clone(), this.subject.clone());
            let amount = std::mem::take(&mut this.uncounted);
            let take = async move { turns.take(&subject, amount).await };
            this.waiting = Some(Box::pin(take));
        }
        Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The body of a response. It holds the client's turn and memory until it is sent.
struct Leaving {
    body: Body,
    _turn: Turn,
    _memory: Option<Turn>,
}

impl HttpBody for Leaving {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Pin::new(&mut self.get_mut().body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
