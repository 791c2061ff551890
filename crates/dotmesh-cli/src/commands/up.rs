//! `dm up`

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use dotmesh_api::NodeClient;
use dotmesh_api::node::{Fork, ForkState, MakeFork, Wait, WantedPort};
use dotmesh_model::{BranchName, DotName};
use serde::Serialize;
use utoipa::ToSchema;

use crate::compose::document::Document;
use crate::compose::fork::{self, slug};
use crate::compose::{self, Compose, Project, reuse};
use crate::context::Context;
use crate::current;
use crate::error::{CliError, Code, Result};
use crate::fetch::{self, Extent};
use crate::output::Human;
use crate::project_file::ProjectFile;
use crate::switching::WaitArgs;
use crate::ui::Ui;
use crate::{forks, git, place, table};

mod port;
mod target;
mod turn;

use port::Choice;
use target::Target;
use turn::Turn;

/// How often it is looked again at what the command waits for.
const INTERVAL: Duration = Duration::from_millis(200);

/// Run the app of this folder once more, on a branch of its own, with a copy of all its data
///
/// The copy is a fork. Its branch is made from the state that the app has now, also with uncommitted changes, all subdots at
/// one instant. It takes no space until something is written. The containers of the fork have a Compose project, networks and
/// ports of their own, and the branch's data. No file is changed: Compose resolves the configuration, and dm hands it back
/// with the fork's names.
///
/// Afterwards, commands in this folder are about the fork: commit, reset, stash, undo and the others change only its data,
/// and restart only its containers.
///
/// What cannot be moved, such as the machine's network, is named before anything starts. Running it again changes nothing
/// unless the Compose file has changed.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Begin with this state: a branch, a tag, a commit's id [default: the working copy that is current]
    #[arg(value_name = "REV")]
    revision: Option<String>,

    /// The name of the fork and of its branch [default: the branch that git has checked out here]
    #[arg(long, value_name = "NAME")]
    name: Option<BranchName>,

    #[command(flatten)]
    fork: ForkArgs,

    /// A Compose file; may be given several times [default: the files that Compose finds]
    #[arg(short, long, value_name = "FILE")]
    file: Vec<PathBuf>,

    /// Build images again, as 'docker compose up --build' does
    #[arg(long)]
    build: bool,

    #[command(flatten)]
    wait: WaitArgs,

    /// Start only these services, and those that they depend on
    #[arg(value_name = "SERVICE", last = true)]
    services: Vec<String>,
}

/// The options of a fork.
#[derive(Debug, Clone, clap::Args)]
pub struct ForkArgs {
    /// Stop the fork after this time, such as 90m, 8h or 2d; 'dm up' starts it again
    #[arg(long, value_name = "TIME", value_parser = parse_lifetime)]
    expires: Option<u64>,

    /// Choose a port of this machine: web=8200, or web:80=8200 if the service publishes several
    #[arg(long, value_name = "SERVICE=PORT")]
    port: Vec<Choice>,
}

/// What to start, with all choices made.
#[derive(Debug)]
pub struct Plan {
    /// The folder of the app.
    pub folder: PathBuf,
    /// Its Compose files. Empty means those that Compose finds.
    pub files: Vec<PathBuf>,
    /// The dot. `None` means the one that the app has.
    pub dot: Option<DotName>,
    /// The name of the fork and of its branch. `None` means that of git's branch.
    pub name: Option<BranchName>,
    /// The state that a new branch begins with. `None` means the working copy.
    pub revision: Option<String>,
    /// The services to start. Empty means all.
    pub services: Vec<String>,
    /// Whether to build images again.
    pub build: bool,
    /// Whether other people wrote the code.
    pub is_foreign: bool,
}

/// A fork that was started.
#[derive(Debug, Serialize, ToSchema)]
pub struct Up {
    /// The fork.
    #[serde(flatten)]
    pub fork: Fork,
    /// Whether its branch is new.
    pub is_new: bool,
    /// What the fork shares with the app, or has no copy of.
    pub notes: Vec<String>,
}

