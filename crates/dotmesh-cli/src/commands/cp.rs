//! `dm cp`

use std::io::Read;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use dotmesh_api::node::ContentQuery;
use dotmesh_api::{ClientError, ErrorCode};
use dotmesh_model::DotName;
use futures::{Stream, StreamExt as _};
use serde::Serialize;
use tokio::sync::mpsc;
use utoipa::ToSchema;

use crate::context::Context;
use crate::error::{CliError, Code, Result};
use crate::fetch::{self, Extent};
use crate::output::Human;
use crate::ui::Ui;

/// Copy a file or a folder out of a state
///
/// With a commit, the state of that commit is copied. Without one, the current state is copied, captured at one instant.
/// Containers keep running. Symbolic links are copied as links, and not followed. Owners and special files are not copied.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to copy, such as HEAD~2:uploads/logo.png. The commit is HEAD~2, a branch, a tag, an id or its first digits
    #[arg(value_name = "[REV:]SUBDOT[/PATH]")]
    source: String,

    /// The target: a new path, an existing folder, or - for stdout
    #[arg(value_name = "HERE", allow_hyphen_values = true)]
    target: PathBuf,
}

/// A copied file or folder.
#[derive(Debug, Serialize, ToSchema)]
pub struct Copied {
    /// The dot.
    pub dot: DotName,
    /// What was copied, as it was named.
    pub source: String,
    /// The new file or folder.
    #[schema(value_type = String)]
    pub target: PathBuf,
}

pub(super) async fn run(context: &Context, args: Args) -> Result<Copied> {
    let to_stdout = args.target.as_os_str() == "-";
    if to_stdout && context.ui.is_json() {
        return Err(
            CliError::usage("'-' is standard output, where --json prints the result")
                .hint("Name a file instead of '-', or leave --json out."),
        );
    }
    let query = query(&args.source);
    let revision = query.revision.clone();
    let revisions: Vec<&str> = revision.iter().map(String::as_str).collect();
    let (dot, pieces) = context
        .on_current_dot(async |node, dot| {
            let ask = async || Ok(node.content(dot, &query).await?);
            let pieces = fetch::with_data(context, dot, &revisions, Extent::Commit, ask).await;
            let pieces = pieces.map_err(|error| explain(error, &query))?;
            Ok((dot.clone(), pieces))
        })
        .await?;
    let (sender, receiver) = mpsc::channel(4);
    let (ui, target) = (context.ui.clone(), args.target);
    let copying = std::thread::spawn(move || {
        let archive = tar::Archive::new(Pieces {
            receiver,
            current: Bytes::new(),
            is_whole: false,
        });
        match to_stdout {
            true => print(&ui, archive).map(|()| target),
            false => unpack(archive, &target),
        }
    });
    let cut = tokio::select! {
        biased;
        cut = pass_on(pieces, sender) => cut,
        _ = tokio::signal::ctrl_c() => {
            if to_stdout {
                // The thread may wait for a reader.
                return Err(CliError::interrupted(false));
            }
            Some(CliError::interrupted(false))
        }
    };
    // Nothing is awaited here, so that the thread removes what it has unpacked, also after Ctrl-C.
    let copied = copying
        .join()
        .map_err(|_| CliError::io("cannot copy: the thread that unpacks has failed"))?;
    match cut {
        Some(error) => Err(error),
        None => Ok(Copied {
            dot,
            source: args.source,
            target: copied?,
        }),
    }
}

impl Human for Copied {
    fn show(&self, _: &Ui) -> Result<()> {
        Ok(())
    }
}

/// Passes the node's pieces on to the thread that unpacks them, and an empty one at the end. Returns why it is cut.
async fn pass_on(
    pieces: impl Stream<Item = std::result::Result<Bytes, ClientError>>,
    sender: mpsc::Sender<Bytes>,
) -> Option<CliError> {
    let mut pieces = std::pin::pin!(pieces);
    while let Some(piece) = pieces.next().await {
        match piece {
            Ok(piece) if piece.is_empty() => {}
            Ok(piece) => {
                if sender.send(piece).await.is_err() {
                    return None;
                }
            }
            Err(error) => return Some(CliError::from(error)),
        }
    }
    let _ = sender.send(Bytes::new()).await;
    None
}

