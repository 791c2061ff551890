//! A resolved Compose configuration, as `config` prints it: what a fork needs to know of it. Pure.

use std::path::{Path, PathBuf};

use dotmesh_api::node::WantedPort;
use dotmesh_model::volume::Folder;
use dotmesh_model::{DotName, VolumeName};
use serde_json::{Map, Value};

use super::notes::{self, Note};
use super::ports::{Published, published};

/// The generation of Compose, as far as it matters for what it prints and reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Generation {
    /// Compose 1: volumes and networks get the project's name only later, and all profiles are printed.
    One,
    /// Compose 2 and later.
    Two,
}

/// A resolved configuration.
#[derive(Debug, Clone)]
pub struct Document {
    /// What Compose printed, without the services of inactive profiles.
    pub(super) root: Map<String, Value>,
    pub(super) generation: Generation,
    /// The project's name, with which default names begin.
    pub(super) project: String,
    /// The name of the volume driver.
    pub(super) driver: String,
    /// The folder of the project.
    pub(super) folder: PathBuf,
}

/// How a document was resolved.
#[derive(Debug, Clone)]
pub struct Origin {
    /// The generation of Compose.
    pub generation: Generation,
    /// The project's name that Compose derives from the folder. Compose 2 prints it, too.
    pub project: String,
    /// The active profiles. Compose 2 leaves out the others by itself.
    pub profiles: Vec<String>,
    /// The name of the node's volume driver.
    pub driver: String,
    /// The folder of the project.
    pub folder: PathBuf,
}

/// A volume of driver `dm`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DotVolume {
    /// Its name in the Compose file.
    pub key: String,
    /// Its name in Docker, without a fork.
    pub volume: VolumeName,
}

/// A service with an image that Compose builds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Build {
    /// The service.
    pub service: String,
    /// The image's name in the app's own project.
    pub image: String,
    /// Its section `build`, with the context as a path below the project's folder if it is in there.
    pub inputs: Value,
    /// The folder with its files. `None` if it is a URL.
    pub context: Option<PathBuf>,
}

impl Document {
    /// Reads what Compose printed: YAML, of which JSON is a part.
    pub fn read(text: &str, origin: Origin) -> Result<Self, String> {
        let text = match origin.generation {
            Generation::One => quoted(text),
            Generation::Two => text.to_owned(),
        };
        let root: Map<String, Value> =
            serde_saphyr::from_str(&text).map_err(|error| error.to_string())?;
        let named = root.get("name").and_then(Value::as_str);
        let mut document = Self {
            project: named.unwrap_or(&origin.project).to_owned(),
            root,
            generation: origin.generation,
            driver: origin.driver,
            folder: origin.folder,
        };
        if document.generation == Generation::One {
            document.drop_inactive(&origin.profiles);
        }
        Ok(document)
    }

    /// Compose 1 prints services of all profiles.
    fn drop_inactive(&mut self, active: &[String]) {
        let is_active = |service: &Value| match service.get("profiles").and_then(Value::as_array) {
            None => true,
            Some(profiles) => profiles.iter().filter_map(Value::as_str).any(|profile| {
                active
                    .iter()
                    .any(|active| active == profile || active == "*")
            }),
        };
        if let Some(Value::Object(services)) = self.root.get_mut("services") {
            services.retain(|_, service| is_active(service));
        }
    }

    /// The project's name.
    pub fn project(&self) -> &str {
        &self.project
    }

    pub(super) fn section(&self, name: &str) -> impl Iterator<Item = (&String, &Value)> {
        let section = self.root.get(name).and_then(Value::as_object);
        section.into_iter().flatten()
    }

    /// The services.
    pub fn services(&self) -> impl Iterator<Item = (&String, &Value)> {
        self.section("services")
    }

    /// The name that Docker knows a volume or a network by.
    pub(super) fn real_name(&self, key: &str, entry: &Value) -> String {
        match entry.get("name").and_then(Value::as_str) {
            Some(name) => unescaped(name),
            None => format!("{}_{key}", self.project),
        }
    }

    /// The volumes of driver `dm`. Their names must be names of volumes.
    pub fn dot_volumes(&self) -> Result<Vec<DotVolume>, String> {
        let ours = self
            .section("volumes")
            .filter(|(_, entry)| self.is_ours(entry));
        let volumes = ours.map(|(key, entry)| {
            let name = self.real_name(key, entry);
            let volume = name.parse().map_err(|error| format!("{name}: {error}"))?;
            Ok(DotVolume {
                key: key.clone(),
                volume,
            })
        });
        volumes.collect()
    }

    /// The local volumes that Compose makes for the app: their names in the Compose file and in Docker.
    pub fn local_volumes(&self) -> Vec<(String, String)> {
        let is_local = |entry: &Value| {
            let driver = entry.get("driver").and_then(Value::as_str);
            let external = entry
                .get("external")
                .is_some_and(|value| *value != Value::Bool(false));
            let options = entry.get("driver_opts").and_then(Value::as_object);
            driver.is_none_or(|driver| driver == "local")
                && !external
                && options.is_none_or(Map::is_empty)
        };
        let local = self.section("volumes").filter(|(_, entry)| is_local(entry));
        local
            .map(|(key, entry)| (key.clone(), self.real_name(key, entry)))
            .collect()
    }