/// A time in seconds: `90m`, `8h`, `2d`.
fn parse_lifetime(text: &str) -> std::result::Result<u64, String> {
    let days = text.strip_suffix('d').and_then(|days| days.parse().ok());
    let seconds = match days {
        Some(days) => u64::checked_mul(days, 24 * 3600),
        None => Some(crate::switching::parse_seconds(text)?),
    };
    seconds
        .filter(|seconds| *seconds > 0)
        .ok_or_else(|| "not a time: for instance 90m, 8h, 2d".to_owned())
}

pub(super) async fn run(context: &Context, args: Args) -> Result<Up> {
    let folder = folder(&args.file)?;
    let plan = Plan {
        name: args.name,
        folder,
        files: args.file.iter().map(|file| absolute(file)).collect(),
        dot: None,
        revision: args.revision,
        services: args.services,
        build: args.build,
        is_foreign: false,
    };
    start(context, &plan, &args.fork, &args.wait).await
}

/// Starts a fork.
pub(super) async fn start(
    context: &Context,
    plan: &Plan,
    args: &ForkArgs,
    wait: &WaitArgs,
) -> Result<Up> {
    let folder = &plan.folder;
    let file = ProjectFile::load(folder)?;
    let mut node = context.node()?;
    let compose = Compose::find(&context.environment, Some(folder)).await?;
    let compose = compose.for_code_of(plan.is_foreign);
    let driver = node.version().await?.driver;
    let driver = driver.unwrap_or_else(|| compose::DRIVER.to_owned());
    let document = compose.resolve(folder, &plan.files, &driver).await?;
    let target = target::find(context, &node, plan.dot.as_ref(), folder, &file, &document).await?;
    let shares_folder = plan.dot.is_none() && target.app.as_ref() == Some(folder);
    let name = match &plan.name {
        Some(name) => name.clone(),
        None if shares_folder => {
            return Err(
                CliError::usage("the app itself runs from this folder").hint(
                    "Run 'dm up' in another git work tree, or name the fork: dm up --name NAME",
                ),
            );
        }
        None => name_of_work_tree(folder).await?,
    };
    let name = &name;
    let _turn = Turn::take(context, &target.dot, name).await?;
    // A fork of a fork begins with that fork's data.
    if let Some(branch) = current::choose(context, &node).await?.branch
        && plan.dot.is_none()
        && branch != *name
    {
        node = node.seen_from(branch);
    }
    let all = node.forks().await?;
    let is_it = |fork: &&Fork| fork.dot == target.dot && fork.branch == *name;
    let known = all.iter().find(is_it);
    let is_new = !node
        .dot(&target.dot)
        .await?
        .branches
        .iter()
        .any(|branch| branch.name == *name);
    let notes: Vec<String> = document.notes().iter().map(ToString::to_string).collect();
    if known.is_none_or(|known| known.state == ForkState::Stopped) {
        for note in &notes {
            context.ui.warning(note);
        }
    }
    if let Some(revision) = plan.revision.as_deref().filter(|_| !is_new) {
        context.ui.warning(&format!(
            "branch {name} is there already, so it does not begin with {revision}. 'dm reset --hard {revision}' takes it there."
        ));
    }
    let mut request = MakeFork {
        branch: name.clone(),
        from: plan.revision.clone(),
        project: project(&target, name, known, &all),
        folder: Some(folder.clone()),
        shares_folder,
        ports: ports(&document, &args.port, &compose)?,
        lifetime: args.expires,
        config: None,
    };
    context.leaves(left(plan, name, is_new));
    let make = async || Ok(node.make_fork(&target.dot, &request).await?);
    let revisions: Vec<&str> = plan
        .revision
        .as_deref()
        .filter(|_| is_new)
        .into_iter()
        .collect();
    let made = fetch::with_data(context, &target.dot, &revisions, Extent::Commit, make).await?;
    if is_new {
        let from = plan.revision.as_deref().unwrap_or("the present state");
        let (dot, project) = (&target.dot, &made.project);
        context.ui.status(&format!(
            "Forked {dot} from {from} as branch {name}, project {project}"
        ));
    }
    let config = config(
        &document,
        &target,
        &made,
        images(&compose, &target, &document, &driver, plan.build).await,
    )?;
    // Also those of a fork whose first start was interrupted.
    let is_unfinished = || made.config.as_deref().is_none_or(forks::is_pending);
    let is_pending =
        !file.after_fork.is_empty() && (is_new || (known.is_some() && is_unfinished()));
    let kept = match is_pending {
        true => forks::pending(&config),
        false => config.clone(),
    };
    request.lifetime = None;
    if made.config.as_ref() != Some(&kept) {
        request.config = Some(kept);
        node.make_fork(&target.dot, &request).await?;
    }
    let project = Project {
        fork: name.as_str(),
        name: &made.project,
        folder,
        config: &config,
    };
    let services = match plan.services.is_empty() {
        true => &file.services,
        false => &plan.services,
    };
    let mut words = vec!["up", "-d", "--remove-orphans"];
    words.extend(plan.build.then_some("--build"));
    words.extend(services.iter().map(String::as_str));
    compose.run(&context.ui, &project, &words).await?;
    let fork = healthy(context, &node, &made, &wait.into()).await?;
    if is_pending {
        for after in &file.after_fork {
            let mut words = vec!["exec", "-T", after.service.as_str()];
            words.extend(after.command.iter().map(String::as_str));
            compose.run(&context.ui, &project, &words).await?;
        }
        request.config = Some(config.clone());
        node.make_fork(&target.dot, &request).await?;
    }
    Ok(Up {
        fork: Fork {
            config: None,
            ..fork
        },
        is_new,
        notes,
    })
}

