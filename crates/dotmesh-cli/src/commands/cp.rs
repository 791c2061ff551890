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
            let pieces = fetch::with_data(context, dot, &revisions, Extent::Commit, ask).await?;
            Ok((dot.clone(), pieces))
        })
        .await?;
    let (sender, receiver) = mpsc::channel(4);
    let (ui, target) = (context.ui.clone(), args.target);
    let copying = tokio::task::spawn_blocking(move || {
        let archive = tar::Archive::new(Pieces {
            receiver,
            current: Bytes::new(),
        });
        match to_stdout {
            true => print(&ui, archive).map(|()| target),
            false => unpack(archive, &target),
        }
    });
    let cut = tokio::select! {
        biased;
        cut = pass_on(pieces, &sender) => cut,
        // The thread removes what it has unpacked so far.
        _ = tokio::signal::ctrl_c() => {
            let _ = sender.send(Err(std::io::ErrorKind::Interrupted.into())).await;
            Some(CliError::interrupted(false))
        }
    };
    drop(sender);
    let copied = copying
        .await
        .map_err(|error| CliError::io("cannot copy").caused_by(error))?;
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

/// Passes the node's pieces on to the thread that unpacks them. Returns why the node sent no more.
async fn pass_on(
    pieces: impl Stream<Item = std::result::Result<Bytes, ClientError>>,
    sender: &mpsc::Sender<std::io::Result<Bytes>>,
) -> Option<CliError> {
    let mut pieces = std::pin::pin!(pieces);
    while let Some(piece) = pieces.next().await {
        match piece {
            Ok(piece) => {
                if sender.send(Ok(piece)).await.is_err() {
                    return None;
                }
            }
            Err(error) => {
                let cut = std::io::ErrorKind::UnexpectedEof.into();
                let _ = sender.send(Err(cut)).await;
                return Some(CliError::from(error));
            }
        }
    }
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

/// Reads the node's stream. The reader runs on a blocking thread.
struct Pieces {
    receiver: mpsc::Receiver<std::io::Result<Bytes>>,
    current: Bytes,
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        while self.current.is_empty() {
            match self.receiver.blocking_recv() {
                Some(piece) => self.current = piece?,
                None => return Ok(0),
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
