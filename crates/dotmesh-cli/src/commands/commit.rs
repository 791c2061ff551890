//! `dm commit`

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use dotmesh_api::node::{Committed, CreateCommit, LogQuery};
use dotmesh_model::commit::check_metadata_key;
use dotmesh_model::{CodeVersion, CommitId, DotName, ImageUse};
use serde::Serialize;
use utoipa::ToSchema;

use crate::context::Context;
use crate::environment::Sudo;
use crate::error::{CliError, Result};
use crate::output::Human;
use crate::ui::Ui;
use crate::{git, message};

/// Capture all subdots of the current dot at one instant
///
/// Nothing is stopped. The commit also records its author and the containers that use the dot, with their images and
/// mounts. Inside a git work tree it records the version of the code, and warns when that is not the code of the Compose
/// project that uses the dot. With sudo, the author and the code are those of who ran sudo. Prints the commit's id.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The commit message; each further one is a paragraph
    #[arg(short, long, value_name = "MESSAGE")]
    message: Vec<String>,

    /// Replace the newest commit, and keep its author; without -m, keep its message too
    #[arg(long)]
    amend: bool,

    /// A value to keep with the commit; may be given several times
    #[arg(short = 'd', long, value_name = "KEY=VALUE")]
    metadata: Vec<String>,
}

/// A new commit.
#[derive(Debug, Serialize, ToSchema)]
pub struct NewCommit {
    /// The dot.
    pub dot: DotName,
    /// The commit and its branch.
    #[serde(flatten)]
    pub made: Committed,
    /// The message.
    pub message: String,
    /// The version of the code.
    pub code: Option<CodeVersion>,
    /// With `--amend`: the commit that it replaces, which can still be named by its id.
    pub replaced: Option<CommitId>,
    /// A warning if the code is not that of the Compose project that uses the dot.
    pub warning: Option<String>,
}

pub(super) async fn run(context: &Context, args: Args) -> Result<NewCommit> {
    let message = message::join(&args.message);
    if message.is_empty() && !args.amend {
        return Err(CliError::usage("Please provide a commit message")
            .hint("Say what this state is: dm commit -m \"Users with long names\""));
    }
    let metadata = parse_metadata(&args.metadata)?;
    let folder = std::env::current_dir().unwrap_or_default();
    let (author, code) = who_and_what(context).await;
    let commit = CreateCommit {
        message,
        author,
        metadata,
        code,
        expected: None,
        amend: args.amend,
    };
    context
        .on_current_dot(async |node, dot| {
            let mut commit = commit.clone();
            // Another terminal may check out another branch meanwhile.
            let before = node.current(dot).await?;
            commit.expected = Some(before.clone());
            if commit.amend && commit.message.is_empty() {
                let newest = node.log(dot, &LogQuery::one(None)).await?.commits;
                let message = newest.into_iter().next().map(|newest| newest.message);
                commit.message = message.unwrap_or_default();
            }
            let made = node.commit(dot, &commit).await?;
            Ok(NewCommit {
                dot: dot.clone(),
                warning: other_code(&folder, commit.code.as_ref(), &made.images),
                made,
                message: commit.message,
                code: commit.code,
                replaced: commit.amend.then_some(before.head),
            })
        })
        .await
}

/// The author of a commit that is made here, and the version of the code in this folder.
pub(super) async fn who_and_what(context: &Context) -> (String, Option<CodeVersion>) {
    let folder = std::env::current_dir().unwrap_or_default();
    let person = context.environment.sudo.as_ref().map(person);
    let git::Said { author, code } = git::ask(&folder, person.as_ref()).await;
    (author.unwrap_or_else(|| account(context)), code)
}

impl Human for NewCommit {
    fn show(&self, ui: &Ui) -> Result<()> {
        ui.out(&format!("{}\n", self.made.id))?;
        for line in self.describe() {
            ui.status(&line);
        }
        if let Some(before) = &self.replaced {
            let before = before.short();
            ui.status(&format!(
                "It replaces {before}, which you can still use by its id"
            ));
        }
        if let Some(warning) = &self.warning {
            ui.warning(warning);
        }
        Ok(())
    }
}

