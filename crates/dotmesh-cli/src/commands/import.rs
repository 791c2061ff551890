//! `dm import`

mod compose;
pub(super) mod project;
mod send;

use std::path::PathBuf;

use dotmesh_api::NodeClient;
use dotmesh_api::node::{CopiedFiles, Import, ImportEvent, ImportOutcome, ImportSubdot};
use dotmesh_model::size::format_size;
use dotmesh_model::{BranchName, CommitId, DotName, SubdotName};
use futures::StreamExt as _;
use serde::Serialize;
use utoipa::ToSchema;

use crate::commands::commit;
use crate::config::CurrentDot;
use crate::context::{Context, no_current_dot};
use crate::error::{CliError, Code, Result};
use crate::output::Human;
use crate::ui::Ui;
use crate::{current, message};
use send::Archive;

/// Make subdots of volumes, folders and archives
///
/// With --compose, the local volumes of this folder's Compose project become the subdots of one dot. The containers stop, and
/// start again on the dot. 'dm' writes a file compose.override.yaml, which leads Compose to the dot from then on. If there is
/// such a file already, it prints the lines to add, and leaves the containers stopped.
///
/// A new dot gets a first commit. In an existing dot, the new subdots are uncommitted changes. All subdots appear together, or
/// none. Nothing of the old data is changed or deleted. Owners, modes, times, extended attributes, hard links and holes are
/// kept. Sockets and devices are left out.
///
/// Folders and archives are read with your rights, and volumes by the node. Ctrl-C cancels, and starts the containers again.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("source").required(true).multiple(true).args(["compose", "volume", "dir", "tar"]))]
pub struct Args {
    /// The dot, which is made if it does not exist [default: with --compose, one with the project's name; otherwise the
    /// current dot]
    #[arg(value_name = "DOT")]
    dot: Option<DotName>,

    /// Import the local volumes of this folder's Compose project
    #[arg(long, conflicts_with_all = ["volume", "dir", "tar"])]
    compose: bool,

    /// The Compose file; may be given several times
    #[arg(short, long, value_name = "FILE", requires = "compose")]
    file: Vec<PathBuf>,

    /// The name of the Compose project [default: as Compose chooses it]
    #[arg(short, long, value_name = "NAME", requires = "compose")]
    project_name: Option<String>,

    /// Import a local Docker volume; may be given several times, as --dir and --tar may
    #[arg(long, value_name = "NAME=SUBDOT", value_parser = parse_source)]
    volume: Vec<Source>,

    /// Import a folder
    #[arg(long, value_name = "FOLDER=SUBDOT", value_parser = parse_source)]
    dir: Vec<Source>,

    /// Import a tar archive; - is standard input
    #[arg(long, value_name = "FILE=SUBDOT", value_parser = parse_source, allow_hyphen_values = true)]
    tar: Vec<Source>,

    /// The message of a new dot's first commit; each further one is a paragraph
    #[arg(short, long, value_name = "MESSAGE")]
    message: Vec<String>,

    /// Copy volumes also while other containers use them
    #[arg(long)]
    force: bool,
}

impl Args {
    /// Whether containers are stopped, and must start again whatever happens.
    pub fn stops_containers(&self) -> bool {
        self.compose
    }
}

/// Where a subdot's data comes from.
#[derive(Debug, Clone)]
pub struct Source {
    /// A volume's name, or a path.
    from: String,
    subdot: SubdotName,
}

/// Parses `NAME=SUBDOT`. The last `=` separates them, since a path may have others.
fn parse_source(text: &str) -> std::result::Result<Source, String> {
    let (from, subdot) = text.rsplit_once('=').unwrap_or((text, ""));
    if from.is_empty() || subdot.is_empty() {
        return Err("write what to import, '=', and the new subdot's name".to_owned());
    }
    let subdot = subdot.parse();
    Ok(Source {
        from: from.to_owned(),
        subdot: subdot.map_err(|error: dotmesh_model::InvalidName| error.to_string())?,
    })
}

