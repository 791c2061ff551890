//! `dm run`

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use dotmesh_api::NodeClient;
use dotmesh_api::node::LogQuery;
use dotmesh_api::node_client::Direction;
use dotmesh_api::page::{DotPage, Reference};
use dotmesh_model::{BranchName, CommitRecord, DotName, ImageUse, Launch, Namespace};
use serde::Serialize;
use utoipa::ToSchema;

use super::clone;
use super::up::{self, Up};
use crate::code::Checkout;
use crate::compose::powers::Powers;
use crate::compose::{self, Compose};
use crate::context::Context;
use crate::error::{CliError, Code, Result};
use crate::hub;
use crate::hub_state::State;
use crate::output::Human;
use crate::place;
use crate::switching::WaitArgs;
use crate::transfer::{self, Plan};
use crate::ui::Ui;

/// Run the app of a state on a hub, together with its code
///
/// ADDRESS is the page of a commit, a branch or a dot. dm gets the state, and its code from the repository that the state
/// records, at the recorded commit, into a folder of its own. Then it starts the app as a fork, as 'dm up' does, waits until it
/// is healthy, and prints where to look at it. Running it again finds everything in place. A public dot needs no login.
///
/// The code and its images are other people's. Before git contacts the repository's host, dm shows its address, and asks. Before
/// the app starts for the first time, dm shows what it may do on this machine, and asks again. --yes answers both.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The address of the page
    #[arg(value_name = "ADDRESS")]
    address: String,

    /// The folder of the code [default: this work tree if it is at that commit, else a new folder here]
    #[arg(long, value_name = "FOLDER")]
    folder: Option<PathBuf>,

    /// The dot's name here [default: its name there, without the namespace]
    #[arg(long, value_name = "DOT")]
    local_name: Option<DotName>,

    /// The name of the fork and of its branch [default: at-ID, for the commit's id]
    #[arg(long, value_name = "NAME")]
    name: Option<BranchName>,

    #[command(flatten)]
    fork: up::ForkArgs,

    #[command(flatten)]
    wait: WaitArgs,
}

/// An app that runs.
#[derive(Debug, Serialize, ToSchema)]
pub struct Ran {
    /// The repository of its code.
    pub repository: String,
    /// The commit of its code.
    pub code: String,
    /// The work tree of its code.
    #[schema(value_type = String)]
    pub work_tree: PathBuf,
    /// What the app may do on this machine.
    pub powers: Powers,
    /// The images that are not those with which the state was made.
    pub other_images: Vec<OtherImage>,
    /// The fork.
    #[serde(flatten)]
    pub up: Up,
}

/// An image that is not the one with which the state was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct OtherImage {
    /// The image's name.
    pub image: String,
    /// The digest that the state records.
    pub recorded: String,
    /// The digest here.
    pub here: String,
}

pub(super) async fn run(context: &Context, args: Args) -> Result<Ran> {
    if !DotPage::is_address(&args.address) {
        return Err(
            CliError::usage(format!("'{}' is not an address", args.address)).hint(
                "Paste the address of a page on a hub, such as https://HUB/OWNER/DOT/commit/ID.",
            ),
        );
    }
    let here = place::here().ok_or_else(|| CliError::io("the current folder was deleted"))?;
    let node = context.node()?;
    // Without Compose, nothing is worth getting.
    Compose::find(&context.environment, None).await?;
    let found = get_state(context, &node, &args).await?;
    let record = &found.record;
    let code = record.code.as_ref().ok_or_else(|| {
        CliError::new(Code::Refused, format!("commit {} records no code", record.id.short())).hint(
            "It was not made in a git work tree. Start the app yourself, with 'dm clone' and its Compose file.",
        )
    })?;
    let checkout = Checkout::plan(code, args.folder.as_deref(), &here).await?;
    if let Some(host) = &checkout.host {
        ask_to_get(&context.ui, &checkout, host).await?;
    }
    let in_place = checkout.get().await?;
    if code.dirty {
        context.ui.warning(
            "the author's work tree had changes that were not committed, so the code may differ",
        );
    }
    let launch = Launch::new(Some(code), &record.images);
    let folder = inside(&in_place.folder, launch.folder.as_deref().unwrap_or("."))?;
    let files = launch
        .files
        .iter()
        .map(|file| inside(&in_place.folder, file));
    let files = files.collect::<Result<Vec<_>>>()?;
    let driver = node.version().await?.driver;
    let driver = driver.unwrap_or_else(|| compose::DRIVER.to_owned());
    let compose = Compose::find(&context.environment, Some(&folder)).await?;
    let compose = compose.for_code_of(true);
    let document = compose.resolve(&folder, &files, &driver).await?;
    let top = in_place.folder.canonicalize();
    let powers = Powers::of(&document, top.as_deref().unwrap_or(&in_place.folder));
    let known = node.forks().await?;
    // The user has answered for this code, if a fork runs from its folder.
    let is_known = known.iter().any(|fork| {
        fork.dot == found.dot
            && fork.branch == found.branch
            && fork.folder.as_ref() == Some(&folder)
    });
    if !is_known {
        ask(&context.ui, &checkout, &powers).await?;
    }
    let plan = up::Plan {
        folder,
        files,
        dot: Some(found.dot.clone()),
        name: Some(found.branch.clone()),
        revision: found.is_new_branch.then(|| record.id.to_string()),
        services: Vec::new(),
        build: false,
        is_foreign: true,
    };
    let up = up::start(context, &plan, &args.fork, &args.wait).await?;
    Ok(Ran {
        repository: checkout.repository,
        code: checkout.commit,
        work_tree: in_place.folder,
        powers,
        other_images: other_images(&record.images).await,
        up,
    })
}