impl NewCommit {
    /// The lines about the new commit, and about the recorded version of the code.
    pub fn describe(&self) -> Vec<String> {
        let title = dotmesh_model::message::title(&self.message);
        let Self { dot, made, .. } = self;
        let head = format!("[{dot} {} {}] {title}", made.branch, made.id.short());
        let code = self.code.as_ref().map(|code| {
            let id = code.commit.get(..10).unwrap_or(&code.commit);
            let branch = match &code.branch {
                Some(branch) => format!("{branch} "),
                None => String::new(),
            };
            let state = if code.dirty {
                "with uncommitted changes"
            } else {
                "clean"
            };
            format!("Code: git commit {branch}{id}, {state}")
        });
        [head].into_iter().chain(code).collect()
    }
}

/// The warning that the recorded code is not the code of the Compose project whose containers use the dot. `folder` is the
/// folder that `dm` runs in.
pub fn other_code(
    folder: &Path,
    code: Option<&CodeVersion>,
    images: &[ImageUse],
) -> Option<String> {
    let here = git::work_tree(folder);
    let compose = images.iter().filter_map(|image| image.compose.as_ref());
    let projects: BTreeSet<(&str, &str)> = compose
        .filter(|compose| !compose.working_dir.is_empty())
        .map(|compose| (compose.project.as_str(), compose.working_dir.as_str()))
        .collect();
    let trees = projects
        .iter()
        .map(|(_, place)| git::work_tree(Path::new(place)));
    let trees: Vec<_> = trees.collect();
    // If several projects share the dot, the code of any of them is right.
    if trees.contains(&here) {
        return None;
    }
    let (project, place) = projects.first()?;
    let says = match (code, here) {
        (Some(_), Some(here)) => format!("the commit records the code in {}", here.display()),
        (None, _) if trees.iter().any(Option::is_some) => {
            "the commit records no code version".to_owned()
        }
        _ => return None,
    };
    let next = match trees.first() {
        Some(Some(_)) => "; run 'dm commit' there to record its code",
        _ => "",
    };
    Some(format!(
        "{says}, but Compose project '{project}' runs from {place}{next}"
    ))
}

/// Parses the values of `-d`. The first `=` separates key and value.
pub fn parse_metadata(pairs: &[String]) -> Result<BTreeMap<String, String>> {
    let mut metadata = BTreeMap::new();
    for pair in pairs {
        let Some((key, value)) = pair.split_once('=') else {
            return Err(CliError::usage(format!(
                "Each metadata value must be a name=value pair: {pair}"
            )));
        };
        check_metadata_key(key).map_err(CliError::usage)?;
        metadata.insert(key.to_owned(), value.to_owned());
    }
    Ok(metadata)
}

/// The author if git's configuration has none: `user@host`.
fn account(context: &Context) -> String {
    let sudo = context.environment.sudo.as_ref();
    let user = sudo.map(|sudo| sudo.user.clone());
    let user = user.or_else(|| context.environment.user.clone());
    let user = user.unwrap_or_else(|| {
        let id = rustix::process::getuid().as_raw();
        let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
        user_name(&users, id).map_or_else(|| id.to_string(), str::to_owned)
    });
    let host = rustix::system::uname();
    format!("{user}@{}", host.nodename().to_string_lossy())
}

/// Who ran `sudo`, for git.
fn person(sudo: &Sudo) -> git::Person {
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    git::Person {
        uid: sudo.uid,
        gid: sudo.gid,
        home: home(&users, sudo.uid).map(PathBuf::from),
    }
}

/// The home that `/etc/passwd` has for a user's number.
fn home(users: &str, id: u32) -> Option<&str> {
    users.lines().find_map(|line| {
        let mut fields = line.split(':').skip(2);
        let is_user = fields.next()?.parse() == Ok(id);
        fields.nth(2).filter(|_| is_user)
    })
}

/// The name of a user id in the text of `/etc/passwd`.
fn user_name(users: &str, id: u32) -> Option<&str> {
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(id)).then_some(name)
    })
}