/// Parses `REV:SUBDOT/PATH`. The names of commits and subdots cannot contain a colon.
pub fn query(source: &str) -> ContentQuery {
    let (revision, path) = match source.split_once(':') {
        Some(("", path)) => (None, path),
        Some((revision, path)) => (Some(revision.to_owned()), path),
        None => (None, source),
    };
    ContentQuery {
        revision,
        path: path.to_owned(),
    }
}

/// Whoever leaves out the subdot may have meant a commit.
fn explain(error: CliError, query: &ContentQuery) -> CliError {
    let path = &query.path;
    match query.revision {
        None if error.is_not_found() && !path.contains('/') => error.hint(format!(
            "If {path} is a commit, put a colon after it: dm cp {path}:SUBDOT/PATH HERE"
        )),
        _ => error,
    }
}

/// Reads the node's stream. The reader runs on a blocking thread.
struct Pieces {
    receiver: mpsc::Receiver<Bytes>,
    current: Bytes,
    is_whole: bool,
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.current.is_empty() && !self.is_whole {
            match self.receiver.blocking_recv() {
                Some(piece) if piece.is_empty() => self.is_whole = true,
                Some(piece) => self.current = piece,
                None => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            }
        }
        let count = self.current.len().min(buffer.len());
        buffer[..count].copy_from_slice(&self.current.split_to(count));
        Ok(count)
    }
}

fn failed(error: std::io::Error) -> CliError {
    CliError::io("cannot copy").caused_by(error)
}

/// Writes the archive's only file to stdout.
fn print(ui: &Ui, mut archive: tar::Archive<Pieces>) -> Result<()> {
    let mut entries = archive.entries().map_err(failed)?;
    let Some(entry) = entries.next() else {
        return Err(CliError::new(ErrorCode::Internal, "the node sent nothing"));
    };
    let mut entry = entry.map_err(failed)?;
    if !entry.header().entry_type().is_file() {
        return Err(
            CliError::usage("only a file can be copied to standard output")
                .hint("To copy a folder, name a path instead of '-'."),
        );
    }
    let mut buffer = vec![0; 64 << 10];
    loop {
        let count = entry.read(&mut buffer).map_err(failed)?;
        if count == 0 {
            return Ok(());
        }
        ui.bytes(&buffer[..count])?;
    }
}

/// Unpacks the archive into a temporary folder beside the target, and renames the result, so that the target is never
/// incomplete.
fn unpack(mut archive: tar::Archive<Pieces>, target: &Path) -> Result<PathBuf> {
    let (folder, name) = if target.is_dir() {
        (target.to_owned(), None)
    } else {
        let folder = target.parent().filter(|path| path != &Path::new(""));
        let folder = folder.unwrap_or(Path::new(".")).to_owned();
        (folder, target.file_name().map(PathBuf::from))
    };
    let beside = tempfile::Builder::new()
        .prefix(".dm-cp-")
        .tempdir_in(&folder)
        .map_err(|error| {
            CliError::io(format!("cannot write to {}", folder.display())).caused_by(error)
        })?;
    archive.unpack(beside.path()).map_err(failed)?;
    let mut entries = std::fs::read_dir(beside.path()).map_err(failed)?;
    let Some(entry) = entries.next() else {
        return Err(CliError::new(
            Code::Refused,
            "the source is not a file, a folder or a link",
        )
        .hint("Sockets, pipes and devices are not copied."));
    };
    let entry = entry.map_err(failed)?;
    let place = folder.join(name.unwrap_or_else(|| entry.file_name().into()));
    let is_folder = |path: &Path| std::fs::symlink_metadata(path).is_ok_and(|found| found.is_dir());
    if is_folder(&entry.path()) && place.exists() || is_folder(&place) {
        return Err(CliError::new(
            ErrorCode::Exists,
            format!("{} exists already", place.display()),
        )
        .hint("Name another place, or remove it first."));
    }
    std::fs::rename(entry.path(), &place).map_err(|error| {
        CliError::io(format!("cannot write {}", place.display())).caused_by(error)
    })?;
    Ok(place)
}
