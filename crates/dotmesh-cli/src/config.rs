//! The user's configuration: the remotes, the current dot, and the upstream dots.
//!
//! It is one JSON file. Only its owner can read it, as it holds API keys. Each update replaces the file atomically under a
//! lock: concurrent `dm` processes lose no update, and a crash leaves the old or the new file.

use dotmesh_api::ErrorCode;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use dotmesh_model::{BranchName, DotName, UserName};
use serde::{Deserialize, Serialize};

use crate::error::{CliError, Code, Result};

mod remote;

pub use remote::{Remote, RemoteName, SavedAccount, SavedApiKey};

/// The version of the file's format.
const VERSION: u32 = 1;

/// The content of the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    version: u32,
    /// The remote to use if a command names none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_remote: Option<RemoteName>,
    /// The remotes by their names.
    #[serde(default)]
    pub remotes: BTreeMap<RemoteName, Remote>,
    /// The section of each node, by its socket.
    #[serde(default)]
    pub nodes: BTreeMap<String, NodeConfig>,
}

/// The section of one node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeConfig {
    /// The dot that commands use if they name none.
    #[serde(default, skip_serializing_if = "CurrentDot::is_unset")]
    pub current_dot: CurrentDot,
    /// The same for single places, by their paths. A place's choice takes precedence over `current_dot`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub places: BTreeMap<PathBuf, CurrentDot>,
    /// For each dot, the branch that was checked out before the current one.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub previous: BTreeMap<DotName, BranchName>,
    /// For each remote and local dot, the dot on the remote.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub upstreams: BTreeMap<RemoteName, BTreeMap<DotName, DotName>>,
    /// The settings of deleted dots, by their ids.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub deleted: BTreeMap<String, DeletedDotSettings>,
    /// The ids of the lookalike dots that the user was warned of.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub told_lookalikes: BTreeSet<String>,
}

/// The settings of a deleted dot. `dm undo` restores them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeletedDotSettings {
    /// For each remote, the dot on the remote.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub upstreams: BTreeMap<RemoteName, DotName>,
    /// The places whose current dot it was.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub places: BTreeSet<PathBuf>,
    /// Whether it was the current dot for all places without a choice of their own.
    #[serde(default)]
    pub everywhere: bool,
}

/// The dot on a remote that a local dot is pulled from and pushed to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Upstream {
    /// The remote.
    pub remote: RemoteName,
    /// The dot on the remote.
    pub dot: DotName,
}

/// The current dot. The variants are in the file: no member, `null`, a name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Option<DotName>", into = "Option<DotName>")]
pub enum CurrentDot {
    /// No dot was ever selected.
    #[default]
    Unset,
    /// The current dot was deleted. Only the user can select another.
    Deleted,
    /// This dot is the current one.
    Selected(DotName),
}

impl CurrentDot {
    /// Whether no dot was ever selected.
    pub fn is_unset(&self) -> bool {
        matches!(self, Self::Unset)
    }

    /// The dot that is selected.
    pub fn name(&self) -> Option<&DotName> {
        match self {
            Self::Selected(dot) => Some(dot),
            Self::Unset | Self::Deleted => None,
        }
    }

    /// Whether this dot is selected.
    pub fn is(&self, dot: &DotName) -> bool {
        self.name() == Some(dot)
    }
}

impl From<Option<DotName>> for CurrentDot {
    /// `null` in the file means that the dot was deleted.
    fn from(name: Option<DotName>) -> Self {
        name.map_or(Self::Deleted, Self::Selected)
    }
}

impl From<CurrentDot> for Option<DotName> {
    fn from(current: CurrentDot) -> Self {
        current.name().cloned()
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            version: VERSION,
            default_remote: None,
            remotes: BTreeMap::new(),
            nodes: BTreeMap::new(),
        }
    }
}

impl Config {
    /// The remote with that name.
    pub fn remote(&self, name: &RemoteName) -> Result<&Remote> {
        self.remotes
            .get(name)
            .ok_or_else(|| no_such_remote(&name.to_string()))
    }

