//! `dm import --compose`: moves an app from local volumes to a dot.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use dotmesh_api::NodeClient;
use dotmesh_api::node::Import;
use dotmesh_model::{DotName, SubdotName};
use tokio::signal::unix::{SignalKind, signal};

use super::project::{Container, Project, Volume, docker};
use super::{
    Args, Imported, ImportedProject, Wanted, cancelled, import, imported, request, start_by_hand,
};
use crate::compose::lead::{self, OVERRIDE};
use crate::context::Context;
use crate::error::{CliError, Code, Result};
use crate::message;

fn started_by_hand(project: &Project) -> String {
    let start = start_by_hand(&project.compose_name());
    format!("The data is in the dot. Now {start}")
}

/// A volume to import.
struct Chosen {
    key: String,
    subdot: SubdotName,
    volume: String,
}

/// What there is to do.
struct Plan {
    project: Project,
    chosen: Vec<Chosen>,
    not_imported: Vec<String>,
    containers: Vec<Container>,
    dot: DotName,
    here: PathBuf,
}

pub(super) async fn run(context: &Context, node: &NodeClient, args: Args) -> Result<Imported> {
    let plan = plan(context, &args).await?;
    let wanted: Vec<Wanted> = plan.chosen.iter().map(Chosen::wanted).collect();
    let message = match message::join(&args.message) {
        message if message.is_empty() => {
            let names: Vec<&str> = plan.chosen.iter().map(|one| one.volume.as_str()).collect();
            let project = &plan.project.name;
            format!("Import {} of Compose project {project}", names.join(", "))
        }
        message => message,
    };
    let request = request(context, &wanted, message, args.force).await;
    check(context, node, &plan, &request).await?;
    let running = services(plan.containers.iter().filter(|one| one.is_running()));
    // From here on Ctrl-C ends nothing halfway, and is looked at between the steps.
    let mut interrupt = signal(SignalKind::interrupt())
        .map_err(|error| CliError::io("cannot wait for Ctrl-C").caused_by(error))?;
    let stopped = match running.as_slice() {
        [] => Ok(String::new()),
        names => {
            context.ui.status(&format!("Stopping {}", names.join(", ")));
            plan.project.compose(&["stop"], &[]).await
        }
    };
    let outcome = match stopped {
        Err(error) => Err(error),
        Ok(_) => tokio::select! {
            biased;
            outcome = import(context, node, &plan.dot, &request, Vec::new()) => outcome,
            _ = interrupt.recv() => Err(cancelled()),
        },
    };
    let outcome = match outcome {
        Ok(outcome) => outcome,
        Err(error) => return Err(start_again(context, &plan, error).await),
    };
    let mut imported = imported(plan.dot.clone(), wanted, outcome);
    imported.compose = Some(tokio::select! {
        biased;
        done = lead_compose_to_the_dot(context, &plan, &running) => done?,
        _ = interrupt.recv() => {
            let message = "interrupted after the import, while Compose started the containers";
            return Err(CliError::new(Code::ContainersFailed, message).hint(started_by_hand(&plan.project)));
        }
    });
    if imported.commit.is_some() {
        context.select(&plan.dot)?;
    }
    Ok(imported)
}

impl Chosen {
    fn wanted(&self) -> Wanted {
        Wanted {
            subdot: self.subdot.clone(),
            from: format!("volume {}", self.volume),
            volume: Some(self.volume.clone()),
            size: None,
        }
    }
}

/// Decides everything before anything is stopped.
async fn plan(context: &Context, args: &Args) -> Result<Plan> {
    let here = std::env::current_dir()
        .map_err(|error| CliError::io("cannot find the present folder").caused_by(error))?;
    let project = Project::find(
        &context.environment,
        &here,
        &args.file,
        args.project_name.as_deref(),
    )
    .await?;
    let keys = project.keys().await?;
    let volumes = project.volumes().await?;
    let containers = project.containers().await?;
    let mut not_imported = Vec::new();
    let mut chosen = Vec::new();
    let mut names = BTreeSet::new();
    for volume in &volumes {
        match refused(volume, &keys, &project.led) {
            Some(sentence) => not_imported.push(sentence),
            None => chosen.push(Chosen {
                key: volume.key().to_owned(),
                subdot: lead::subdot(volume.key(), &mut names)?,
                volume: volume.name.clone(),
            }),
        }
    }
    chosen.sort_by(|one: &Chosen, other| one.key.cmp(&other.key));
    not_imported.extend(other_mounts(&containers, &volumes, &here));
    if chosen.is_empty() {
        let message = format!(
            "Compose project '{}' has no local volumes to import",
            project.name
        );
        let mut error = CliError::new(Code::Refused, message);
        for sentence in not_imported {
            error = error.hint(sentence);
        }
        if !project.led.is_empty() {
            let start = start_by_hand(&project.compose_name());
            return Err(error.hint(format!("If containers still have old volumes, {start}")));
        }
        return Err(error.hint(
            "A project that never ran has no volumes: write 'driver: dm' for them in the Compose file.",
        ));
    }
    let dot = match (&args.dot, &context.dot) {
        (Some(dot), _) => dot.clone(),
        (None, Some(word)) => word.name()?,
        (None, None) => project.name.parse().map_err(|_| {
            let name = &project.name;
            let message = format!("the project's name '{name}' is no name for a dot");
            CliError::usage(message).hint("Name the dot: dm import DOT --compose")
        })?,
    };
    Ok(Plan {
        project,
        chosen,
        not_imported,
        containers,
        dot,
        here,
    })
}