/// A state that is here.
struct Found {
    dot: DotName,
    branch: BranchName,
    /// Whether the branch is not here.
    is_new_branch: bool,
    record: CommitRecord,
}

/// Gets the state unless it is here.
async fn get_state(context: &Context, node: &NodeClient, args: &Args) -> Result<Found> {
    let config = context.config.load()?;
    let source = clone::at_address(&config, &args.address)?;
    let dot = match &args.local_name {
        Some(local) => local.clone(),
        None => DotName::new(Namespace::default(), source.dot.name())?,
    };
    let client = hub::client(&source.remote)?;
    let reference = source.reference.clone();
    let reference = reference.unwrap_or_else(|| Reference::from(BranchName::master()));
    let resolved = client.resolve(&source.dot, &reference).await;
    let resolved = resolved.map_err(hub::explain)?;
    let state = State::of(&resolved, &reference)?;
    let query = LogQuery::one(Some(&resolved.commit.to_string()));
    let is_here = node.log(&dot, &query).await.is_ok();
    if !is_here {
        let plan = Plan {
            direction: Direction::Clone,
            remote_name: source.remote_name,
            remote: source.remote,
            local: dot.clone(),
            remote_dot: source.dot,
            branch: Some(state.branch.clone()),
            commit: state.commit,
            stash_on_divergence: false,
            force_with_lease: None,
            full: false,
            without_data: false,
            allow_secrets: false,
            rows: None,
            rate_limit: None,
        };
        let transferred = transfer::run(context, node, &plan).await?;
        transferred.show(&context.ui)?;
    }
    context.leaves(format!(
        "The state is here, as dot {dot}. Run the same command again to go on."
    ));
    // The node has verified the record against its seal.
    let log = node.log(&dot, &query).await?;
    let record = log.commits.into_iter().next().ok_or_else(|| {
        CliError::new(
            Code::NoCommits,
            format!("{} has no commits yet", args.address),
        )
    })?;
    // The branch that was cloned is checked out here, so the app itself runs on it.
    let branch = args.name.clone();
    let branch = branch.unwrap_or_else(|| BranchName::at(record.id));
    let branches = node.dot(&dot).await?.branches;
    Ok(Found {
        dot,
        is_new_branch: !branches.iter().any(|known| known.name == branch),
        branch,
        record,
    })
}

/// A path of the record, which must be in the code.
fn inside(code: &Path, path: &str) -> Result<PathBuf> {
    let found = code.join(path).canonicalize().map_err(|error| {
        CliError::new(
            Code::Refused,
            format!("the code has no {path}, where the state says that its app is"),
        )
        .caused_by(error)
    })?;
    let top = code.canonicalize();
    let top = top.map_err(|error| CliError::io("the code is gone").caused_by(error))?;
    match found.starts_with(&top) {
        true => Ok(found),
        false => Err(CliError::new(
            Code::Refused,
            format!("{path}, where the state says that its app is, is outside of its code"),
        )),
    }
}

/// Shows whom git will contact, and asks. The state names the repository, so its author chose the host.
async fn ask_to_get(ui: &Ui, checkout: &Checkout, host: &str) -> Result<()> {
    ui.status(&format!(
        "Its code is {} at {}",
        checkout.repository,
        checkout.commit.get(..10).unwrap_or(&checkout.commit),
    ));
    let folder = checkout.folder.display();
    ui.status(&format!(
        "git contacts {host} for it, with your keys, and puts it into {folder}"
    ));
    ui.confirm("Get it?").await
}

/// Shows what the app may do, and asks.
async fn ask(ui: &Ui, checkout: &Checkout, powers: &Powers) -> Result<()> {
    let short = checkout.commit.get(..10).unwrap_or(&checkout.commit);
    ui.status(&format!(
        "This starts the code of {} at {short}:",
        checkout.repository
    ));
    for line in powers.lines() {
        ui.status(&line);
    }
    if powers.are_unusual() {
        ui.warning("it reaches beyond its own code and containers, so trust its authors first");
    }
    ui.confirm("Start it?").await
}

/// The images that are not those with which the state was made. Images that were built here are always others, so only those
/// of registries are compared.
async fn other_images(recorded: &[ImageUse]) -> Vec<OtherImage> {
    let mut other = BTreeMap::new();
    for one in recorded.iter().filter(|one| one.digest.contains('@')) {
        let Some(here) = compose::digests(&one.image).await else {
            continue;
        };
        let digest = one.digest.rsplit('@').next().unwrap_or(&one.digest);
        if !here.iter().any(|known| known.ends_with(digest)) {
            other.insert(
                one.image.clone(),
                OtherImage {
                    image: one.image.clone(),
                    recorded: digest.to_owned(),
                    here: here
                        .into_iter()
                        .next()
                        .unwrap_or_else(|| "built here".to_owned()),
                },
            );
        }
    }
    other.into_values().collect()
}

impl Human for Ran {
    fn show(&self, ui: &Ui) -> Result<()> {
        for other in &self.other_images {
            ui.warning(&format!(
                "image {} is {} here, and the state was made with {}",
                other.image, other.here, other.recorded
            ));
        }
        ui.status(&format!("Its code is in {}", self.work_tree.display()));
        self.up.show(ui)
    }

    fn failure(&self) -> Option<CliError> {
        self.up.failure()
    }
}
