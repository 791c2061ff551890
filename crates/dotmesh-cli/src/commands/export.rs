//! `dm export`

use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use dotmesh_api::node::{ArchiveQuery, CopiedFiles, Export, ExportEvent, TransferProgress};
use dotmesh_api::{ClientError, ErrorCode, NodeClient};
use dotmesh_archive::{Counters, Rights};
use dotmesh_model::{DotName, SubdotName};
use futures::{Stream, StreamExt as _};
use serde::Serialize;
use tokio::sync::mpsc;
use utoipa::ToSchema;

use crate::context::Context;
use crate::error::{CliError, Code, Result, root_cause};
use crate::fetch::{self, Extent};
use crate::output::Human;
use crate::ui::Ui;

/// Copy a commit's data to an archive, a volume or a folder
///
/// Owners, modes, times, extended attributes, hard links and holes are kept. Without a subdot, all of them are copied, each as
/// a folder. The archive has the format of POSIX 2001 (pax), which 'tar' reads.
///
/// A folder is written with your rights: without root, its files are yours. A target that has files already is refused.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("target").required(true).args(["tar", "volume", "dir"]))]
pub struct Args {
    /// The commit: HEAD~2, a branch, a tag, an id or its first digits
    #[arg(value_name = "REV")]
    revision: String,

    /// The subdot [default: all]
    #[arg(value_name = "SUBDOT")]
    subdot: Option<SubdotName>,

    /// Write a tar archive to a new file; - is standard output
    #[arg(long, value_name = "FILE", allow_hyphen_values = true)]
    tar: Option<PathBuf>,

    /// Copy the subdot into a local Docker volume, which is made or must be empty
    #[arg(long, value_name = "NAME", requires = "subdot")]
    volume: Option<String>,

    /// Copy into a folder, which is made or must be empty
    #[arg(long, value_name = "FOLDER")]
    dir: Option<PathBuf>,
}

/// What was exported.
#[derive(Debug, Serialize, ToSchema)]
pub struct Exported {
    /// The dot.
    pub dot: DotName,
    /// The commit, as it was named.
    pub revision: String,
    /// The subdot. `null` means all of them.
    #[schema(value_type = Option<String>)]
    pub subdot: Option<SubdotName>,
    /// The file, the volume or the folder.
    pub target: String,
    /// How much was copied. `null` for an archive.
    pub copied: Option<CopiedFiles>,
    /// Whether the files kept their owners.
    pub keeps_owners: bool,
}

pub(super) async fn run(context: &Context, args: Args) -> Result<Exported> {
    let to_stdout = args
        .tar
        .as_ref()
        .is_some_and(|file| file.as_os_str() == "-");
    if to_stdout && context.ui.is_json() {
        return Err(
            CliError::usage("'-' is standard output, where --json prints the result")
                .hint("Name a file instead of '-', or leave --json out."),
        );
    }
    context
        .on_current_dot(async |node, dot| {
            let work = export(context, node, dot, &args);
            let (copied, keeps_owners) = tokio::select! {
                biased;
                done = work => done?,
                // What was begun is removed: files here by their owners' ends, a volume by the node.
                _ = tokio::signal::ctrl_c() => return Err(CliError::interrupted(false)),
            };
            let paths = [&args.tar, &args.dir].into_iter().flatten();
            let path = paths.map(|path| path.display().to_string()).next();
            Ok(Exported {
                dot: dot.clone(),
                revision: args.revision.clone(),
                subdot: args.subdot.clone(),
                target: path.or_else(|| args.volume.clone()).unwrap_or_default(),
                copied,
                keeps_owners,
            })
        })
        .await
}

async fn export(
    context: &Context,
    node: &NodeClient,
    dot: &DotName,
    args: &Args,
) -> Result<(Option<CopiedFiles>, bool)> {
    let revisions = [args.revision.as_str()];
    if let (Some(volume), Some(subdot)) = (&args.volume, &args.subdot) {
        let request = Export {
            revision: args.revision.clone(),
            subdot: subdot.clone(),
            volume: volume.clone(),
        };
        let ask = async || to_volume(context, node, dot, &request).await;
        let copied = fetch::with_data(context, dot, &revisions, Extent::Commit, ask).await?;
        return Ok((Some(copied), true));
    }
    let query = ArchiveQuery {
        revision: args.revision.clone(),
        subdot: args.subdot.clone(),
    };
    let ask = async || Ok(node.archive(dot, &query).await?);
    let pieces = fetch::with_data(context, dot, &revisions, Extent::Commit, ask).await?;
    match (&args.tar, &args.dir) {
        (Some(file), _) if file.as_os_str() == "-" => {
            let ui = context.ui.clone();
            each(pieces, |piece| ui.bytes(piece)).await?;
            Ok((None, true))
        }
        (Some(file), _) => to_file(context, pieces, file).await.map(|()| (None, true)),
        (None, Some(folder)) => {
            let is_root = rustix::process::geteuid().is_root();
            let copied = to_folder(context, pieces, folder, is_root).await?;
            Ok((Some(copied), is_root))
        }
        (None, None) => Err(CliError::usage("name a target: --tar, --volume or --dir")),
    }
}

