//! Checks what only this project requires: the first line of each file, the direction of dependencies, that each
//! dependency is used, sizes, names of public types, and the style of Markdown.

mod layers;
mod names;
mod prose;
mod unused;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

/// The crates of this project that each crate may depend on. Dev-dependencies are not checked.
const MAY_DEPEND_ON: &[(&str, &[&str])] = &[
    ("dotmesh-model", &[]),
    ("dotmesh-archive", &[]),
    ("dotmesh-pool", &["dotmesh-model"]),
    ("dotmesh-store", &["dotmesh-model"]),
    ("dotmesh-rows", &[]),
    ("dotmesh-api", &["dotmesh-model", "dotmesh-rows"]),
    (
        "dotmesh-sync",
        &[
            "dotmesh-api",
            "dotmesh-model",
            "dotmesh-pool",
            "dotmesh-store",
        ],
    ),
    (
        "dotmesh-node",
        &[
            "dotmesh-api",
            "dotmesh-archive",
            "dotmesh-model",
            "dotmesh-pool",
            "dotmesh-rows",
            "dotmesh-store",
            "dotmesh-sync",
        ],
    ),
    (
        "dotmesh-browse",
        &["dotmesh-archive", "dotmesh-model", "dotmesh-store"],
    ),
    (
        "dotmesh-hub-model",
        &["dotmesh-api", "dotmesh-model", "dotmesh-rows"],
    ),
    (
        "dotmesh-hub-db",
        &[
            "dotmesh-api",
            "dotmesh-hub-model",
            "dotmesh-model",
            "dotmesh-store",
        ],
    ),
    (
        "dotmesh-hub-service",
        &[
            "dotmesh-api",
            "dotmesh-browse",
            "dotmesh-hub-db",
            "dotmesh-hub-model",
            "dotmesh-model",
            "dotmesh-rows",
            "dotmesh-store",
        ],
    ),
    (
        "dotmesh-hub",
        &[
            "dotmesh-api",
            "dotmesh-browse",
            "dotmesh-hub-db",
            "dotmesh-hub-model",
            "dotmesh-hub-service",
            "dotmesh-model",
            "dotmesh-rows",
            "dotmesh-store",
        ],
    ),
    (
        "dotmesh-cli",
        &[
            "dotmesh-api",
            "dotmesh-archive",
            "dotmesh-model",
            "dotmesh-rows",
        ],
    ),
    ("dotmesh-testkit", &[]),
    ("xtask", &[]),
];

/// The crates that a crate must not depend on directly. Indirect dependencies are not checked.
const MUST_NOT_KNOW: &[(&str, &[&str])] = &[
    ("dotmesh-model", &["tokio", "rand", "reqwest", "sqlx"]),
    ("dotmesh-archive", &["tokio", "axum", "reqwest", "sqlx"]),
    (
        "dotmesh-pool",
        &["bollard", "axum", "reqwest", "blake3", "sqlx"],
    ),
    ("dotmesh-store", &["axum", "reqwest", "sqlx"]),
    (
        "dotmesh-rows",
        &["axum", "bollard", "reqwest", "sqlx", "tokio"],
    ),
    ("dotmesh-api", &["axum", "sqlx"]),
    ("dotmesh-sync", &["axum", "bollard", "sqlx"]),
    ("dotmesh-browse", &["axum", "reqwest", "sqlx"]),
    ("dotmesh-hub-model", &["axum", "sqlx", "tokio"]),
    ("dotmesh-hub-db", &["axum", "reqwest"]),
    (
        "dotmesh-hub-service",
        &[
            "askama", "axum", "bollard", "clap", "hyper", "sqlx", "utoipa",
        ],
    ),
    ("dotmesh-hub", &["bollard", "sqlx"]),
    ("dotmesh-cli", &["sqlx", "bollard", "axum"]),
];

const LONGEST_FILE: usize = 600;
const LONGEST_LINE: usize = 140;

