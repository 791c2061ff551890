//! Sends folders and archives, which are read with the rights of the caller.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use dotmesh_archive::{ArchiveError, Counters};
use futures::Stream;
use tokio::sync::mpsc;

use crate::error::{CliError, Result};

/// The size of a piece, in bytes.
const PIECE: usize = 256 << 10;

/// Something to send as an archive.
pub(super) enum Archive {
    Folder(PathBuf, File),
    File(PathBuf, File),
    Input,
}

impl Archive {
    /// A folder. Fails if it cannot be opened.
    pub(super) fn folder(path: &str) -> Result<Self> {
        let folder = open(path)?;
        match folder.metadata() {
            Ok(metadata) if metadata.is_dir() => Ok(Self::Folder(path.into(), folder)),
            _ => Err(CliError::usage(format!("{path} is not a folder"))
                .hint("An archive is imported with --tar.")),
        }
    }

    /// An archive's file, or standard input.
    pub(super) fn file(path: &str) -> Result<Self> {
        match path {
            "-" => Ok(Self::Input),
            path => Ok(Self::File(path.into(), open(path)?)),
        }
    }

    /// About how many bytes it has, if that is known.
    pub(super) fn size(&self) -> Result<Option<u64>> {
        match self {
            Self::Folder(path, folder) => {
                let size = dotmesh_archive::measure(folder.as_fd(), &Counters::default());
                size.map(Some)
                    .map_err(|error| problem(&path.display().to_string(), error))
            }
            Self::File(_, file) => Ok(file.metadata().ok().map(|metadata| metadata.len())),
            Self::Input => Ok(None),
        }
    }

    fn send(self, out: &mut Pieces) -> Result<()> {
        match self {
            Self::Folder(path, folder) => {
                let packed = dotmesh_archive::pack(folder.as_fd(), b".", out, &Counters::default());
                let packed = packed.and_then(|_| dotmesh_archive::finish(out));
                packed.map_err(|error| problem(&path.display().to_string(), error))
            }
            Self::File(path, file) => pass_on(file, &path.display().to_string(), out),
            Self::Input => pass_on(std::io::stdin().lock(), "standard input", out),
        }
    }
}

fn open(path: &str) -> Result<File> {
    File::open(path).map_err(|error| CliError::io(format!("cannot open {path}")).caused_by(error))
}

fn problem(what: &str, error: ArchiveError) -> CliError {
    CliError::io(format!("cannot read {what}")).caused_by(error)
}

fn pass_on(mut from: impl Read, name: &str, out: &mut Pieces) -> Result<()> {
    let mut buffer = vec![0; PIECE];
    loop {
        let count = match from.read(&mut buffer) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => {
                return Err(CliError::io(format!("cannot read {name}")).caused_by(error));
            }
            Ok(0) => return out.flush().map_err(CliError::output),
            Ok(count) => count,
        };
        out.write_all(&buffer[..count]).map_err(CliError::output)?;
    }
}

/// Why sending failed, if it did.
#[derive(Clone, Default)]
pub(super) struct Problem(Arc<Mutex<Option<CliError>>>);

impl Problem {
    pub(super) fn take(&self) -> Option<CliError> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Archives that a thread reads and sends.
pub(super) struct Sending<S> {
    /// The bytes of the request after its first line.
    pub(super) stream: S,
    /// Why the stream ends early.
    pub(super) problem: Problem,
}

impl Sending<()> {
    /// Starts the thread. It waits until the node takes the bytes.
    pub(super) fn start(
        archives: Vec<Archive>,
    ) -> Sending<impl Stream<Item = Bytes> + Send + Sync + use<>> {
        let (sender, receiver) = mpsc::channel(4);
        let problem = Problem::default();
        let told = problem.clone();
        std::thread::spawn(move || {
            for archive in archives {
                let mut pieces = Pieces {
                    sender: sender.clone(),
                    gathered: Vec::new(),
                };
                if let Err(error) = archive.send(&mut pieces) {
                    *told.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                    return;
                }
                // A piece without bytes is the end of an archive.
                let end = Bytes::from_static(&[0; 4]);
                if sender.blocking_send(end).is_err() {
                    return;
                }
            }
        });
        let stream = futures::stream::unfold(receiver, async |mut receiver| {
            let piece: Bytes = receiver.recv().await?;
            Some((piece, receiver))
        });
        Sending { stream, problem }
    }
}

/// A writer that sends pieces, each after its length.
struct Pieces {
    sender: mpsc::Sender<Bytes>,
    gathered: Vec<u8>,
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let count = bytes.len().min(PIECE - self.gathered.len());
        self.gathered.extend_from_slice(&bytes[..count]);
        if self.gathered.len() == PIECE {
            self.flush()?;
        }
        Ok(count)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        let piece = std::mem::take(&mut self.gathered);
        if piece.is_empty() {
            return Ok(());
        }
        let length = u32::try_from(piece.len()).unwrap_or(0).to_be_bytes();
        let bytes = [&length[..], &piece].concat();
        let sent = self.sender.blocking_send(bytes.into());
        sent.map_err(|_| std::io::ErrorKind::BrokenPipe.into())
    }
}
