//! `dm init --compose`: prepares an app for its dot.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use dotmesh_model::{DotName, SubdotName};
use serde::Serialize;
use utoipa::ToSchema;

use crate::commands::env;
use crate::commands::import::project::files_of_environment;
use crate::compose::document::Document;
use crate::compose::{self, Compose, lead};
use crate::context::Context;
use crate::error::{CliError, Code, Result};
use crate::output::Human;
use crate::ui::Ui;
use crate::{place, project_file};

/// An app that was prepared for its dot.
#[derive(Debug, Serialize, ToSchema)]
pub struct Prepared {
    /// The dot.
    pub dot: DotName,
    /// Its `dotmesh.toml`.
    #[schema(value_type = String)]
    pub file: PathBuf,
    /// Whether that was written. Otherwise it was there.
    pub written: bool,
    /// The volumes that are led to the dot, by their names in the Compose file.
    pub volumes: Vec<String>,
    /// The file that leads them there, if it was written.
    #[schema(value_type = Option<String>)]
    pub override_file: Option<PathBuf>,
    /// The lines to add to a Compose file, if no file was written.
    pub lines: Option<String>,
    /// The local volumes that exist already. `dm import --compose` moves their data to the dot.
    pub to_import: Vec<String>,
}

pub(super) async fn run(context: &Context, dot: Option<DotName>) -> Result<Prepared> {
    let here = place::here().ok_or_else(|| CliError::io("the current folder was deleted"))?;
    let folder = compose::folder_around(&here).ok_or_else(|| {
        CliError::usage(format!(
            "there is no Compose file in {} or above",
            here.display()
        ))
        .hint("Go to the folder of your app.")
    })?;
    let compose = Compose::find(&context.environment, Some(&folder)).await?;
    // The file is prepared without a node, too.
    let driver = match context.node()?.version().await {
        Ok(version) => version.driver,
        Err(_) => None,
    };
    let driver = driver.unwrap_or_else(|| compose::DRIVER.to_owned());
    let document = compose.resolve(&folder, &[], &driver).await?;
    let dot = choose(dot, &document)?;
    let local = document.local_volumes();
    let known = match local.is_empty() {
        true => BTreeSet::new(),
        false => compose::volumes().await?,
    };
    let to_import = local.iter().filter(|(_, name)| known.contains(name));
    let to_import: Vec<String> = to_import.map(|(_, name)| name.clone()).collect();
    let file = folder.join(project_file::NAME);
    let mut prepared = Prepared {
        written: write(&file, &text(&dot, &document))?,
        file,
        dot,
        volumes: Vec::new(),
        override_file: None,
        lines: None,
        to_import,
    };
    // The import writes the lines itself, once the data is in the dot.
    if local.is_empty() || !prepared.to_import.is_empty() {
        return Ok(prepared);
    }
    let mut names = BTreeSet::new();
    let subdots = local
        .iter()
        .map(|(key, _)| Ok((key.as_str(), lead::subdot(key, &mut names)?)));
    let subdots = subdots.collect::<Result<Vec<(&str, SubdotName)>>>()?;
    let volumes = subdots.iter().map(|(key, subdot)| (*key, subdot));
    let lines = lead::lines(&prepared.dot, volumes);
    prepared.volumes = local.iter().map(|(key, _)| key.clone()).collect();
    let path = folder.join(lead::OVERRIDE);
    let is_read = lead::existing(&folder).is_none() && files_of_environment(&folder).is_empty();
    let version = lead::main_file(&folder).and_then(|file| lead::version_line(&file));
    let version = version.map_or_else(String::new, |line| format!("{line}\n"));
    let text = format!(
        "# Written by 'dm init': the volumes of this app are in dot '{}'.\n{version}{lines}",
        prepared.dot
    );
    match is_read && write(&path, &text)? {
        true => prepared.override_file = Some(path),
        false => prepared.lines = Some(lines),
    }
    Ok(prepared)
}

/// The dot of the app: the one that its volumes have, or the one that the user names, or one with the project's name.
fn choose(named: Option<DotName>, document: &Document) -> Result<DotName> {
    let dots = document
        .dots()
        .map_err(|problem| CliError::new(Code::Refused, problem))?;
    let dots: Vec<&DotName> = dots.iter().map(|(dot, _)| dot).collect();
    match (named, dots.as_slice()) {
        (None, [one]) => Ok((*one).clone()),
        (Some(named), []) => Ok(named),
        (Some(named), [one]) if named == **one => Ok(named),
        (None, []) => document.project().parse().map_err(|_| {
            let name = document.project();
            let message = format!("the project's name '{name}' is no name for a dot");
            CliError::usage(message).hint("Name the dot: dm init --compose DOT")
        }),
        (_, dots) => {
            let names: Vec<String> = dots.iter().map(ToString::to_string).collect();
            Err(CliError::usage(format!(
                "the volumes of this app belong to {} already",
                names.join(", ")
            ))
            .hint("An app has one dot: give the volumes names with the same part before the '.'"))
        }
    }
}

/// Writes a file unless there is one.
fn write(path: &Path, text: &str) -> Result<bool> {
    let new = std::fs::File::options()
        .write(true)
        .create_new(true)
        .open(path);
    let written = new.and_then(|mut file| file.write_all(text.as_bytes()));
    match written {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => {
            let what = format!("cannot write {}", path.display());
            Err(CliError::io(what).caused_by(error))
        }
    }
}

