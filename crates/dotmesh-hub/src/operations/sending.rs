//! Bytes on their way to a client that takes them as it likes.

use std::io;

use bytes::Bytes;
use futures::{Stream, StreamExt as _, stream};
use tokio::sync::mpsc;

/// Hands parts over as the client takes them. One that takes them too slowly loses its connection, and so its turn. What
/// fails on the way is logged, and ends in an error: nobody takes a part for the whole.
pub fn send<E>(
    turn: impl Send + 'static,
    what: &'static str,
    parts: impl Stream<Item = Result<Bytes, E>> + Send + 'static,
) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static
where
    E: std::error::Error + Send + Sync + 'static,
{
    // None says that all was sent.
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
