//! The body of an import: a line of JSON, and after it archives in pieces.

use std::io::Read;

use axum::body::{Body, BodyDataStream};
use bytes::{Buf as _, Bytes, BytesMut};
use futures::StreamExt as _;
use tokio::sync::mpsc;

use crate::error::{CopyError, NodeError};

/// The longest first line, in bytes.
const MAX_LINE: usize = 1 << 20;

/// The longest piece, in bytes.
const MAX_PIECE: usize = 1 << 20;

/// What is left of the body.
pub(crate) struct Archives {
    body: BodyDataStream,
    buffer: BytesMut,
}

impl Archives {
    pub(crate) fn new(body: Body) -> Self {
        Self {
            body: body.into_data_stream(),
            buffer: BytesMut::new(),
        }
    }

    /// Waits for more bytes. `false` at the end.
    async fn more(&mut self) -> Result<bool, NodeError> {
        match self.body.next().await {
            None => Ok(false),
            Some(Ok(bytes)) => {
                self.buffer.extend_from_slice(&bytes);
                Ok(true)
            }
            Some(Err(error)) => Err(CopyError::Body(error.to_string()).into()),
        }
    }

    /// The first line, without its end. It may be all that there is.
    pub(crate) async fn first_line(&mut self) -> Result<Bytes, NodeError> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line = self.buffer.split_to(end).freeze();
                self.buffer.advance(1);
                return Ok(line);
            }
            if self.buffer.len() > MAX_LINE {
                return Err(CopyError::Body("its first line is too long".to_owned()).into());
            }
            if !self.more().await? {
                return Ok(self.buffer.split().freeze());
            }
        }
    }

    /// The next piece of the present archive, or `None` at its end.
    async fn piece(&mut self) -> Result<Option<Bytes>, NodeError> {
        while self.buffer.len() < 4 {
            self.require_more().await?;
        }
        let length = usize::try_from(self.buffer.get_u32()).unwrap_or(usize::MAX);
        if length > MAX_PIECE {
            return Err(CopyError::Body("a piece of an archive is too long".to_owned()).into());
        }
        while self.buffer.len() < length {
            self.require_more().await?;
        }
        Ok((length > 0).then(|| self.buffer.split_to(length).freeze()))
    }

    async fn require_more(&mut self) -> Result<(), NodeError> {
        match self.more().await? {
            true => Ok(()),
            false => Err(CopyError::Body("it ends before its archives do".to_owned()).into()),
        }
    }

    /// Passes an archive on to its reader. Reads it to its end, also if the reader needs no more of it.
    pub(crate) async fn pass_on(&mut self, reader: mpsc::Sender<Bytes>) -> Result<(), NodeError> {
        while let Some(piece) = self.piece().await? {
            let _ = reader.send(piece).await;
        }
        Ok(())
    }

    /// Reads what is left.
    pub(crate) async fn drain(&mut self) {
        while let Some(Ok(_)) = self.body.next().await {}
    }
}

/// A blocking reader of an archive.
pub(crate) struct Pieces {
    receiver: mpsc::Receiver<Bytes>,
    current: Bytes,
}

impl Pieces {
    pub(crate) fn new() -> (mpsc::Sender<Bytes>, Self) {
        let (sender, receiver) = mpsc::channel(4);
        let current = Bytes::new();
        (sender, Self { receiver, current })
    }
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        while self.current.is_empty() {
            match self.receiver.blocking_recv() {
                Some(piece) => self.current = piece,
                None => return Ok(0),
            }
        }
        let count = self.current.len().min(buffer.len());
        buffer[..count].copy_from_slice(&self.current.split_to(count));
        Ok(count)
    }
}