    pub(super) fn is_ours(&self, entry: &Value) -> bool {
        let driver = entry.get("driver").and_then(Value::as_str);
        driver.is_some_and(|driver| driver == self.driver || driver == "dm")
    }

    /// The dots that the app uses on the branch that is checked out, and the name of each without the project's.
    pub fn dots(&self) -> Result<Vec<(DotName, String)>, String> {
        let mut dots: Vec<(DotName, String)> = Vec::new();
        for DotVolume { key, volume } in self.dot_volumes()? {
            if volume.pinned.is_some() || dots.iter().any(|(dot, _)| *dot == volume.dot) {
                continue;
            }
            let short = key.split(['.', '@']).next().unwrap_or(&key).to_owned();
            dots.push((volume.dot, short));
        }
        Ok(dots)
    }

    /// The published ports.
    pub fn ports(&self) -> Vec<WantedPort> {
        let mut wanted: Vec<WantedPort> = Vec::new();
        for (name, service) in self.services() {
            for port in published(service) {
                let Published::One {
                    target,
                    published,
                    protocol,
                    ..
                } = port
                else {
                    continue;
                };
                let port = WantedPort {
                    service: name.clone(),
                    target,
                    protocol,
                    published,
                    port: None,
                };
                if !wanted.contains(&port) {
                    wanted.push(port);
                }
            }
        }
        wanted
    }

    /// What cannot be moved, or is not copied.
    pub fn notes(&self) -> Vec<Note> {
        notes::of(self)
    }

    /// The services whose images Compose builds.
    pub fn builds(&self) -> Vec<Build> {
        let builds = self.services().filter_map(|(name, service)| {
            let build = service.get("build")?;
            let separator = match self.generation {
                Generation::One => '_',
                Generation::Two => '-',
            };
            let image = service.get("image").and_then(Value::as_str);
            let image = image.map(unescaped);
            let (context, inputs) = self.inputs(build);
            Some(Build {
                service: name.clone(),
                image: image.unwrap_or_else(|| format!("{}{separator}{name}", self.project)),
                inputs,
                context,
            })
        });
        builds.collect()
    }

    fn inputs(&self, build: &Value) -> (Option<PathBuf>, Value) {
        let context = match build {
            Value::String(context) => Some(context.as_str()),
            build => build.get("context").and_then(Value::as_str),
        };
        let context = context.map(unescaped).map(PathBuf::from);
        let context = context.filter(|context| context.is_absolute());
        let mut inputs = match build {
            Value::String(_) => Value::Object(Map::new()),
            build => build.clone(),
        };
        if let (Some(inputs), Some(context)) = (inputs.as_object_mut(), &context) {
            let short = context.strip_prefix(&self.folder).unwrap_or(context);
            let short = short.to_string_lossy().into_owned();
            inputs.insert("context".to_owned(), Value::String(short));
        }
        (context, inputs)
    }
}

impl DotVolume {
    /// The volume of the fork: of the given dot, pinned to its branch.
    pub(super) fn pinned(&self, dot: &DotName, branch: &dotmesh_model::BranchName) -> VolumeName {
        VolumeName {
            dot: dot.clone(),
            pinned: Some(branch.clone()),
            folder: self.volume.folder.clone(),
        }
    }

    /// Whether it shows the whole dot or a part of it.
    pub fn folder(&self) -> &Folder {
        &self.volume.folder
    }
}

/// Quotes texts such as `1e3`. Compose 1 prints YAML 1.1, where they are no numbers, and a commit's id may look so.
fn quoted(text: &str) -> String {
    let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let looks_so = |value: &str| {
        let number = value.trim_start_matches(['-', '+']);
        let parts = number.split_once(['e', 'E']);
        parts.is_some_and(|(one, other)| {
            is_digits(one) && is_digits(other.trim_start_matches(['-', '+']))
        })
    };
    let quote = |line: &str| {
        let at = line.rfind(": ").or_else(|| line.rfind("- "))?;
        let (before, value) = line.split_at(at + 2);
        looks_so(value).then(|| format!("{before}'{value}'"))
    };
    let lines = text.lines();
    let lines: Vec<String> = lines
        .map(|line| quote(line).unwrap_or_else(|| line.to_owned()))
        .collect();
    lines.join("\n")
}

/// The text that Compose means: it prints `$$` for `$`, so that it can read it again.
pub(super) fn unescaped(text: &str) -> String {
    text.replace("$$", "$")
}

/// The text as Compose must get it.
pub(super) fn escaped(text: &str) -> String {
    text.replace('$', "$$")
}

/// The project's name that Compose 1 derives from a folder.
pub fn project_of(folder: &Path) -> String {
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    let name = name.to_lowercase();
    let kept = name
        .chars()
        .filter(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_".contains(*c));
    let name: String = kept.collect();
    match name.is_empty() {
        true => "default".to_owned(),
        false => name,
    }
}
