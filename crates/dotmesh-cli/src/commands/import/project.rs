//! A Compose project: its program, its files, its containers and its volumes.
//!
//! What exists is read from Docker, where both generations of Compose write the same labels. What Compose reads is decided as
//! Compose decides it.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::process::Command;

use crate::compose::document::{Document, Origin, project_of};
use crate::compose::{self, Compose, lead};
use crate::environment::Environment;
use crate::error::{CliError, Code, Result};

/// How Compose is called for a project.
#[derive(Debug)]
pub(super) struct Project {
    compose: Compose,
    /// `-f` and `-p`, as they were given.
    options: Vec<OsString>,
    pub(super) name: String,
    /// The volumes that the Compose files lead to a dot already.
    pub(super) led: BTreeSet<String>,
    /// The folder of the first Compose file.
    pub(super) folder: PathBuf,
    /// The files that were named, if Compose does not look for them itself.
    pub(super) named_files: Vec<PathBuf>,
}

/// A container of the project.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Container {
    pub(super) id: String,
    state: State,
    config: Config,
    #[serde(default)]
    pub(super) mounts: Vec<Mount>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct State {
    running: bool,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Config {
    labels: Option<BTreeMap<String, String>>,
}

/// Something that a container has mounted.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Mount {
    #[serde(rename = "Type")]
    pub(super) kind: String,
    #[serde(default)]
    pub(super) name: String,
    #[serde(default)]
    pub(super) source: String,
    pub(super) destination: String,
    #[serde(default)]
    pub(super) driver: String,
}

/// A volume of the project.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Volume {
    pub(super) name: String,
    pub(super) driver: String,
    labels: Option<BTreeMap<String, String>>,
    options: Option<BTreeMap<String, String>>,
}

impl Container {
    fn label(&self, key: &str) -> Option<&str> {
        let labels = self.config.labels.as_ref()?;
        labels
            .get(&format!("com.docker.compose.{key}"))
            .map(String::as_str)
    }

    pub(super) fn service(&self) -> &str {
        self.label("service").unwrap_or_default()
    }

    pub(super) fn is_running(&self) -> bool {
        self.state.running
    }

    fn is_one_off(&self) -> bool {
        self.label("oneoff")
            .is_some_and(|value| value.eq_ignore_ascii_case("true"))
    }
}

impl Volume {
    /// The volume's name in the Compose file.
    pub(super) fn key(&self) -> &str {
        let labels = self.labels.as_ref();
        let key = labels.and_then(|labels| labels.get("com.docker.compose.volume"));
        key.map_or(self.name.as_str(), String::as_str)
    }

    /// What the volume stands for, if it has no folder of its own.
    pub(super) fn device(&self) -> Option<&str> {
        let options = self.options.as_ref()?;
        options.get("device").map(String::as_str)
    }
}

impl Project {
    /// Finds the project of a folder.
    pub(super) async fn find(
        environment: &Environment,
        here: &Path,
        files: &[PathBuf],
        name: Option<&str>,
    ) -> Result<Self> {
        let named_files = match files {
            [] => files_of_environment(here),
            files => files.to_vec(),
        };
        let folder = match named_files.first() {
            Some(file) => here.join(file).parent().unwrap_or(here).to_owned(),
            None => folder_with_file(here)?,
        };
        let mut options = Vec::new();
        for file in files {
            options.extend(["-f".into(), file.clone().into_os_string()]);
        }
        if let Some(name) = name {
            options.extend(["-p".into(), name.into()]);
        }
        let compose = Compose::find(environment, Some(&folder)).await;
        let compose = compose.map_err(|error| {
            error.hint("Single volumes can be imported without it: --volume NAME=SUBDOT")
        })?;
        let mut project = Self {
            compose,
            options,
            name: String::new(),
            led: BTreeSet::new(),
            folder,
            named_files,
        };
        // Fails with Compose's own message if the file is wrong. Compose 1 does not print the project's name.
        let config = project.compose(&["config"], &[]).await?;
        let line = config.lines().find_map(|line| line.strip_prefix("name: "));
        project.name = match (name, line) {
            (_, Some(name)) => name.trim_matches(['\'', '"']).to_owned(),
            (Some(name), None) => project_of(Path::new(name)),
            (None, None) => name_of_first_generation(here, &project.folder),
        };
        let origin = Origin {
            generation: project.compose.generation,
            project: project.name.clone(),
            profiles: vec!["*".to_owned()],
            driver: compose::DRIVER.to_owned(),
            folder: project.folder.clone(),
        };
        let volumes = Document::read(&config, origin).and_then(|document| document.dot_volumes());
        let volumes = volumes.unwrap_or_default().into_iter();
        project.led = volumes.map(|volume| volume.key).collect();
        Ok(project)
    }

    /// What people type for Compose.
    pub(super) fn compose_name(&self) -> String {
        self.compose.name()
    }

