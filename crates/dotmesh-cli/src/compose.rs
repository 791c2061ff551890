//! Runs Compose, whichever version there is, and gives it the configurations of forks.
//!
//! No file is written: Compose reads a fork's configuration from memory.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::Write as _;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::Command;

use dotmesh_api::ErrorCode;
use dotmesh_model::launch::{COMPOSE, FILES};

use crate::environment::Environment;
use crate::error::{CliError, Code, Result};
use crate::ui::Ui;

pub mod document;
pub mod fork;
pub mod lead;
pub mod notes;
pub mod ports;
pub mod powers;
pub mod reuse;
#[cfg(test)]
mod tests;

use document::{Document, Generation, Origin, project_of};

/// The usual name of the node's volume driver.
pub const DRIVER: &str = "dm";

/// An installed Compose.
#[derive(Debug, Clone)]
pub struct Compose {
    /// `docker compose` or `docker-compose`.
    words: Vec<OsString>,
    /// Its generation.
    pub generation: Generation,
    environment: Environment,
    /// Whether other people wrote the app's files.
    is_foreign: bool,
}

impl Compose {
    /// The Compose for the app in a folder: the one that the user chose, else the one that made the folder's containers, else
    /// the plugin of Docker, else the program of its own.
    pub async fn find(environment: &Environment, folder: Option<&Path>) -> Result<Self> {
        let chosen = environment.compose.as_deref();
        let chosen: Option<Vec<&str>> = chosen.map(|words| words.split_whitespace().collect());
        let all = match &chosen {
            Some(words) if !words.is_empty() => vec![words.as_slice()],
            _ => {
                let mut all = vec![&["docker", "compose"][..], &["docker-compose"]];
                if let Some(folder) = folder
                    && maker(folder).await == Some(Generation::One)
                {
                    all.reverse();
                }
                all
            }
        };
        for words in all {
            if let Some(version) = version(words).await {
                return Ok(Self {
                    words: words.iter().map(OsString::from).collect(),
                    generation: generation(&version),
                    environment: environment.clone(),
                    is_foreign: false,
                });
            }
        }
        Err(
            CliError::new(ErrorCode::Unreachable, "there is no Docker Compose")
                .hint("Install it. On Debian and Ubuntu: sudo apt install docker-compose"),
        )
    }

    /// What people type for the app in a folder. Without any Compose it is that of Docker's plugin.
    pub async fn name_in(environment: &Environment, folder: Option<&Path>) -> String {
        let found = Self::find(environment, folder).await;
        found.map_or_else(|_| COMPOSE.to_owned(), |found| found.name())
    }

    /// What people type.
    pub fn name(&self) -> String {
        let words = self.words.iter().map(|word| word.to_string_lossy());
        words.collect::<Vec<_>>().join(" ")
    }

    /// The program and its first arguments.
    pub fn words(&self) -> &[OsString] {
        &self.words
    }

    /// A command for a project in a folder.
    fn command(&self, folder: &Path) -> Command {
        let mut command = Command::new(&self.words[0]);
        command.args(&self.words[1..]).current_dir(folder);
        command.kill_on_drop(true);
        if self.is_foreign {
            // Files that a file includes from the network are nobody's yet to look at.
            command.env("COMPOSE_EXPERIMENTAL_GIT_REMOTE", "false");
            command.env("COMPOSE_EXPERIMENTAL_OCI_REMOTE", "false");
        }
        command
    }

    /// The same, for an app of other people if `is_foreign`: its files cannot include others from the network.
    #[must_use]
    pub fn for_code_of(self, is_foreign: bool) -> Self {
        Self { is_foreign, ..self }
    }