/// What is left after an interruption, and how to go on.
fn left(plan: &Plan, name: &BranchName, is_new: bool) -> String {
    let again = match plan.is_foreign {
        true => "The same command goes on".to_owned(),
        false => format!("'dm up --name {name}' goes on"),
    };
    let away = match is_new {
        true => format!("'dm down {name} --delete' deletes it with its branch"),
        false => format!("'dm down {name}' stops it"),
    };
    format!("Fork {name} may be there with some of its containers. {again}, and {away}.")
}

/// The folder of the app.
fn folder(files: &[PathBuf]) -> Result<PathBuf> {
    let here = place::here().ok_or_else(|| CliError::io("the current folder was deleted"))?;
    if let Some(first) = files.first() {
        let first = absolute(first);
        return Ok(first.parent().map_or(here, Path::to_owned));
    }
    compose::folder_around(&here).ok_or_else(|| {
        CliError::usage(format!(
            "there is no Compose file in {} or above",
            here.display()
        ))
        .hint("Go to the folder of your app, or name the file with --file.")
    })
}

fn absolute(file: &Path) -> PathBuf {
    file.canonicalize()
        .or_else(|_| std::path::absolute(file))
        .unwrap_or_else(|_| file.to_owned())
}

/// The name of git's branch, as a fork's name.
async fn name_of_work_tree(folder: &Path) -> Result<BranchName> {
    let Some(branch) = git::branch(folder).await else {
        return Err(
            CliError::usage("git has no branch checked out here, so the fork has no name")
                .hint("Name it: dm up --name NAME"),
        );
    };
    branch.parse().map_err(|error| {
        CliError::usage(format!(
            "git's branch {branch} cannot be the name of a fork: {error}"
        ))
        .hint("Choose another name: dm up --name NAME")
    })
}

/// The fork's Compose project: the one that it had, or a new one that no other fork has.
fn project(target: &Target, name: &BranchName, known: Option<&Fork>, all: &[Fork]) -> String {
    if let Some(known) = known {
        return known.project.clone();
    }
    let plain = fork::project(&target.stem, name, false);
    match all.iter().any(|fork| fork.project == plain) {
        true => fork::project(&target.stem, name, true),
        false => plain,
    }
}

/// The ports that the fork needs, with those that the user chose.
fn ports(document: &Document, chosen: &[Choice], compose: &Compose) -> Result<Vec<WantedPort>> {
    let mut wanted = document.ports();
    for choice in chosen {
        let matching = wanted.iter_mut().filter(|port| choice.is_about(port));
        let mut matching: Vec<&mut WantedPort> = matching.collect();
        match matching.as_mut_slice() {
            [one] => one.port = Some(choice.port),
            [] => {
                let problem = format!("service {} publishes no such port", choice.service);
                let hint = format!("'{} config' shows the ports.", compose.name());
                return Err(CliError::usage(problem).hint(hint));
            }
            several => {
                let targets: Vec<String> =
                    several.iter().map(|port| port.target.to_string()).collect();
                return Err(CliError::usage(format!(
                    "service {} publishes several ports: {}",
                    choice.service,
                    targets.join(", ")
                ))
                .hint(format!(
                    "Say which one: --port {}:{}={}",
                    choice.service, targets[0], choice.port
                )));
            }
        }
    }
    Ok(wanted)
}