/// Why a volume of the project is not imported.
fn refused(volume: &Volume, keys: &BTreeSet<String>, led: &BTreeSet<String>) -> Option<String> {
    let (name, driver) = (&volume.name, &volume.driver);
    if driver != "local" {
        return Some(format!(
            "Volume {name} stays as it is: its driver is '{driver}'"
        ));
    }
    if let Some(device) = volume.device() {
        return Some(format!(
            "Volume {name} stays as it is: it stands for {device}"
        ));
    }
    let key = volume.key();
    if led.contains(key) {
        return Some(format!(
            "Volume {name} stays as it is: the Compose files lead {key} to a dot already"
        ));
    }
    let is_used = keys.contains(key);
    (!is_used).then(|| {
        format!("Volume {name} stays as it is: the Compose file does not name it any more")
    })
}

/// What containers have mounted besides the project's volumes.
fn other_mounts(containers: &[Container], volumes: &[Volume], here: &Path) -> BTreeSet<String> {
    let mut sentences = BTreeSet::new();
    for container in containers {
        for mount in &container.mounts {
            let (service, at) = (container.service(), &mount.destination);
            let is_known = volumes.iter().any(|volume| volume.name == mount.name);
            let is_anonymous =
                mount.name.len() == 64 && mount.name.bytes().all(|byte| byte.is_ascii_hexdigit());
            match mount.kind.as_str() {
                "volume" if is_known || mount.driver == "dm" => {}
                "volume" if is_anonymous => {
                    sentences.insert(format!(
                        "The volume of {service} at {at} is left out, since it has no name: name it in the Compose file first"
                    ));
                }
                "volume" => {
                    let name = &mount.name;
                    sentences.insert(format!(
                        "Volume {name} stays as it is, since it does not belong to the project: dm import --volume {name}=SUBDOT copies it"
                    ));
                }
                "bind" if Path::new(&mount.source).is_dir() => {
                    let folder = Path::new(&mount.source);
                    let folder = folder.strip_prefix(here).unwrap_or(folder).display();
                    sentences.insert(format!(
                        "Folder {folder} of {service} stays a folder: dm import --dir {folder}=SUBDOT copies it"
                    ));
                }
                _ => {}
            }
        }
    }
    sentences
}

/// Has the node check the import, and checks what comes after it.
async fn check(context: &Context, node: &NodeClient, plan: &Plan, wanted: &Import) -> Result<()> {
    let check = Import {
        check: true,
        stopping: plan.containers.iter().map(|one| one.id.clone()).collect(),
        ..wanted.clone()
    };
    import(context, node, &plan.dot, &check, Vec::new()).await?;
    let probe = tempfile::Builder::new()
        .prefix(".dm-import-")
        .tempfile_in(&plan.project.folder);
    probe.map(drop).map_err(|error| {
        let folder = plan.project.folder.display();
        CliError::io(format!("cannot write {OVERRIDE} to {folder}")).caused_by(error)
    })
}

/// The names of services, each once.
fn services<'a>(containers: impl Iterator<Item = &'a Container>) -> Vec<String> {
    let names: BTreeSet<&str> = containers.map(Container::service).collect();
    names.into_iter().map(str::to_owned).collect()
}

/// Starts what ran before, after a failure.
async fn start_again(context: &Context, plan: &Plan, error: CliError) -> CliError {
    let running: Vec<&Container> = plan
        .containers
        .iter()
        .filter(|one| one.is_running())
        .collect();
    if running.is_empty() {
        return error;
    }
    let services = services(running.iter().copied());
    context
        .ui
        .status(&format!("Starting {} again", services.join(", ")));
    let words: Vec<&str> = std::iter::once("start")
        .chain(services.iter().map(String::as_str))
        .collect();
    let started = match plan.project.compose(&words, &[]).await {
        Ok(_) => Ok(String::new()),
        // Compose may refuse the project's file by now.
        Err(_) => {
            let ids = running.iter().map(|one| one.id.as_str());
            docker(&std::iter::once("start").chain(ids).collect::<Vec<_>>()).await
        }
    };
    match started {
        Ok(_) => error.hint("Nothing was changed, and the app's containers run as before."),
        Err(failed) => error.hint(format!(
            "Nothing was changed, but the app's containers could not be started again: {}",
            failed.message()
        )),
    }
}