    /// Runs Compose, and returns what it prints. `more` are further files.
    pub(super) async fn compose(
        &self,
        words: &[impl AsRef<OsStr>],
        more: &[&Path],
    ) -> Result<String> {
        let mut command = self.compose.words().to_vec();
        if !more.is_empty() && self.options.iter().all(|option| option != "-f") {
            for file in &self.named_files {
                command.extend(["-f".into(), file.clone().into_os_string()]);
            }
        }
        command.extend(self.options.iter().cloned());
        for file in more {
            command.extend(["-f".into(), file.as_os_str().to_owned()]);
        }
        command.extend(words.iter().map(|word| word.as_ref().to_owned()));
        run(&command).await
    }

    /// The keys of the volumes in the Compose files.
    pub(super) async fn keys(&self) -> Result<BTreeSet<String>> {
        let keys = self.compose(&["config", "--volumes"], &[]).await?;
        Ok(keys.lines().map(|line| line.trim().to_owned()).collect())
    }

    /// The containers of the project's services.
    pub(super) async fn containers(&self) -> Result<Vec<Container>> {
        let filter = format!("label=com.docker.compose.project={}", self.name);
        let ids = docker(&["ps", "-aq", "--no-trunc", "--filter", &filter]).await?;
        let mut containers: Vec<Container> = inspect("container", &ids).await?;
        containers.retain(|container| !container.is_one_off());
        Ok(containers)
    }

    /// The volumes that Compose made for the project.
    pub(super) async fn volumes(&self) -> Result<Vec<Volume>> {
        let filter = format!("label=com.docker.compose.project={}", self.name);
        let names = docker(&["volume", "ls", "-q", "--filter", &filter]).await?;
        inspect("volume", &names).await
    }

    /// The `version:` of the first Compose file.
    pub(super) fn version_line(&self, here: &Path) -> Option<String> {
        let file = match self.named_files.first() {
            Some(file) => here.join(file),
            None => lead::main_file(&self.folder)?,
        };
        lead::version_line(&file)
    }
}

/// The files in `COMPOSE_FILE`, from the environment or from `.env`.
pub(in crate::commands) fn files_of_environment(here: &Path) -> Vec<PathBuf> {
    let files = variable(here, "COMPOSE_FILE").unwrap_or_default();
    let files = files.split(':').filter(|file| !file.is_empty());
    files.map(PathBuf::from).collect()
}

fn variable(folder: &Path, name: &str) -> Option<String> {
    let set = std::env::var(name).ok().filter(|value| !value.is_empty());
    set.or_else(|| {
        let text = std::fs::read_to_string(folder.join(".env")).ok()?;
        compose::of_file(&text, name)
    })
}

fn folder_with_file(here: &Path) -> Result<PathBuf> {
    compose::folder_around(here).ok_or_else(|| {
        CliError::new(
            Code::Refused,
            format!("there is no Compose file in {} or above it", here.display()),
        )
        .hint("Name it with -f FILE, or go to the app's folder.")
    })
}

/// The name that Compose 1 gives to a project.
fn name_of_first_generation(here: &Path, folder: &Path) -> String {
    let set = variable(here, "COMPOSE_PROJECT_NAME");
    match set {
        Some(name) => project_of(Path::new(&name)),
        None => project_of(folder),
    }
}

async fn inspect<T: DeserializeOwned>(kind: &str, names: &str) -> Result<Vec<T>> {
    let names: Vec<&str> = names.lines().collect();
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let found = docker(&[&[kind, "inspect"], &names[..]].concat()).await?;
    serde_json::from_str(&found)
        .map_err(|error| CliError::io("cannot understand what Docker prints").caused_by(error))
}

/// Runs Docker's client, and returns what it prints.
pub(super) async fn docker(words: &[&str]) -> Result<String> {
    let words = words.iter().map(OsString::from);
    let command: Vec<OsString> = std::iter::once("docker".into()).chain(words).collect();
    run(&command).await
}

/// Runs a program in a process group of its own, so that Ctrl-C reaches `dm` only.
async fn run(command: &[OsString]) -> Result<String> {
    let shown: Vec<_> = command.iter().map(|word| word.to_string_lossy()).collect();
    let shown = shown.join(" ");
    let output = Command::new(&command[0])
        .args(&command[1..])
        .stdin(Stdio::null())
        .process_group(0)
        .kill_on_drop(true)
        .output()
        .await
        .map_err(|error| CliError::io(format!("cannot run '{shown}'")).caused_by(error))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(CliError::new(Code::Refused, format!("'{shown}' failed")).because(said))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compose_1_names_a_project_after_its_folder() {
        let folder = tempfile::tempdir().expect("a folder");
        let shop = folder.path().join("My.Shop-2_x");
        std::fs::create_dir(&shop).expect("a folder");
        assert_eq!(name_of_first_generation(&shop, &shop), "myshop-2_x");
        std::fs::write(shop.join(".env"), "A=1\nCOMPOSE_PROJECT_NAME='Other'\n").expect("a file");
        assert_eq!(name_of_first_generation(&shop, &shop), "other");
    }

    #[test]
    fn the_file_is_found_from_below() {
        let folder = tempfile::tempdir().expect("a folder");
        let below = folder.path().join("web/src");
        std::fs::create_dir_all(&below).expect("a folder");
        assert!(folder_with_file(&below).is_err());
        std::fs::write(folder.path().join("docker-compose.yml"), "").expect("a file");
        assert_eq!(
            folder_with_file(&below).expect("it is there"),
            folder.path()
        );
    }
}