/// What an import did.
#[derive(Debug, Serialize, ToSchema)]
pub struct Imported {
    /// The dot.
    pub dot: DotName,
    /// The branch that has the new subdots.
    pub branch: BranchName,
    /// The first commit, if the dot is new.
    pub commit: Option<CommitId>,
    /// The new subdots.
    pub subdots: Vec<ImportedSubdot>,
    /// With `--compose`: what became of the project.
    pub compose: Option<ImportedProject>,
}

/// A new subdot.
#[derive(Debug, Serialize, ToSchema)]
pub struct ImportedSubdot {
    /// Its name.
    #[schema(value_type = String)]
    pub subdot: SubdotName,
    /// What was imported: `volume shop_db`, or a path.
    pub from: String,
    /// How much it has.
    #[serde(flatten)]
    pub copied: CopiedFiles,
}

/// What became of a Compose project.
#[derive(Debug, Serialize, ToSchema)]
pub struct ImportedProject {
    /// Its name.
    pub project: String,
    /// The file that leads Compose to the dot.
    #[schema(value_type = String)]
    pub file: PathBuf,
    /// The lines to add to that file, if `dm` did not write it.
    pub lines: Option<String>,
    /// Whether Compose reads the file by itself.
    pub is_read_by_default: bool,
    /// The services that run on the dot now.
    pub started: Vec<String>,
    /// What was not imported, as sentences.
    pub not_imported: Vec<String>,
    /// What people type for Compose.
    #[serde(skip)]
    pub compose: String,
}

/// What to do if Compose did not start the containers on the dot.
fn start_by_hand(compose: &str) -> String {
    format!("make the containers anew: {compose} down, and then {compose} up -d")
}

pub(super) async fn run(context: &Context, args: Args) -> Result<Imported> {
    let node = context.node()?;
    if args.compose {
        return compose::run(context, &node, args).await;
    }
    let dot = match &args.dot {
        Some(dot) => dot.clone(),
        None => match current::choose(context, &node).await?.dot {
            CurrentDot::Selected(dot) => dot,
            other => return Err(no_current_dot(&other, &[])),
        },
    };
    let mut wanted = Vec::new();
    let mut archives = Vec::new();
    for source in &args.volume {
        wanted.push(Wanted {
            subdot: source.subdot.clone(),
            from: format!("volume {}", source.from),
            volume: Some(source.from.clone()),
            size: None,
        });
    }
    let folders = args
        .dir
        .iter()
        .map(|source| (source, Archive::folder(&source.from)));
    let files = args
        .tar
        .iter()
        .map(|source| (source, Archive::file(&source.from)));
    for (source, archive) in folders.chain(files) {
        let archive = archive?;
        wanted.push(Wanted {
            subdot: source.subdot.clone(),
            from: source.from.clone(),
            volume: None,
            size: archive.size()?,
        });
        archives.push(archive);
    }
    let message = match message::join(&args.message) {
        message if message.is_empty() => {
            let from: Vec<&str> = wanted.iter().map(|one| one.from.as_str()).collect();
            format!("Import {}", from.join(", "))
        }
        message => message,
    };
    let request = request(context, &wanted, message, args.force).await;
    let importing = import(context, &node, &dot, &request, archives);
    let outcome = tokio::select! {
        biased;
        outcome = importing => outcome?,
        // Dropping the stream tells the node to stop.
        _ = tokio::signal::ctrl_c() => return Err(cancelled()),
    };
    let imported = imported(dot, wanted, outcome);
    if imported.commit.is_some() {
        context.select(&imported.dot)?;
    }
    Ok(imported)
}

/// The error after Ctrl-C.
fn cancelled() -> CliError {
    CliError::new(
        dotmesh_api::ErrorCode::Cancelled,
        "cancelled: nothing was imported",
    )
}

/// What to import into a subdot.
struct Wanted {
    subdot: SubdotName,
    /// For people.
    from: String,
    volume: Option<String>,
    size: Option<u64>,
}

