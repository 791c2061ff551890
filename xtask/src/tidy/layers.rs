//! Checks that the modules of the hub's crates import from their own layer or from a lower one.

use std::path::Path;

use anyhow::{Context as _, Result};

/// The crates whose modules have layers.
const CRATES: &[(&str, Layers)] = &[
    ("crates/dotmesh-hub-service/src", SERVICE),
    ("crates/dotmesh-hub/src", HUB),
];

/// The modules of a crate by layer, the lowest first.
type Layers = &'static [&'static [&'static str]];

const SERVICE: Layers = &[
    &[
        "background",
        "chain",
        "data_dir",
        "descriptors",
        "metrics",
        "rate_limit",
        "readiness",
        "ref_updates",
        "running_lease",
        "settings",
        "store_url",
    ],
    &["address", "error"],
    &["gate", "live", "turns", "written_today"],
    &["state"],
    &["audit", "auth"],
    &["operations", "webhooks"],
    &["backup", "jobs"],
    &["lib"],
];

const HUB: Layers = &[
    &["error", "pacer", "router_state", "tls"],
    // What a request brings with it: its body, its address and its user.
    &["authenticate", "extract", "intake"],
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
        let found = CRATES.iter().find_map(|(source, layers)| {
            let path = file.strip_prefix(source).ok()?;
            Some((path, *layers))
        });
        let Some((path, layers)) = found else {
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
        let Some(layer) = layer(layers, &module) else {
            problems.push(format!(
                "{name}: say in layers.rs to which layer it belongs"
            ));
            continue;
        };
        let text = std::fs::read_to_string(file).with_context(|| format!("read {name}"))?;
        for imported in imports(&text) {
            if self::layer(layers, imported).is_some_and(|other| other > layer) {
                problems.push(format!(
                    "{name}: imports from {imported}, which is in a higher layer"
                ));
            }
        }
    }
    Ok(())
}

fn layer(layers: Layers, module: &str) -> Option<usize> {
    layers.iter().position(|layer| layer.contains(&module))
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