async fn to_volume(
    context: &Context,
    node: &NodeClient,
    dot: &DotName,
    request: &Export,
) -> Result<CopiedFiles> {
    let events = node.export(dot, request).await?;
    let mut events = std::pin::pin!(events);
    let mut bar = context.ui.transfer_bar();
    while let Some(event) = events.next().await {
        match event? {
            ExportEvent::Progress(progress) => bar.show(&progress),
            ExportEvent::Done(copied) => return Ok(copied),
            ExportEvent::Failed(error) => return Err(error.into()),
        }
    }
    let message = "the node closed the connection before the export ended";
    Err(CliError::new(Code::NodeUnreachable, message).hint("The node's log says why."))
}

/// Takes each piece of the node's answer.
async fn each(
    pieces: impl Stream<Item = std::result::Result<Bytes, ClientError>>,
    mut take: impl FnMut(&[u8]) -> Result<()>,
) -> Result<()> {
    let mut pieces = std::pin::pin!(pieces);
    while let Some(piece) = pieces.next().await {
        take(&piece?)?;
    }
    Ok(())
}

/// The folder that a path is in.
fn parent(path: &Path) -> PathBuf {
    let parent = path.parent().filter(|path| path != &Path::new(""));
    parent.unwrap_or(Path::new(".")).to_owned()
}

fn exists(path: &Path) -> CliError {
    let message = format!("{} exists already", path.display());
    CliError::new(ErrorCode::Exists, message).hint("Name another place, or remove it first.")
}

fn cannot_write(path: &Path) -> impl FnOnce(std::io::Error) -> CliError {
    let message = format!("cannot write {}", path.display());
    // The error of a temporary file names that file, of which the user knows nothing.
    move |error| CliError::io(message).because(root_cause(&error).1)
}

/// Writes the archive beside its place, so that the place never has a part of it.
async fn to_file(
    context: &Context,
    pieces: impl Stream<Item = std::result::Result<Bytes, ClientError>>,
    path: &Path,
) -> Result<()> {
    if path.exists() {
        return Err(exists(path));
    }
    let beside = tempfile::Builder::new()
        .prefix(".dm-export-")
        .tempfile_in(parent(path));
    let mut file = beside.map_err(cannot_write(path))?;
    let mut bar = context.ui.transfer_bar();
    let mut progress = TransferProgress {
        phase: format!("writing {}", path.display()),
        ..TransferProgress::default()
    };
    each(pieces, |piece| {
        std::io::Write::write_all(&mut file, piece).map_err(cannot_write(path))?;
        progress.done += piece.len() as u64;
        bar.show(&progress);
        Ok(())
    })
    .await?;
    drop(bar);
    let readable = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    file.as_file()
        .set_permissions(readable)
        .map_err(cannot_write(path))?;
    file.as_file().sync_all().map_err(cannot_write(path))?;
    let kept = file.persist_noclobber(path).map(drop);
    kept.map_err(|error| cannot_write(path)(error.error))
}

/// Unpacks the archive beside its place, and renames the result.
async fn to_folder(
    context: &Context,
    pieces: impl Stream<Item = std::result::Result<Bytes, ClientError>>,
    path: &Path,
    is_root: bool,
) -> Result<CopiedFiles> {
    if std::fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_some()) || path.is_file() {
        return Err(exists(path));
    }
    let beside = tempfile::Builder::new()
        .prefix(".dm-export-")
        .tempdir_in(parent(path));
    let beside = beside.map_err(cannot_write(path))?;
    let making = beside.path().join("data");
    std::fs::create_dir(&making).map_err(cannot_write(path))?;
    let folder = File::open(&making).map_err(cannot_write(path))?;
    let counters = std::sync::Arc::new(Counters::default());
    let (sender, receiver) = mpsc::channel(4);
    let used = std::sync::Arc::clone(&counters);
    let unpacking = tokio::task::spawn_blocking(move || {
        let rights = if is_root { Rights::All } else { Rights::Own };
        let pieces = Pieces {
            receiver,
            current: Bytes::new(),
        };
        dotmesh_archive::unpack(pieces, folder.as_fd(), rights, &used)
    });
    let mut bar = context.ui.transfer_bar();
    let sending = async {
        let mut pieces = std::pin::pin!(pieces);
        while let Some(piece) = pieces.next().await {
            let progress = TransferProgress {
                phase: format!("writing {}", path.display()),
                done: counters.bytes(),
                ..TransferProgress::default()
            };
            bar.show(&progress);
            if sender.send(piece?).await.is_err() {
                break;
            }
        }
        drop(sender);
        Ok::<_, CliError>(())
    };
    let (sent, unpacked) = tokio::join!(sending, unpacking);
    drop(bar);
    let unpacked = unpacked.map_err(|error| CliError::io("cannot unpack").caused_by(error))?;
    sent?;
    let left_out = unpacked.map_err(|error| {
        CliError::io(format!("cannot write {}", path.display())).caused_by(error)
    })?;
    std::fs::rename(&making, path).map_err(cannot_write(path))?;
    Ok(CopiedFiles {
        entries: counters.entries(),
        bytes: counters.bytes(),
        left_out: left_out.count,
        first_left_out: left_out.first,
    })
}

/// Reads the node's answer on a blocking thread.
struct Pieces {
    receiver: mpsc::Receiver<Bytes>,
    current: Bytes,
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

impl Human for Exported {
    fn show(&self, ui: &Ui) -> Result<()> {
        if !self.keeps_owners {
            ui.warning("the files are yours, since only root can give them to their owners");
        }
        Ok(())
    }
}