/// Writes the file that leads Compose to the dot, and starts what ran before.
async fn lead_compose_to_the_dot(
    context: &Context,
    plan: &Plan,
    running: &[String],
) -> Result<ImportedProject> {
    let project = &plan.project;
    let chosen = plan.chosen.iter();
    let lines = lead::lines(&plan.dot, chosen.map(|one| (one.key.as_str(), &one.subdot)));
    let mut done = ImportedProject {
        project: project.name.clone(),
        file: project.folder.join(OVERRIDE),
        lines: None,
        is_read_by_default: project.named_files.is_empty(),
        started: Vec::new(),
        compose: project.compose_name(),
        not_imported: plan.not_imported.clone(),
    };
    if let Some(existing) = lead::existing(&project.folder) {
        done.file = existing;
        done.lines = Some(lines);
        return Ok(done);
    }
    let version = project.version_line(&plan.here);
    let version = version.map_or_else(String::new, |line| format!("{line}\n"));
    let text = format!(
        "# Written by 'dm import': the volumes of this app are in dot '{}'.\n\
         # Without this file, Compose uses the local volumes from before the import.\n{version}{lines}",
        plan.dot
    );
    std::fs::write(&done.file, text).map_err(|error| {
        CliError::io(format!(
            "the data is imported, but {} cannot be written",
            done.file.display()
        ))
        .caused_by(error)
        .hint(format!("Write these lines to it:\n{lines}"))
    })?;
    let more: &[&Path] = if done.is_read_by_default {
        &[]
    } else {
        &[&done.file]
    };
    let started = recreate(context, plan, running, more).await;
    started.map_err(|error| {
        let message = "the data is imported, but Compose could not start the containers on the dot";
        CliError::new(Code::ContainersFailed, message)
            .because(error.message())
            .hint(started_by_hand(project))
    })?;
    done.started = running.to_vec();
    Ok(done)
}

/// Makes all containers anew, as some versions of Compose do not see that a volume's name has changed. Starts those that ran.
async fn recreate(
    context: &Context,
    plan: &Plan,
    running: &[String],
    more: &[&Path],
) -> Result<()> {
    let all = services(plan.containers.iter());
    if all.is_empty() {
        return Ok(());
    }
    let mut counts = BTreeMap::<&str, usize>::new();
    for container in &plan.containers {
        *counts.entry(container.service()).or_default() += 1;
    }
    let scales: Vec<String> = counts
        .into_iter()
        .filter(|(_, count)| *count > 1)
        .map(|(service, count)| format!("--scale={service}={count}"))
        .collect();
    let up = |options: &[&str], services: &[String]| {
        let words = std::iter::once("up")
            .chain(options.iter().copied())
            .map(str::to_owned);
        let words: Vec<String> = words
            .chain(scales.clone())
            .chain(services.to_vec())
            .collect();
        words
    };
    context.ui.status("Making the containers anew");
    let words = up(&["--no-start", "--force-recreate"], &all);
    plan.project.compose(&words, more).await?;
    // Compose 1 gives a new container the volumes of the old one where the image declares a volume.
    let left = on_old_volumes(plan).await?;
    if !left.is_empty() {
        let options = ["--no-start", "--force-recreate", "--renew-anon-volumes"];
        let words = up(&options, &left);
        plan.project.compose(&words, more).await?;
    }
    let left = on_old_volumes(plan).await?;
    if !left.is_empty() {
        let message = format!("Compose made {} with the old volumes", left.join(", "));
        return Err(CliError::new(Code::ContainersFailed, message));
    }
    if running.is_empty() {
        return Ok(());
    }
    context
        .ui
        .status(&format!("Starting {}", running.join(", ")));
    let words = up(&["-d"], running);
    plan.project.compose(&words, more).await?;
    Ok(())
}

/// The services whose containers still have one of the imported volumes.
async fn on_old_volumes(plan: &Plan) -> Result<Vec<String>> {
    let is_old = |name: &str| plan.chosen.iter().any(|one| one.volume == name);
    let containers = plan.project.containers().await?;
    let on_old = |one: &&Container| one.mounts.iter().any(|mount| is_old(&mount.name));
    Ok(services(containers.iter().filter(on_old)))
}
