//! A connection that ends when its client takes what is sent too slowly.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use dotmesh_hub_model::limits::Pace;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::pacer::Pacer;

/// One whose writing has to make some speed.
#[derive(Debug)]
pub(super) struct Paced<S> {
    stream: S,
    pacer: Pacer,
}

impl<S> Paced<S> {
    pub(super) fn new(stream: S, pace: &Pace) -> Self {
        Self {
            stream,
            pacer: Pacer::new(pace),
        }
    }
}

impl<S: AsyncWrite + Unpin> Paced<S> {
    fn poll_paced(
        &mut self,
        context: &mut Context<'_>,
        write: impl FnOnce(Pin<&mut S>, &mut Context<'_>) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        match write(Pin::new(&mut self.stream), context) {
            Poll::Ready(written) => {
                if let Ok(written) = written {
                    self.pacer.moved(written);
                }
                Poll::Ready(written)
            }
            Poll::Pending => self.pacer.poll_wait(context).map(|()| {
                let error = "the client takes what is sent too slowly";
                Err(io::Error::new(io::ErrorKind::TimedOut, error))
            }),
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Paced<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Paced<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_paced(context, |stream, context| stream.poll_write(context, bytes))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_paced(context, |stream, context| {
            stream.poll_write_vectored(context, slices)
        })
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