    /// The section of the node at `socket`.
    pub fn node(&self, socket: &Path) -> NodeConfig {
        self.nodes.get(&key(socket)).cloned().unwrap_or_default()
    }

    /// The section of the node at `socket`, to be changed.
    pub fn node_mut(&mut self, socket: &Path) -> &mut NodeConfig {
        self.nodes.entry(key(socket)).or_default()
    }

    /// A remote at the hub with that address: the selected one, else the first.
    pub fn remote_at(&self, hub: &str) -> Option<(&RemoteName, &Remote)> {
        self.first(|remote| remote.is_at(hub))
    }

    /// A remote at `HOST[:PORT]`, with either scheme.
    pub fn remote_on(&self, host: &str) -> Option<(&RemoteName, &Remote)> {
        self.first(|remote| {
            let schemes = ["https", "http"].iter();
            schemes
                .map(|scheme| format!("{scheme}://{host}"))
                .any(|hub| remote.is_at(&hub))
        })
    }

    /// The selected remote if it matches, else the first that matches.
    fn first(&self, is_one: impl Fn(&Remote) -> bool) -> Option<(&RemoteName, &Remote)> {
        let there = |(_, remote): &(&RemoteName, &Remote)| is_one(remote);
        let selected = self.default_remote.as_ref();
        selected
            .and_then(|name| self.remotes.get_key_value(name))
            .filter(there)
            .or_else(|| self.remotes.iter().find(there))
    }

    /// The name for a hub's remote: the name of an existing remote for this account or without any, else one derived from the
    /// host.
    pub fn name_for(&self, host: &str, remote: &Remote) -> RemoteName {
        let is_same = |user: Option<&UserName>| user.is_none() || user == remote.user();
        let same = |known: &Remote| is_same(known.user()) && known.is_at(&remote.address);
        if let Some((name, _)) = self.remotes.iter().find(|(_, known)| same(known)) {
            return name.clone();
        }
        let numbered = (2..).map(|n| format!("hub-{n}"));
        let names = [
            host.to_owned(),
            match remote.user() {
                Some(user) => format!("{host}-{user}"),
                None => format!("{host}-public"),
            },
            "hub".to_owned(),
        ];
        names
            .into_iter()
            .chain(numbered)
            .filter_map(|name| name.parse().ok())
            .find(|name| !self.remotes.contains_key(name))
            .expect("there are more numbers than remotes")
    }

    /// Adds or replaces a remote. If no remote is selected, selects this one and returns `true`.
    pub fn put_remote(&mut self, name: RemoteName, remote: Remote) -> bool {
        self.remotes.insert(name.clone(), remote);
        let first = self.default_remote.is_none();
        if first {
            self.default_remote = Some(name);
        }
        first
    }

    /// Fails if there is a remote with that name.
    pub fn refuse_known(&self, name: &RemoteName) -> Result<()> {
        if self.remotes.contains_key(name) {
            return Err(CliError::new(
                ErrorCode::Exists,
                format!("there is already a remote '{name}'"),
            )
            .hint(format!(
                "Choose another name, or remove it with 'dm remote rm {name}'."
            )));
        }
        Ok(())
    }

    /// Renames a remote everywhere in the configuration.
    pub fn rename_remote(&mut self, from: &RemoteName, to: &RemoteName) -> Result<()> {
        self.remote(from)?;
        self.refuse_known(to)?;
        if let Some(remote) = self.remotes.remove(from) {
            self.remotes.insert(to.clone(), remote);
        }
        if self.default_remote.as_ref() == Some(from) {
            self.default_remote = Some(to.clone());
        }
        for node in self.nodes.values_mut() {
            if let Some(upstreams) = node.upstreams.remove(from) {
                node.upstreams.insert(to.clone(), upstreams);
            }
        }
        Ok(())
    }

