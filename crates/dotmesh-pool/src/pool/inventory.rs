//! What the folders of the pool contain, for a check that changes nothing.

use std::path::{Path, PathBuf};

use dotmesh_model::names::Namespace;
use dotmesh_model::{BranchName, CommitId, DotName, StashId};

use super::Pool;
use super::inner::{Inner, names_in};
use crate::error::PoolError;
use crate::layout::{DATA, DotFile, RECORD, read_json};

/// The names that a dot's folder may have.
const KNOWN: [&str; 10] = [
    "amending.json",
    "branches",
    "commits",
    "dot.json",
    "hub-history.json",
    "operations",
    "renaming.json",
    "stashes",
    "tags.json",
    "forks.json",
];

/// The folder of a dot.
#[derive(Debug, Default)]
pub struct Inventory {
    /// The description. `None` for a clone that is not complete yet.
    pub file: Option<DotFile>,
    /// The branches with a working copy, and the heads that these name.
    pub branches: Vec<(BranchName, CommitId)>,
    /// The commits with a snapshot, and the records in them.
    pub commits: Vec<(CommitId, Vec<u8>)>,
    /// What is missing, cannot be read, or belongs nowhere.
    pub problems: Vec<String>,
}

impl Pool {
    /// The names of all dots that have a folder, whether that can be read or not.
    pub async fn dot_folders(&self) -> Result<Vec<DotName>, PoolError> {
        self.run(|inner| {
            let mut found = Vec::new();
            for namespace in names_in(&inner.layout.dots())? {
                let Ok(namespace) = namespace.parse::<Namespace>() else {
                    continue;
                };
                let names = names_in(&inner.layout.dots().join(namespace.as_str()))?;
                let names = names.iter();
                found.extend(names.filter_map(|name| DotName::new(namespace.clone(), name).ok()));
            }
            Ok(found)
        })
        .await
    }

    /// Reads the folder of a dot. Nothing else may change the dot meanwhile.
    pub async fn inventory(&self, dot: &DotName) -> Result<Inventory, PoolError> {
        let dot = dot.clone();
        self.run(move |inner| inner.inventory(&dot)).await
    }
}

impl Inner {
    fn inventory(&self, dot: &DotName) -> Result<Inventory, PoolError> {
        let mut found = Inventory::default();
        let folder = self.layout.dot(dot);
        for name in names_in(&folder)? {
            // A small file is written beside its name first.
            if !KNOWN.contains(&name.as_str()) && !name.starts_with('.') {
                found.problem(&folder.join(name), "is not a part of a dot");
            }
        }
        match read_json::<DotFile>(&self.layout.dot_file(dot)) {
            Ok(file) => found.file = file,
            Err(error) => found.problems.push(error.with_causes()),
        }
        for path in paths_in(&self.layout.branches(dot))? {
            let branch = name_of(&path).and_then(|name| BranchName::from_spelling(name).ok());
            let Some(branch) = branch else {
                found.problem(&path, "is not a working copy");
                continue;
            };
            if !self.is_whole(&path, &mut found) {
                continue;
            }
            match self.head_of(dot, &path) {
                Ok(head) => found.branches.push((branch, head)),
                Err(error) => found.problems.push(error.with_causes()),
            }
        }
        for path in paths_in(&self.layout.commits(dot))? {
            let Some(id) = name_of(&path).and_then(|name| name.parse().ok()) else {
                found.problem(&path, "is not a snapshot");
                continue;
            };
            if !self.is_whole(&path, &mut found) {
                continue;
            }
            match std::fs::read(path.join(RECORD)) {
                Ok(record) => found.commits.push((id, record)),
                Err(error) => {
                    let record = path.join(RECORD);
                    found.problem(&record, &format!("cannot be read: {error}"));
                }
            }
        }
        for path in paths_in(&self.layout.stashes(dot))? {
            match name_of(&path).and_then(|name| name.parse::<StashId>().ok()) {
                Some(_) => drop(self.is_whole(&path, &mut found)),
                None => found.problem(&path, "is not a stash"),
            }
        }
        Ok(found)
    }

    /// Whether a folder is a subvolume with the files of a state.
    fn is_whole(&self, path: &Path, found: &mut Inventory) -> bool {
        let problem = match self.driver.is_snapshotted(path) {
            Err(error) => error.with_causes(),
            Ok(false) => "is not a subvolume".to_owned(),
            Ok(true) if !path.join(DATA).is_dir() => format!("has no folder {DATA}"),
            Ok(true) => return true,
        };
        found.problem(path, &problem);
        false
    }
}

impl Inventory {
    fn problem(&mut self, path: &Path, problem: &str) {
        self.problems.push(format!("{} {problem}", path.display()));
    }
}

fn paths_in(folder: &Path) -> Result<Vec<PathBuf>, PoolError> {
    let names = names_in(folder)?.into_iter();
    let shown = names.filter(|name| !name.starts_with('.'));
    Ok(shown.map(|name| folder.join(name)).collect())
}

fn name_of(path: &Path) -> Option<&str> {
    path.file_name()?.to_str()
}