/// The images that the app has built from the same files.
async fn images(
    compose: &Compose,
    target: &Target,
    document: &Document,
    driver: &str,
    build: bool,
) -> BTreeMap<String, String> {
    let Some(app) = &target.app else {
        return BTreeMap::new();
    };
    if build || document.builds().is_empty() {
        return BTreeMap::new();
    }
    // Without the app's configuration, Compose builds.
    let Ok(app) = compose.resolve(app, &[], driver).await else {
        return BTreeMap::new();
    };
    let document = document.clone();
    let images =
        tokio::task::spawn_blocking(move || reuse::images(&document, &app, compose::has_image));
    images.await.unwrap_or_default()
}

/// The configuration for Compose.
fn config(
    document: &Document,
    target: &Target,
    made: &Fork,
    images: BTreeMap<String, String>,
) -> Result<String> {
    let suffix = made.project.strip_prefix(&target.stem.to_lowercase());
    let suffix = suffix.map(|suffix| suffix.trim_start_matches('-').to_owned());
    let fork = fork::Fork {
        project: made.project.clone(),
        dot: made.dot.clone(),
        branch: made.branch.clone(),
        suffix: suffix
            .filter(|suffix| !suffix.is_empty())
            .unwrap_or_else(|| slug(&made.branch)),
        stem: target.stem.clone(),
        ports: made.ports.clone(),
        images,
    };
    let config = document
        .fork(&fork)
        .map_err(|problem| CliError::new(Code::Refused, problem))?;
    serde_json::to_string(&config)
        .map_err(|error| CliError::io("cannot encode the configuration").caused_by(error))
}

/// Waits until no health check is pending.
async fn healthy(context: &Context, node: &NodeClient, made: &Fork, wait: &Wait) -> Result<Fork> {
    let deadline = Instant::now() + Duration::from_secs(wait.seconds);
    let mut is_told = false;
    loop {
        let fork = node.fork(&made.dot, &made.branch).await?;
        if !wait.healthy || fork.state != ForkState::Starting || Instant::now() >= deadline {
            return Ok(fork);
        }
        if !is_told {
            let names = waited_for(&fork, "starting");
            context.ui.status(&format!(
                "Waiting for containers to become healthy: {}",
                names.join(", ")
            ));
            is_told = true;
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

fn waited_for(fork: &Fork, health: &str) -> Vec<String> {
    let containers = fork.containers.iter();
    let waited_for = containers.filter(|one| one.health.as_deref() == Some(health));
    waited_for.map(|one| one.name.clone()).collect()
}

impl Human for Up {
    fn show(&self, ui: &Ui) -> Result<()> {
        let Fork { branch, dot, .. } = &self.fork;
        ui.status(&format!("Fork {branch} of {dot} is up"));
        let rows = self.fork.ports.iter().map(|port| {
            let address = match port.protocol.as_str() {
                "tcp" => forks::url(port),
                protocol => format!("localhost:{}/{protocol}", port.port),
            };
            vec![format!("{}:{}", port.service, port.target), address]
        });
        ui.out(&table::aligned(&rows.collect::<Vec<_>>()))
    }

    fn failure(&self) -> Option<CliError> {
        let fork = &self.fork;
        let problem = match fork.state {
            ForkState::Running => return None,
            ForkState::Starting => format!(
                "some containers of fork {} are not healthy yet: {}",
                fork.branch,
                waited_for(fork, "starting").join(", ")
            ),
            ForkState::Failing | ForkState::Stopped | ForkState::Expired => {
                let mut names = waited_for(fork, "unhealthy");
                let ended = fork.containers.iter();
                let ended = ended.filter(|one| one.exit_code.is_some_and(|code| code != 0));
                names.extend(ended.map(|one| one.name.clone()));
                format!(
                    "some containers of fork {} do not run as they should: {}",
                    fork.branch,
                    names.join(", ")
                )
            }
        };
        let hint = format!("See 'dm compose {} -- logs'.", fork.branch);
        Some(CliError::new(Code::ContainersFailed, problem).hint(hint))
    }
}
