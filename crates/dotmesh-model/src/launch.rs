//! The shell commands that start the app of a commit: its code, and the Compose projects that used the dot.
//!
//! Compose puts the project's name before a volume's name, so a dot is named after the project. Under another
//! project's name, the app would start with an empty dot.
//!
//! Other users wrote the text of a record, so every word is quoted.

use std::path::{Component, Path, PathBuf};

use crate::commit::{CodeVersion, ComposeUse, ImageUse};
use crate::names::DotName;

/// The names of Compose files, in the order in which Compose looks for them.
pub const FILES: [&str; 4] = [
    "compose.yaml",
    "compose.yml",
    "docker-compose.yml",
    "docker-compose.yaml",
];

/// The names of files that Compose reads after those.
pub const OVERRIDES: [&str; 4] = [
    "compose.override.yaml",
    "compose.override.yml",
    "docker-compose.override.yml",
    "docker-compose.override.yaml",
];

/// Compose as a plugin of Docker. The commands begin with it, whatever a machine has.
pub const COMPOSE: &str = "docker compose";

/// The commands that start the app of a commit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Launch {
    /// The commands that get the code: `git clone`, `cd`, `git checkout`.
    pub code: Vec<String>,
    /// The folder of the app within the code. `None` if it is unknown or the top folder.
    pub folder: Option<String>,
    /// The Compose files, within the code, if there is one project and Compose does not find them by itself.
    pub files: Vec<String>,
    /// The commands that start each project, in that folder. Empty if no Compose project used the dot.
    pub start: Vec<String>,
}

impl Launch {
    /// The commands, from a record's data.
    pub fn new(code: Option<&CodeVersion>, images: &[ImageUse]) -> Self {
        let mut projects: Vec<Project> = Vec::new();
        for compose in self::projects(images) {
            let project = Project::of(compose);
            if !projects.contains(&project) {
                projects.push(project);
            }
        }
        let top = code
            .and_then(|code| code.work_tree.as_deref())
            .map(Path::new);
        let folder = common_folder(&projects);
        let below = |path: &Path| {
            let within = path.strip_prefix(top?).ok()?;
            Some(within.to_string_lossy().into_owned())
        };
        let within = folder.and_then(below);
        let files = match projects.as_slice() {
            [one] if !one.has_usual_files() => {
                one.files.iter().filter_map(|file| below(file)).collect()
            }
            _ => Vec::new(),
        };
        // If the projects have different folders, they are started from the top folder of the code.
        let from = folder.or(top);
        Self {
            code: code.map_or_else(Vec::new, get_code),
            folder: within.filter(|folder| !folder.is_empty()),
            files,
            start: projects.iter().map(|project| project.up(from)).collect(),
        }
    }

    /// `cd FOLDER`, or `None` if the app starts in the top folder of the code.
    pub fn enter(&self) -> Option<String> {
        let folder = self.folder.as_ref()?;
        Some(match folder.starts_with('-') {
            true => format!("cd {}", quote(&format!("./{folder}"))),
            false => format!("cd {}", quote(folder)),
        })
    }
}

/// The name of the project that finds a dot under its other name. For `project` the dot was `dot`. For example,
/// `shop_app` of `shop` is `copy_app` of `copy`.
///
/// Returns `None` if no project name does that.
pub fn project_for(project: &str, dot: &DotName, other: &DotName) -> Option<String> {
    if dot == other {
        return Some(project.to_owned());
    }
    let volume = dot.name().strip_prefix(project)?;
    let renamed = other.name().strip_suffix(volume)?;
    let same_namespace = dot.namespace == other.namespace;
    let is_project = |name: &str| {
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_-".contains(&b);
        let first = name.bytes().next();
        first.is_some_and(|b| b.is_ascii_alphanumeric()) && name.bytes().all(allowed)
    };
    (same_namespace && volume.starts_with('_') && is_project(renamed)).then(|| renamed.to_owned())
}

/// The Compose services of containers.
pub fn projects(images: &[ImageUse]) -> impl Iterator<Item = &ComposeUse> {
    images.iter().filter_map(|image| image.compose.as_ref())
}

/// A project as it was started.
#[derive(Debug, PartialEq, Eq)]
struct Project {
    name: String,
    /// Its folder, if it is known.
    folder: Option<PathBuf>,
    /// Its files. The paths are absolute if the folder is known.
    files: Vec<PathBuf>,
}

impl Project {
    fn of(compose: &ComposeUse) -> Self {
        let files: Vec<&Path> = compose.config_files.iter().map(Path::new).collect();
        let folder = Path::new(&compose.working_dir);
        if !folder.is_absolute() {
            return Self {
                name: compose.project.clone(),
                folder: None,
                files: files.into_iter().map(Path::to_owned).collect(),
            };
        }
        // Compose 1 stores the paths of the files as they were given. Its folder is that of the first file.
        let given = files.first().and_then(|first| first.parent());
        let started = match given.filter(|given| folder.ends_with(given)) {
            Some(given) => folder.ancestors().nth(given.components().count()),
            None => None,
        };
        let started = started.unwrap_or(folder);
        Self {
            name: compose.project.clone(),
            folder: Some(folder.to_owned()),
            files: files
                .into_iter()
                .map(|file| tidy(&started.join(file)))
                .collect(),
        }
    }

