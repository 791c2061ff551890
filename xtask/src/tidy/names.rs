//! Checks that no two public types of the libraries share a name, so that a name means one thing everywhere.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

/// Crates that no other one imports types from.
const PROGRAMS: &[&str] = &[
    "dotmesh-cli",
    "dotmesh-hub",
    "dotmesh-node",
    "dotmesh-testkit",
];

/// Adds a problem for each name of more than one public type.
pub(super) fn check(files: &[PathBuf], problems: &mut Vec<String>) -> Result<()> {
    let mut types: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for file in files.iter().filter(|file| is_source(file)) {
        let text = std::fs::read_to_string(file).with_context(|| format!("read {file:?}"))?;
        for name in text.lines().filter_map(public_type) {
            let places = types.entry(name.to_owned()).or_default();
            places.push(file.display().to_string());
        }
    }
    for (name, places) in types.iter().filter(|(_, places)| places.len() > 1) {
        problems.push(format!("{}: each has a public {name}", places.join(", ")));
    }
    Ok(())
}

/// Whether it is a source of a library.
fn is_source(file: &Path) -> bool {
    let Ok(path) = file.strip_prefix("crates") else {
        return false;
    };
    let mut parts = path.iter().filter_map(|part| part.to_str());
    let library = parts.next().is_some_and(|name| !PROGRAMS.contains(&name));
    library && parts.next() == Some("src") && path.extension().is_some_and(|kind| kind == "rs")
}

/// The name of the type that a line declares.
fn public_type(line: &str) -> Option<&str> {
    let declared = line.trim_start().strip_prefix("pub ")?;
    let (kind, rest) = declared.split_once(' ')?;
    let is_type = matches!(kind, "struct" | "enum" | "trait" | "type");
    let end = rest.find(|c: char| !c.is_alphanumeric())?;
    // A macro has `$name` there.
    (is_type && end > 0).then_some(&rest[..end])
}
