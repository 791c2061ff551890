//! Checks that the modules of the hub import from their own layer or from a lower one.

use std::path::Path;

use anyhow::{Context as _, Result};

const SOURCE: &str = "crates/dotmesh-hub/src";

/// The modules of the hub by layer, the lowest first.
const LAYERS: &[&[&str]] = &[
    &[
        "background",
        "chain",
        "clock",
        "data_dir",
        "descriptors",
        "metrics",
        "pacer",
        "rate_limit",
        "readiness",
        "ref_updates",
        "settings",
        "store_url",
        "tls",
    ],
    &["error"],
    &["gate", "live", "turns", "written_today"],
    &["state"],
    // What a request brings with it: its body, its address and its user.
    &["audit", "auth", "extract", "intake"],
    &["operations", "webhooks"],
    &["backup", "jobs"],
    &["openapi", "web"],
    &["pages", "routes"],
    &["router"],
    &["server"],
    &["cli"],
    &["lib", "main"],
];

/// Adds a problem for each import of a higher layer, and for each module without a layer.
pub(super) fn check(files: &[impl AsRef<Path>], problems: &mut Vec<String>) -> Result<()> {
    for file in files {
        let file = file.as_ref();
        let Ok(path) = file.strip_prefix(SOURCE) else {
            continue;
        };
        let Some(module) = path
            .iter()
            .next()
            .and_then(|first| Path::new(first).file_stem())
        else {
            continue;
        };
        let (name, module) = (file.display(), module.to_string_lossy());
        let Some(layer) = layer(&module) else {
            problems.push(format!(
                "{name}: say in layers.rs to which layer it belongs"
            ));
            continue;
        };
        let text = std::fs::read_to_string(file).with_context(|| format!("read {name}"))?;
        for imported in imports(&text) {
            if self::layer(imported).is_some_and(|other| other > layer) {
                problems.push(format!(
                    "{name}: imports from {imported}, which is in a higher layer"
                ));
            }
        }
    }
    Ok(())
}

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

/// Returns the modules after each `crate::`, also those in braces.
fn imports(text: &str) -> Vec<&str> {
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    let first = |text: &'_ str| text.find(|c| !is_name(c)).unwrap_or(text.len());
    let mut found = Vec::new();
    for (at, word) in text.match_indices("crate::") {
        if text[..at].ends_with(is_name) {
            continue;
        }
        let after = &text[at + word.len()..];
        match after.strip_prefix('{') {
            None => found.push(&after[..first(after)]),
            Some(list) => {
                let list = &list[..list.find(';').unwrap_or(list.len())];
                found.extend(list.split(',').map(|item| {
                    let item = item.trim();
                    &item[..first(item)]
                }));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn imports_are_found() {
        let text =
            "use crate::{clock, web::show};\nuse crate::state::Hub;\nuse other_crate::pages;";
        assert_eq!(imports(text), ["clock", "web", "state"]);
    }
}
