//! Checks that a crate's sources name each of its dependencies.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

/// Dependencies that only a file of another crate names, which the crate's tests include.
const ELSEWHERE: &[(&str, &str)] = &[("crates/dotmesh-hub", "blake3")];

/// Adds a problem for each dependency in the manifest in `folder` that none of the crate's sources names.
pub(super) fn check(folder: &str, files: &[PathBuf], problems: &mut Vec<String>) -> Result<()> {
    let manifest = format!("{folder}/Cargo.toml");
    let manifest =
        std::fs::read_to_string(&manifest).with_context(|| format!("read {manifest}"))?;
    let mut sources = String::new();
    let mut tests = String::new();
    for file in files {
        let Ok(path) = file.strip_prefix(folder) else {
            continue;
        };
        if path
            .extension()
            .is_none_or(|kind| kind != "rs" && kind != "html")
        {
            continue;
        }
        let text = std::fs::read_to_string(file).with_context(|| format!("read {file:?}"))?;
        let is_source = path.starts_with("src") || path.starts_with("templates");
        let all = if is_source { &mut sources } else { &mut tests };
        all.push_str(&text);
    }
    for (section, dependency) in dependencies(&manifest) {
        let name = dependency.replace('-', "_");
        let is_used = match section {
            "[dependencies]" => names(&sources, &name),
            _ => names(&tests, &name) || names(&sources, &name),
        };
        if !is_used && !ELSEWHERE.contains(&(folder, dependency)) {
            problems.push(format!("{folder}/Cargo.toml: nothing uses {dependency}"));
        }
    }
    Ok(())
}

/// Returns the dependencies of a manifest, each with its section. A dependency has a line of its own.
fn dependencies(manifest: &str) -> Vec<(&str, &str)> {
    let mut section = "";
    let mut found = Vec::new();
    for line in manifest.lines() {
        if line.starts_with('[') {
            section = line;
        } else if section.ends_with("dependencies]") && line.contains('=') && !line.starts_with('#')
        {
            let name = line.split(['.', ' ', '=']).next().unwrap_or_default();
            found.push((section, name));
        }
    }
    found
}

/// Returns whether a source text names a crate, as `name::` or `use name`.
fn names(text: &str, name: &str) -> bool {
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(name).any(|(at, _)| {
        let after = &text[at + name.len()..];
        !text[..at].ends_with(is_name)
            && (after.starts_with("::") || after.starts_with(';') || after.starts_with(" as "))
    })
}

/// Returns the folder of a crate.
pub(super) fn folder(name: &str) -> String {
    match name {
        "xtask" => name.to_owned(),
        _ => Path::new("crates").join(name).display().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dependencies_are_found() {
        let manifest = "[package]\nname = \"a\"\n[dependencies]\n# why\nb-c.workspace = true\nd = { path = \"x\" }\n";
        let section = "[dependencies]";
        assert_eq!(dependencies(manifest), [(section, "b-c"), (section, "d")]);
    }

    #[test]
    fn only_whole_names_count() {
        assert!(names("use hex::encode;", "hex"));
        assert!(names("use hex as h;", "hex"));
        assert!(!names("my_hex::encode", "hex"));
        assert!(!names("hexagon::new", "hex"));
    }
}