async fn request(context: &Context, wanted: &[Wanted], message: String, force: bool) -> Import {
    let (author, code) = commit::who_and_what(context).await;
    Import {
        subdots: wanted
            .iter()
            .map(|one| ImportSubdot {
                subdot: one.subdot.clone(),
                volume: one.volume.clone(),
                size: one.size,
            })
            .collect(),
        message,
        author,
        code,
        force,
        ..Import::default()
    }
}

fn imported(dot: DotName, wanted: Vec<Wanted>, outcome: ImportOutcome) -> Imported {
    let subdots = wanted.into_iter().zip(outcome.subdots);
    Imported {
        dot,
        branch: outcome.branch.unwrap_or_else(BranchName::master),
        commit: outcome.commit,
        subdots: subdots
            .map(|(wanted, copied)| ImportedSubdot {
                subdot: wanted.subdot,
                from: wanted.from,
                copied,
            })
            .collect(),
        compose: None,
    }
}

/// Sends the request and the archives, and waits for the end.
async fn import(
    context: &Context,
    node: &NodeClient,
    dot: &DotName,
    request: &Import,
    archives: Vec<Archive>,
) -> Result<ImportOutcome> {
    let sending = send::Sending::start(archives);
    let events = node.import(dot, request, sending.stream).await?;
    let mut events = std::pin::pin!(events);
    let mut bar = context.ui.transfer_bar();
    while let Some(event) = events.next().await {
        match event? {
            ImportEvent::Progress(progress) => bar.show(&progress),
            ImportEvent::Done(outcome) => return Ok(outcome),
            ImportEvent::Failed(error) => {
                // If the archive could not be read here, the node knows only that it ends early.
                return Err(match sending.problem.take() {
                    Some(problem) => problem,
                    None => error.into(),
                });
            }
        }
    }
    let message = "the node closed the connection before the import ended";
    Err(CliError::new(Code::NodeUnreachable, message)
        .hint("Nothing was imported. The node's log says why."))
}

impl Human for Imported {
    fn show(&self, ui: &Ui) -> Result<()> {
        if let Some(commit) = &self.commit {
            ui.out(&format!("{commit}\n"))?;
        }
        let place = match &self.commit {
            Some(commit) => format!("new dot '{}', commit {}", self.dot, commit.short()),
            None => format!("branch {} of dot '{}', uncommitted", self.branch, self.dot),
        };
        let selected = if self.commit.is_some() {
            ", which is selected now"
        } else {
            ""
        };
        ui.status(&format!("Imported into {place}{selected}:"));
        for one in &self.subdots {
            let copied = &one.copied;
            let size = match copied.bytes {
                0 => "no bytes".to_owned(),
                bytes => format_size(bytes),
            };
            let entries = copied.entries;
            ui.status(&format!(
                "  {}: {}, {entries} files and folders, {size}",
                one.subdot, one.from
            ));
            if copied.left_out > 0 {
                let first = copied.first_left_out.join(", ");
                let count = copied.left_out;
                ui.status(&format!("    without {count} sockets and devices: {first}"));
            }
        }
        let Some(compose) = &self.compose else {
            return Ok(());
        };
        for sentence in &compose.not_imported {
            ui.status(sentence);
        }
        let file = compose.file.display();
        match &compose.lines {
            None => ui.status(&format!("Wrote {file}, which leads Compose to the dot")),
            Some(lines) => {
                ui.warning(&format!(
                    "{file} exists, and the app's containers are stopped. Add these lines to it:"
                ));
                ui.out(&format!("\n{lines}\n"))?;
                ui.hint(&format!("Then {}", start_by_hand(&compose.compose)));
            }
        }
        if compose.lines.is_none() && !compose.is_read_by_default {
            ui.hint(&format!(
                "Name it after the other files from now on: {} -f … -f {file} up -d",
                compose.compose
            ));
        }
        if !compose.started.is_empty() {
            ui.status(&format!(
                "Started on the dot: {}",
                compose.started.join(", ")
            ));
        }
        Ok(())
    }
}