    /// Removes a remote and its upstreams.
    pub fn remove_remote(&mut self, name: &RemoteName) -> Result<()> {
        self.remotes
            .remove(name)
            .ok_or_else(|| no_such_remote(&name.to_string()))?;
        if self.default_remote.as_ref() == Some(name) {
            self.default_remote = None;
        }
        for node in self.nodes.values_mut() {
            node.upstreams.remove(name);
        }
        Ok(())
    }
}

impl NodeConfig {
    /// The dot on the remote that a local dot is pushed to and pulled from.
    pub fn upstream(&self, remote: &RemoteName, local: &DotName) -> Option<&DotName> {
        self.upstreams.get(remote)?.get(local)
    }

    /// The dots on remotes that a local dot belongs to.
    pub fn upstreams_of(&self, dot: &DotName) -> Vec<Upstream> {
        let upstreams = self.upstreams.iter();
        let upstreams = upstreams.filter_map(|(remote, dots)| {
            Some(Upstream {
                remote: remote.clone(),
                dot: dots.get(dot)?.clone(),
            })
        });
        upstreams.collect()
    }

    /// The nearest folder with a choice, this one or an ancestor, and its choice.
    pub fn chosen_around(&self, folder: &Path) -> Option<(PathBuf, CurrentDot)> {
        let mut around = folder.ancestors();
        around.find_map(|folder| Some((folder.to_owned(), self.places.get(folder)?.clone())))
    }

    /// Makes a dot the current one for a place.
    pub fn choose(&mut self, place: &Path, dot: &DotName) {
        let dot = CurrentDot::Selected(dot.clone());
        self.places.insert(place.to_owned(), dot);
    }

    /// Removes a deleted dot, and keeps its settings under its id. Returns whether it was a current dot.
    pub fn set_dot_aside(&mut self, dot: &DotName, id: &str) -> bool {
        let places = self.places.iter().filter(|(_, current)| current.is(dot));
        let upstreams = self.upstreams.iter().filter_map(|(remote, upstreams)| {
            let upstream = upstreams.get(dot)?;
            Some((remote.clone(), upstream.clone()))
        });
        let known = DeletedDotSettings {
            upstreams: upstreams.collect(),
            places: places.map(|(place, _)| place.clone()).collect(),
            everywhere: self.current_dot.is(dot),
        };
        if known != DeletedDotSettings::default() {
            self.deleted.insert(id.to_owned(), known);
        }
        self.remove_dot(dot)
    }

    /// Restores the settings of a deleted dot, except those that were set anew meanwhile.
    pub fn bring_dot_back(&mut self, dot: &DotName, id: &str) {
        let Some(known) = self.deleted.remove(id) else {
            return;
        };
        for (remote, upstream) in known.upstreams {
            let upstreams = self.upstreams.entry(remote).or_default();
            upstreams.entry(dot.clone()).or_insert(upstream);
        }
        let places = self.places.iter_mut();
        let were_its = places.filter(|(place, _)| known.places.contains(*place));
        let everywhere = known.everywhere.then_some(&mut self.current_dot);
        for current in were_its.map(|(_, current)| current).chain(everywhere) {
            if *current == CurrentDot::Deleted {
                *current = CurrentDot::Selected(dot.clone());
            }
        }
    }

    /// Renames a dot in all settings.
    pub fn rename_dot(&mut self, from: &DotName, to: &DotName) {
        for current in self.places.values_mut().chain([&mut self.current_dot]) {
            if current.is(from) {
                *current = CurrentDot::Selected(to.clone());
            }
        }
        if let Some(branch) = self.previous.remove(from) {
            self.previous.insert(to.clone(), branch);
        }
        for upstreams in self.upstreams.values_mut() {
            if let Some(upstream) = upstreams.remove(from) {
                upstreams.insert(to.clone(), upstream);
            }
        }
    }

    /// Removes a dot from all settings. Returns whether it was a current dot.
    pub fn remove_dot(&mut self, dot: &DotName) -> bool {
        let mut was_current = false;
        for current in self.places.values_mut().chain([&mut self.current_dot]) {
            if current.is(dot) {
                *current = CurrentDot::Deleted;
                was_current = true;
            }
        }
        self.previous.remove(dot);
        for upstreams in self.upstreams.values_mut() {
            upstreams.remove(dot);
        }
        self.upstreams.retain(|_, upstreams| !upstreams.is_empty());
        was_current
    }
}

