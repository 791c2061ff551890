//! Streams data to a client at the client's speed.

use std::io;

use bytes::Bytes;
use futures::{Stream, StreamExt as _, stream};
use tokio::sync::mpsc;

/// Sends parts as the client takes them. A client that is too slow loses its connection, and its turn with it. A
/// failure is logged and ends the stream with an error, so that the client knows that the data is incomplete.
pub fn send<E>(
    turn: impl Send + 'static,
    what: &'static str,
    parts: impl Stream<Item = Result<Bytes, E>> + Send + 'static,
) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static
where
    E: std::error::Error + Send + Sync + 'static,
{
    // `None` marks the end of complete data.
    let (sender, mut taken) = mpsc::channel::<Option<io::Result<Bytes>>>(1);
    tokio::spawn(async move {
        let _turn = turn;
        let parts = parts.map(Some).chain(stream::iter([None]));
        let mut parts = std::pin::pin!(parts);
        while let Some(part) = parts.next().await {
            let part = part.map(|part| {
                part.map_err(|error| {
                    let error: &dyn std::error::Error = &error;
                    tracing::error!(error, what, "what is being sent was cut");
                    io::Error::other(error.to_string())
                })
            });
            let is_last = !matches!(part, Some(Ok(_)));
            let sent = sender.send(part).await;
            if is_last || sent.is_err() {
                return;
            }
        }
    });
    stream::poll_fn(move |context| {
        taken.poll_recv(context).map(|part| match part {
            Some(part) => part,
            None => Some(Err(io::ErrorKind::TimedOut.into())),
        })
    })
}