/// Runs all checks. The error has all problems at once.
pub(crate) fn run() -> Result<()> {
    let mut problems = Vec::new();
    let files = tracked_files()?;
    layers::check(&files, &mut problems)?;
    names::check(&files, &mut problems)?;
    for file in &files {
        if file.extension().is_some_and(|kind| kind == "rs") {
            check_source(file, &mut problems)?;
        }
        if file.extension().is_some_and(|kind| kind == "md") {
            check_page(file, &mut problems)?;
        }
    }
    for (name, allowed) in MAY_DEPEND_ON {
        check_manifest(name, allowed, &mut problems)?;
        unused::check(&unused::folder(name), &files, &mut problems)?;
    }
    for folder in std::fs::read_dir("crates")? {
        let name = folder?.file_name().to_string_lossy().into_owned();
        if !MAY_DEPEND_ON.iter().any(|(known, _)| *known == name) {
            problems.push(format!(
                "crates/{name}: say in tidy.rs what it may depend on"
            ));
        }
    }
    ensure!(problems.is_empty(), "untidy:\n{}", problems.join("\n"));
    Ok(())
}

fn tracked_files() -> Result<Vec<PathBuf>> {
    let output = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .output()
        .context("run git")?;
    ensure!(output.status.success(), "git ls-files failed");
    let files = String::from_utf8(output.stdout)?;
    Ok(files
        .lines()
        .map(PathBuf::from)
        .filter(|file| file.exists())
        .collect())
}

fn check_source(file: &Path, problems: &mut Vec<String>) -> Result<()> {
    let name = file.display();
    let text = std::fs::read_to_string(file).with_context(|| format!("read {name}"))?;
    if !text.starts_with("//!") {
        problems.push(format!("{name}: begin with //! and what the file owns"));
    }
    let is_test = file.components().any(|part| part.as_os_str() == "tests");
    let lines = text.lines().count();
    if lines > LONGEST_FILE && !is_test {
        problems.push(format!("{name}: {lines} lines; is it two things?"));
    }
    for (number, line) in text.lines().enumerate() {
        if line.chars().count() > LONGEST_LINE && !line.contains('"') {
            problems.push(format!(
                "{name}:{}: a line of more than {LONGEST_LINE} characters",
                number + 1
            ));
        }
        if line.ends_with([' ', '\t']) {
            problems.push(format!("{name}:{}: white space at the end", number + 1));
        }
    }
    Ok(())
}

fn check_page(file: &Path, problems: &mut Vec<String>) -> Result<()> {
    let name = file.display();
    let text = std::fs::read_to_string(file).with_context(|| format!("read {name}"))?;
    for (line, problem) in prose::check(&text) {
        problems.push(format!("{name}:{line}: {problem}"));
    }
    Ok(())
}

/// Checks a manifest. It must have the simple form of all our manifests: one dependency per line.
fn check_manifest(name: &str, allowed: &[&str], problems: &mut Vec<String>) -> Result<()> {
    let path = unused::folder(name);
    let text = std::fs::read_to_string(format!("{path}/Cargo.toml"))
        .with_context(|| format!("read the manifest of {name}"))?;
    let forbidden = MUST_NOT_KNOW
        .iter()
        .find(|(crate_name, _)| *crate_name == name);
    let mut section = String::new();
    for line in text.lines() {
        if line.starts_with('[') {
            section = line.to_owned();
        }
        if section != "[dependencies]" {
            continue;
        }
        let dependency = line.split(['.', ' ', '=']).next().unwrap_or_default();
        if dependency.starts_with("dotmesh-") && !allowed.contains(&dependency) {
            problems.push(format!("{name} may not depend on {dependency}"));
        }
        if forbidden.is_some_and(|(_, crates)| crates.contains(&dependency)) {
            problems.push(format!("{name} may not know of {dependency}"));
        }
    }
    Ok(())
}
