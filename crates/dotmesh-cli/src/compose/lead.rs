//! The lines of a Compose file that lead an app's volumes to a dot.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use dotmesh_model::launch::{FILES, OVERRIDES};
use dotmesh_model::{DotName, SubdotName};

use crate::error::{CliError, Result};

/// The file of such lines. Compose reads it after the app's own file.
pub const OVERRIDE: &str = "compose.override.yaml";

/// The file that Compose reads after the others, if there is one.
pub fn existing(folder: &Path) -> Option<PathBuf> {
    let paths = OVERRIDES.map(|name| folder.join(name));
    paths.into_iter().find(|path| path.exists())
}

/// The app's own file, if Compose finds it by itself.
pub fn main_file(folder: &Path) -> Option<PathBuf> {
    let paths = FILES.map(|name| folder.join(name));
    paths.into_iter().find(|path| path.exists())
}

/// The `version:` of a Compose file. Compose 1 wants all files to have the same.
pub fn version_line(file: &Path) -> Option<String> {
    let text = std::fs::read_to_string(file).ok()?;
    let line = text.lines().find(|line| line.starts_with("version:"))?;
    Some(line.to_owned())
}

/// The name of the subdot for a volume of the Compose file, which may have dots in its name.
pub fn subdot(key: &str, names: &mut BTreeSet<String>) -> Result<SubdotName> {
    let mut name = key.replace('.', "-");
    while !names.insert(name.clone()) {
        name.push('_');
    }
    name.parse().map_err(|error| {
        CliError::usage(format!("'{key}' cannot be a subdot: {error}"))
            .hint("Import the volumes one by one, with --volume NAME=SUBDOT.")
    })
}

/// The lines that lead the volumes to the dot. A new name keeps Compose from asking whether to delete the old volume, whose
/// driver differs.
pub fn lines<'a>(
    dot: &DotName,
    volumes: impl IntoIterator<Item = (&'a str, &'a SubdotName)>,
) -> String {
    let mut text = "volumes:\n".to_owned();
    for (key, subdot) in volumes {
        let key = yaml_key(key);
        text.push_str(&format!(
            "  {key}:\n    driver: dm\n    name: {dot}.{subdot}\n"
        ));
    }
    text
}

/// A key that YAML does not take for a number or another value.
fn yaml_key(key: &str) -> String {
    let begins_with_letter = key.starts_with(|c: char| c.is_ascii_alphabetic());
    let values = ["true", "false", "yes", "no", "on", "off", "null", "y", "n"];
    match begins_with_letter && !values.contains(&key.to_lowercase().as_str()) {
        true => key.to_owned(),
        false => format!("\"{key}\""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_lead_to_the_dot() {
        let mut names = BTreeSet::new();
        let volumes = ["db", "a.b", "a-b", "on", "7"]
            .map(|key| (key, subdot(key, &mut names).expect("a name")));
        let text = lines(
            &"shop".parse().expect("a name"),
            volumes.iter().map(|(key, subdot)| (*key, subdot)),
        );
        assert_eq!(
            text,
            "volumes:\n  db:\n    driver: dm\n    name: shop.db\n  a.b:\n    driver: dm\n    name: shop.a-b\n  \
             a-b:\n    driver: dm\n    name: shop.a-b_\n  \"on\":\n    driver: dm\n    name: shop.on\n  \
             \"7\":\n    driver: dm\n    name: shop.7\n"
        );
    }
}