fn key(socket: &Path) -> String {
    socket.display().to_string()
}

/// The error for an argument that names an unknown remote.
pub fn no_such_remote(name: &str) -> CliError {
    CliError::new(Code::NoRemote, format!("No such remote '{name}'")).hint(
        "List the remotes with 'dm remote -v', or add it with 'dm remote add NAME USER@HOST'.",
    )
}

/// The config file.
#[derive(Debug, Clone)]
pub struct ConfigFile {
    path: PathBuf,
}

impl ConfigFile {
    /// The file at that path. It need not exist.
    pub fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// Reads the file. A missing or blank file is an empty configuration.
    pub fn load(&self) -> Result<Config> {
        let bytes = match std::fs::read(&self.path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Config::default()),
            Err(error) => return Err(self.failed("read", error)),
        };
        if bytes.iter().all(u8::is_ascii_whitespace) {
            return Ok(Config::default());
        }
        #[derive(Deserialize)]
        struct Versioned {
            version: u32,
        }
        // The version is checked first, so that the error for a newer format is not "malformed".
        let malformed = |error| {
            self.failed("understand", error)
                .hint("Repair it, move it away, or use another one with --config.")
        };
        let Versioned { version } = serde_json::from_slice(&bytes).map_err(malformed)?;
        if version != VERSION {
            let path = self.path.display();
            let message = format!(
                "the config file {path} has format version {version}, but this 'dm' reads version {VERSION}"
            );
            return Err(CliError::new(Code::ConfigFile, message)
                .hint("Upgrade 'dm', or use another file with --config."));
        }
        let config: Config = serde_json::from_slice(&bytes).map_err(malformed)?;
        if !config.remotes.is_empty() {
            self.hide();
        }
        Ok(config)
    }

    /// Takes others' access to the API keys away, which somebody may have given them by copying the file. One that belongs
    /// to another user stays as it is.
    fn hide(&self) {
        let Ok(found) = std::fs::metadata(&self.path) else {
            return;
        };
        let mut permissions = found.permissions();
        if permissions.mode() & 0o077 != 0 {
            permissions.set_mode(0o600);
            let _ = std::fs::set_permissions(&self.path, permissions);
        }
    }

    /// Changes the file under a lock. Writes nothing if the change fails or changes nothing.
    pub fn update<T>(&self, change: impl FnOnce(&mut Config) -> Result<T>) -> Result<T> {
        let folder = match self.path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(|error| {
                let folder = folder.display();
                CliError::io(format!("Could not create config directory {folder}")).caused_by(error)
            })?;
        let mut lock = self.path.clone().into_os_string();
        lock.push(".lock");
        let lock = std::fs::OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(lock)
            .map_err(|error| self.failed("lock", error))?;
        lock.lock().map_err(|error| self.failed("lock", error))?;
        let before = self.load()?;
        let mut after = before.clone();
        let result = change(&mut after)?;
        if after != before {
            self.write(&after)
                .map_err(|error| self.failed("write", error))?;
        }
        Ok(result)
    }

    fn write(&self, config: &Config) -> std::io::Result<()> {
        // If the path is a symbolic link, replace its target, not the link.
        let target = std::fs::canonicalize(&self.path).unwrap_or_else(|_| self.path.clone());
        let folder = target
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new("."));
        // `NamedTempFile` creates the file with mode 0600, so the keys are never readable by others.
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        serde_json::to_writer_pretty(&mut file, config)?;
        file.write_all(b"\n")?;
        file.as_file().sync_all()?;
        file.persist(&target).map_err(|error| error.error)?;
        std::fs::File::open(folder)?.sync_all()
    }

    fn failed(&self, verb: &str, error: impl std::error::Error) -> CliError {
        CliError::new(
            Code::ConfigFile,
            format!("cannot {verb} the config file {}", self.path.display()),
        )
        .caused_by(error)
    }
}