/// A `dotmesh.toml` with a comment for each setting.
fn text(dot: &DotName, document: &Document) -> String {
    let services: Vec<&String> = document.services().map(|(name, _)| name).collect();
    let first = services.first().map_or("web", |name| name.as_str());
    let published = document.ports().into_iter().next();
    let published = published.map_or_else(|| first.to_owned(), |port| port.service);
    let key = env::key(&published);
    format!(
        "# How forks of this app run ('dm up'), and what follows git's branch. All settings are optional.\n\
         # 'dm init --schema >FILE' writes the JSON schema. The line '#:schema FILE' leads editors to it.\n\
         \n\
         # The dot that is forked.\n\
         dot = \"{dot}\"\n\
         \n\
         # The services that a fork starts, with those that they depend on. Without this line, it starts all.\n\
         # services = [{first:?}]\n\
         \n\
         # What happens if git changes to a branch that the dot does not have: \"ask\", \"fork\" or \"ignore\".\n\
         # It needs git's hook, which 'dm hook install' adds.\n\
         # on-new-branch = \"ask\"\n\
         \n\
         # What 'dm push' tells the hub of databases: \"off\", \"counts\" of rows, or \"changes\", too.\n\
         # rows = \"off\"\n\
         \n\
         # Commands that run in a new fork, such as migrations, in this order.\n\
         # [[after-fork]]\n\
         # service = {first:?}\n\
         # command = [\"sh\", \"-c\", \"echo migrate\"]\n\
         \n\
         # More values for 'dm env'. ${{NAME}} stands for a value that it prints by itself.\n\
         # [env]\n\
         # APP_URL = \"http://localhost:${{{key}_PORT}}\"\n"
    )
}

impl Human for Prepared {
    fn show(&self, ui: &Ui) -> Result<()> {
        let (dot, file) = (&self.dot, self.file.display());
        ui.status(&match self.written {
            true => format!("Wrote {file}: forks of this app are of dot '{dot}'"),
            false => format!("{file} exists, and was left as it is"),
        });
        let volumes = self.volumes.join(", ");
        if let Some(file) = &self.override_file {
            let file = file.display();
            ui.status(&format!(
                "Wrote {file}, which leads its volumes to the dot: {volumes}"
            ));
            ui.hint("Start the app as always. The dot is made then.");
        }
        if let Some(lines) = &self.lines {
            ui.status(&format!(
                "To lead the volumes {volumes} to the dot, add these lines to a Compose file:"
            ));
            ui.out(&format!("\n{lines}\n"))?;
        }
        if !self.to_import.is_empty() {
            let volumes = self.to_import.join(", ");
            ui.status(&format!("The app has data already, in {volumes}"));
            ui.hint(&format!(
                "'dm import {dot} --compose' moves it to the dot, and leads the volumes there."
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compose::document::{Generation, Origin};
    use crate::project_file::{OnNewBranch, ProjectFile};

    fn document(text: &str) -> Document {
        let origin = Origin {
            generation: Generation::Two,
            project: "shop".to_owned(),
            profiles: Vec::new(),
            driver: "dm".to_owned(),
            folder: "/app".into(),
        };
        Document::read(text, origin).expect("a configuration")
    }

    const SHOP: &str = "
name: shop
services:
  users-db: {image: 'postgres:15'}
  web: {image: nginx, ports: [{target: 80, published: '8100', protocol: tcp}]}
volumes:
  db: {name: shop_db}
  none:
  other: {name: other, external: true}
  nfs: {name: shop_nfs, driver_opts: {type: nfs}}
";

    #[test]
    fn each_comment_is_a_setting() {
        let document = document(SHOP);
        let dot = choose(None, &document).expect("a dot");
        let text = text(&dot, &document);
        let file: ProjectFile = toml::from_str(&text).expect("a file");
        assert_eq!(file.dot, Some(dot));
        let is_setting = |line: &str| line.contains(" = ") || line.starts_with("# [");
        let lines = text.lines().filter(|line| is_setting(line));
        let all: Vec<&str> = lines.map(|line| line.trim_start_matches("# ")).collect();
        let file: ProjectFile = toml::from_str(&all.join("\n")).expect("a file");
        assert_eq!(file.services, ["users-db"]);
        assert_eq!(file.on_new_branch, OnNewBranch::Ask);
        assert_eq!(file.after_fork[0].service, "users-db");
        assert_eq!(file.env["APP_URL"], "http://localhost:${WEB_PORT}");
    }

    #[test]
    fn an_app_has_one_dot() {
        let local = document(SHOP);
        let names: Vec<String> = local
            .local_volumes()
            .into_iter()
            .map(|(_, name)| name)
            .collect();
        assert_eq!(names, ["shop_db", "shop_none"]);
        let name = |text: &str| text.parse::<DotName>().expect("a name");
        assert_eq!(
            choose(Some(name("mine")), &local).expect("a dot"),
            name("mine")
        );
        let led = document("name: shop\nvolumes:\n  app.db: {name: shop_app.db, driver: dm}\n");
        assert_eq!(choose(None, &led).expect("a dot"), name("shop_app"));
        let refused = choose(Some(name("mine")), &led).expect_err("another dot");
        assert!(refused.message().contains("belong to shop_app already"));
    }

    #[test]
    fn no_file_is_overwritten() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("dotmesh.toml");
        assert!(write(&path, "one").expect("a file"));
        assert!(!write(&path, "two").expect("a file"));
        assert_eq!(std::fs::read_to_string(&path).expect("a file"), "one");
    }
}