    /// The configuration of the app in a folder, as Compose resolves it.
    pub async fn resolve(
        &self,
        folder: &Path,
        files: &[PathBuf],
        driver: &str,
    ) -> Result<Document> {
        let mut command = self.command(folder);
        for file in files {
            command.arg("-f").arg(file);
        }
        let ran = command.arg("config").stdin(Stdio::null()).output().await;
        let ran = ran.map_err(|error| CliError::io("cannot run Compose").caused_by(error))?;
        if !ran.status.success() {
            let said = String::from_utf8_lossy(&ran.stderr);
            return Err(CliError::new(
                Code::Refused,
                format!(
                    "Compose cannot read the app in {}: {}",
                    folder.display(),
                    said.trim()
                ),
            )
            .hint(format!("Check with '{} config'.", self.name())));
        }
        let settings = Settings::read(&self.environment, folder);
        let origin = Origin {
            generation: self.generation,
            project: settings.project.unwrap_or_else(|| project_of(folder)),
            profiles: settings.profiles,
            driver: driver.to_owned(),
            folder: folder.to_owned(),
        };
        let text = String::from_utf8_lossy(&ran.stdout);
        Document::read(&text, origin).map_err(|problem| {
            CliError::new(
                Code::Refused,
                format!(
                    "cannot read what Compose says of the app in {}: {problem}",
                    folder.display()
                ),
            )
        })
    }

    /// Runs a command of a fork's project to its end. Its output goes to stderr, or nowhere if `ui` is to be quiet, unless
    /// it fails.
    pub async fn run(&self, ui: &Ui, project: &Project<'_>, arguments: &[&str]) -> Result<()> {
        let mut command = self.command(project.folder);
        command
            .arg("-p")
            .arg(project.name)
            .arg("--project-directory")
            .arg(project.folder)
            .args(["-f", "-"])
            .args(arguments)
            .stdin(Stdio::piped());
        let is_quiet = ui.is_json() || ui.is_quiet();
        let to = || match is_quiet {
            true => Stdio::piped(),
            false => Stdio::from(std::io::stderr()),
        };
        command.stdout(to()).stderr(to());
        let failed = |error: std::io::Error| CliError::io("cannot run Compose").caused_by(error);
        let mut child = command.spawn().map_err(failed)?;
        if let Some(mut input) = child.stdin.take() {
            use tokio::io::AsyncWriteExt as _;
            // If Compose ends early, its own message says why.
            let _ = input.write_all(project.config.as_bytes()).await;
        }
        let ended = child.wait_with_output().await.map_err(failed)?;
        if ended.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&ended.stderr).trim().to_owned();
        let what = format!(
            "'{} {}' failed for project {}",
            self.name(),
            arguments.join(" "),
            project.name
        );
        let what = match said.is_empty() {
            true => what,
            false => format!("{what}: {said}"),
        };
        Err(CliError::new(Code::ContainersFailed, what).hint(format!(
            "See what it says above, and 'dm compose {} -- logs'.",
            project.fork
        )))
    }

    /// Becomes Compose, for a command of the user's on a fork's project. Returns only if that fails.
    pub fn become_it(&self, project: &Project<'_>, arguments: &[String]) -> CliError {
        use std::os::unix::process::CommandExt as _;
        let failed = |error: std::io::Error| CliError::io("cannot run Compose").caused_by(error);
        // Compose reads the configuration from memory, since stdin is the user's.
        let flags = rustix::fs::MemfdFlags::empty();
        let file = match rustix::fs::memfd_create("compose.yaml", flags) {
            Ok(file) => file,
            Err(error) => return failed(error.into()),
        };
        let mut file = std::fs::File::from(file);
        if let Err(error) = file.write_all(project.config.as_bytes()) {
            return failed(error);
        }
        let path = format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd());
        let mut command = std::process::Command::new(&self.words[0]);
        command
            .args(&self.words[1..])
            .arg("-p")
            .arg(project.name)
            .arg("--project-directory")
            .arg(project.folder)
            .args(["-f", &path])
            .args(arguments);
        failed(command.exec())
    }
}

/// A fork's project.
#[derive(Debug, Clone, Copy)]
pub struct Project<'a> {
    /// The fork's name, for messages.
    pub fork: &'a str,
    /// The project's name.
    pub name: &'a str,
    /// Its folder.
    pub folder: &'a Path,
    /// Its configuration.
    pub config: &'a str,
}

fn generation(version: &str) -> Generation {
    match version.trim_start_matches('v').starts_with("1.") {
        true => Generation::One,
        false => Generation::Two,
    }
}

