//! Collects the objects of one thread and passes them on in pieces.

use std::sync::Arc;

use dotmesh_store::polite::Yielder;
use dotmesh_store::{Kind, Object};
use tokio::sync::mpsc;

use super::{PageCache, SealError};
use crate::objects::{Fresh, Like};

/// The bytes of objects in a piece.
const PIECE_LENGTH: usize = 1 << 20;

/// The output of one thread. Objects that are not flushed are lost.
pub(super) struct Output {
    sender: mpsc::Sender<Vec<Fresh>>,
    cache: Option<Arc<dyn PageCache>>,
    piece: Vec<Fresh>,
    length: usize,
    yielder: Yielder,
}

impl Output {
    pub(super) fn new(sender: mpsc::Sender<Vec<Fresh>>, cache: Option<Arc<dyn PageCache>>) -> Self {
        Self {
            sender,
            cache,
            piece: Vec::new(),
            length: 0,
            yielder: Yielder::default(),
        }
    }

    /// Makes an output for another thread.
    pub(super) fn another(&self) -> Self {
        Self::new(self.sender.clone(), self.cache.clone())
    }

    pub(super) fn put(&mut self, object: Object, like: Option<Like>) -> Result<(), SealError> {
        self.length += object.bytes().len();
        self.piece.push(Fresh { object, like });
        self.yielder.yield_if_due();
        if self.length >= PIECE_LENGTH {
            self.flush()
        } else {
            Ok(())
        }
    }

    pub(super) fn flush(&mut self) -> Result<(), SealError> {
        self.length = 0;
        let piece = std::mem::take(&mut self.piece);
        if piece.is_empty() {
            return Ok(());
        }
        if let Some(cache) = &self.cache {
            let pages: Vec<Object> = piece
                .iter()
                .map(|fresh| &fresh.object)
                .filter(|object| object.kind() != Kind::Chunk)
                .cloned()
                .collect();
            if !pages.is_empty() {
                cache.put(&pages);
            }
        }
        self.sender
            .blocking_send(piece)
            .map_err(|_| SealError::Stopped)
    }
}
