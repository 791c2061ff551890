//! A pipe between two threads.

use std::io::{self, Read, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// The size of the pieces, in bytes.
const PIECE: usize = 256 << 10;

/// How many pieces wait at most.
const WAITING: usize = 8;

/// Makes a pipe. It ends when the writer is dropped.
pub fn pipe() -> (PipeWriter, PipeReader) {
    let (sender, receiver) = sync_channel(WAITING);
    let writer = PipeWriter {
        sender,
        gathered: Vec::new(),
    };
    let reader = PipeReader {
        receiver,
        current: Vec::new(),
        at: 0,
    };
    (writer, reader)
}

/// The end to write to. What is written last must be flushed.
#[derive(Debug)]
pub struct PipeWriter {
    sender: SyncSender<Vec<u8>>,
    gathered: Vec<u8>,
}

impl Write for PipeWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.gathered.extend_from_slice(bytes);
        if self.gathered.len() >= PIECE {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let piece = std::mem::take(&mut self.gathered);
        if piece.is_empty() {
            return Ok(());
        }
        let sent = self.sender.send(piece);
        sent.map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

/// The end to read from.
#[derive(Debug)]
pub struct PipeReader {
    receiver: Receiver<Vec<u8>>,
    current: Vec<u8>,
    at: usize,
}

impl Read for PipeReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at == self.current.len() {
            match self.receiver.recv() {
                Ok(piece) => (self.current, self.at) = (piece, 0),
                Err(_) => return Ok(0),
            }
        }
        let count = buffer.len().min(self.current.len() - self.at);
        buffer[..count].copy_from_slice(&self.current[self.at..self.at + count]);
        self.at += count;
        Ok(count)
    }
}