/// The generation of the Compose that made the folder's containers. `None` if there are none.
async fn maker(folder: &Path) -> Option<Generation> {
    let folder = folder.display();
    let filter = format!("label=com.docker.compose.project.working_dir={folder}");
    let format = "{{.Label \"com.docker.compose.version\"}}";
    let mut docker = Command::new("docker");
    docker.args(["ps", "-a", "--filter", &filter, "--format", format]);
    docker.stdin(Stdio::null()).kill_on_drop(true);
    let ran = docker.output().await.ok()?;
    let text = String::from_utf8_lossy(&ran.stdout);
    let version = text.lines().find(|line| !line.is_empty())?;
    Some(generation(version))
}

async fn version(words: &[&str]) -> Option<String> {
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).args(["version", "--short"]);
    command.stdin(Stdio::null()).kill_on_drop(true);
    let ran = command.output().await.ok()?;
    ran.status
        .success()
        .then(|| String::from_utf8_lossy(&ran.stdout).trim().to_owned())
}

/// What the environment and the file `.env` say to Compose 1, which does not print it.
#[derive(Debug, Default)]
struct Settings {
    project: Option<String>,
    profiles: Vec<String>,
}

impl Settings {
    fn read(environment: &Environment, folder: &Path) -> Self {
        let file = std::fs::read_to_string(folder.join(".env")).unwrap_or_default();
        let get = |set: &Option<String>, name: &str| set.clone().or_else(|| of_file(&file, name));
        let profiles = get(&environment.compose_profiles, "COMPOSE_PROFILES").unwrap_or_default();
        let profiles = profiles.split(',').map(str::trim);
        let project = get(&environment.compose_project, "COMPOSE_PROJECT_NAME");
        Self {
            project: project.map(|name| project_of(Path::new(&name))),
            profiles: profiles
                .filter(|profile| !profile.is_empty())
                .map(str::to_owned)
                .collect(),
        }
    }
}

/// The value of a variable in a file `.env`.
pub fn of_file(text: &str, name: &str) -> Option<String> {
    let mut found = text.lines().filter_map(|line| {
        let line = line.trim().trim_start_matches("export ");
        let (key, value) = line.split_once('=')?;
        (key.trim() == name).then(|| value.trim().trim_matches(['"', '\'']).to_owned())
    });
    found.next_back().filter(|value| !value.is_empty())
}

/// The folder of the app: the nearest one with a Compose file, as Compose itself finds it.
pub fn folder_around(here: &Path) -> Option<PathBuf> {
    let has_file = |folder: &&Path| FILES.iter().any(|file| folder.join(file).is_file());
    here.ancestors().find(has_file).map(Path::to_owned)
}

/// The registry's digests of an image, such as `sha256:…`. `None` if Docker does not have the image.
pub async fn digests(name: &str) -> Option<Vec<String>> {
    let mut docker = Command::new("docker");
    docker.args([
        "image",
        "inspect",
        "--format",
        "{{join .RepoDigests \"\\n\"}}",
        "--",
        name,
    ]);
    docker.stdin(Stdio::null()).kill_on_drop(true);
    let ran = docker
        .output()
        .await
        .ok()
        .filter(|ran| ran.status.success())?;
    let text = String::from_utf8_lossy(&ran.stdout);
    let digests = text.lines().filter_map(|line| line.rsplit('@').next());
    Some(
        digests
            .filter(|one| !one.is_empty())
            .map(str::to_owned)
            .collect(),
    )
}

/// The names of Docker's volumes.
pub async fn volumes() -> Result<BTreeSet<String>> {
    let mut docker = Command::new("docker");
    docker.args(["volume", "ls", "-q"]);
    docker.stdin(Stdio::null()).kill_on_drop(true);
    let ran = docker.output().await;
    let ran = ran.map_err(|error| CliError::io("cannot run docker").caused_by(error))?;
    if !ran.status.success() {
        let said = String::from_utf8_lossy(&ran.stderr).trim().to_owned();
        let what = "'docker volume ls' failed";
        return Err(CliError::new(ErrorCode::Unreachable, what).because(said));
    }
    let text = String::from_utf8_lossy(&ran.stdout);
    Ok(text.lines().map(str::to_owned).collect())
}

/// Whether Docker has an image.
pub fn has_image(name: &str) -> bool {
    let mut docker = std::process::Command::new("docker");
    docker.args(["image", "inspect", name]);
    docker
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    docker.status().is_ok_and(|status| status.success())
}