    /// The command that starts the project from a folder.
    fn up(&self, from: Option<&Path>) -> String {
        let mut words = vec![COMPOSE.to_owned()];
        words.extend(["-p".to_owned(), quote(&self.name)]);
        let here = self.folder.is_none() || self.folder.as_deref() == from;
        if !(here && self.has_usual_files()) {
            let first = self.files.first().and_then(|first| first.parent());
            if let Some(folder) = &self.folder
                && first != Some(folder)
            {
                let folder = relative(folder, from);
                words.extend(["--project-directory".to_owned(), quote(&folder)]);
            }
            for file in &self.files {
                words.extend(["-f".to_owned(), quote(&relative(file, from))]);
            }
        }
        words.extend(["up".to_owned(), "-d".to_owned()]);
        words.join(" ")
    }

    /// Whether its files are those that Compose finds in its folder by itself.
    fn has_usual_files(&self) -> bool {
        let name = |file: &PathBuf| {
            let inside = match &self.folder {
                Some(folder) => file.strip_prefix(folder).ok()?,
                None => file,
            };
            inside.to_str().map(str::to_owned)
        };
        let names: Vec<Option<String>> = self.files.iter().map(name).collect();
        let is_one = |name: &Option<String>, of: &[&str]| {
            name.as_deref().is_some_and(|name| of.contains(&name))
        };
        match names.as_slice() {
            [] => true,
            [first] => is_one(first, &FILES),
            [first, second] => is_one(first, &FILES) && is_one(second, &OVERRIDES),
            _ => false,
        }
    }
}

/// The folder of all projects, if they have the same one.
fn common_folder(projects: &[Project]) -> Option<&Path> {
    let (first, others) = projects.split_first()?;
    let same = others.iter().all(|other| other.folder == first.folder);
    first.folder.as_deref().filter(|_| same)
}

/// `git clone`, `cd` and `git checkout`, or only the last if nobody knows the remote.
fn get_code(code: &CodeVersion) -> Vec<String> {
    let mut commands = Vec::new();
    // A relative path leads to the code on one machine only, and git would follow an option.
    let remote = code.remote.as_deref();
    if let Some(remote) = remote.filter(|remote| !remote.starts_with(['.', '-'])) {
        match cloned_folder(remote) {
            Some(folder) => {
                commands.push(format!("git clone {}", quote(remote)));
                commands.push(format!("cd {folder}"));
            }
            None => {
                commands.push(format!("git clone {} app", quote(remote)));
                commands.push("cd app".to_owned());
            }
        }
    }
    let is_id = |id: &str| !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_id(&code.commit) {
        commands.push(format!("git checkout {}", code.commit));
    }
    commands
}

/// The folder that `git clone URL` makes, if it has a plain name.
pub fn cloned_folder(url: &str) -> Option<&str> {
    let url = url.trim_end_matches('/');
    let url = url.strip_suffix("/.git").unwrap_or(url);
    // A host alone names no folder.
    let path = match url.split_once("://") {
        Some((_, rest)) => rest.split_once('/')?.1,
        None => url,
    };
    let name = path.rsplit(['/', ':']).next()?;
    let name = name.strip_suffix(".git").unwrap_or(name);
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    let is_plain = !name.is_empty() && !name.starts_with(['-', '.']) && name.bytes().all(plain);
    is_plain.then_some(name)
}

/// A path as written in a folder. It is relative if the two share more than the root folder.
fn relative(path: &Path, from: Option<&Path>) -> String {
    let Some(from) = from.filter(|_| path.is_absolute()) else {
        return path.to_string_lossy().into_owned();
    };
    let shared = from
        .components()
        .zip(path.components())
        .take_while(|(one, other)| one == other)
        .count();
    // They share at least the root. If they share nothing else, the number of levels is unknown on other machines.
    if shared < 2 && from != path {
        return path.to_string_lossy().into_owned();
    }
    let up = from.components().skip(shared).map(|_| Component::ParentDir);
    let relative: PathBuf = up.chain(path.components().skip(shared)).collect();
    match relative.as_os_str().is_empty() {
        true => ".".to_owned(),
        false => relative.to_string_lossy().into_owned(),
    }
}

/// The path without `.` and `..`.
fn tidy(path: &Path) -> PathBuf {
    let mut tidied = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                tidied.pop();
            }
            other => tidied.push(other),
        }
    }
    tidied
}

/// Quotes a word for the shell, so that text from a record cannot run anything.
pub fn quote(word: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./:@%+=,".contains(&byte);
    if !word.is_empty() && !word.starts_with('-') && word.bytes().all(is_plain) {
        return word.to_owned();
    }
    let visible: String = word.chars().filter(|c| !c.is_control()).collect();
    format!("'{}'", visible.replace('\'', r"'\''"))
}
