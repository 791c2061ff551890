//! `dm open`

use dotmesh_api::node::LogQuery;
use dotmesh_api::{ErrorCode, HubAddress, page};
use dotmesh_model::{BranchName, CommitId, DotName};
use serde::Serialize;
use utoipa::ToSchema;

use crate::browser;
use crate::config::{Config, Remote, RemoteName};
use crate::context::Context;
use crate::error::{CliError, Code, Result};
use crate::hub;
use crate::output::Human;
use crate::transfer;
use crate::ui::Ui;

/// Open the page of a commit on its hub
///
/// The page opens in the browser that BROWSER names, or in the desktop's. Without a browser the address is printed.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The commit: HEAD~2, a branch, a commit's id or its first digits [default: HEAD]
    #[arg(value_name = "REV")]
    revision: Option<String>,

    /// The page of a branch instead [default: the one that is checked out]
    #[arg(long, value_name = "BRANCH", num_args = 0..=1, conflicts_with = "revision")]
    branch: Option<Option<BranchName>>,

    /// The dot's own page instead
    #[arg(long, conflicts_with_all = ["revision", "branch"])]
    overview: bool,

    /// The remote [default: one that has the commit, of those that the dot was pushed to or cloned from]
    #[arg(long, value_name = "REMOTE")]
    remote: Option<String>,

    /// Print the address and open nothing
    #[arg(long)]
    print: bool,
}

/// The subject of a page.
enum Subject {
    Dot,
    Branch(BranchName),
    Commit(CommitId),
}

/// A dot on a hub.
type Place = (RemoteName, Remote, DotName);

/// A page on a hub.
#[derive(Debug, Serialize, ToSchema)]
pub struct Opened {
    /// The address.
    pub address: String,
    /// Whether a browser opened it.
    pub opened: bool,
    /// Whether it was only to be printed.
    #[serde(skip)]
    pub print: bool,
}

pub(super) async fn run(context: &Context, args: Args) -> Result<Opened> {
    let (local, subject) = context
        .on_current_dot(async |node, dot| {
            let subject = match &args.branch {
                _ if args.overview => Subject::Dot,
                Some(Some(branch)) => Subject::Branch(branch.clone()),
                Some(None) => Subject::Branch(node.dot(dot).await?.summary.branch),
                None => {
                    let log = node
                        .log(dot, &LogQuery::one(args.revision.as_deref()))
                        .await?;
                    let commit = log.commits.first().ok_or_else(no_commits)?;
                    Subject::Commit(commit.id)
                }
            };
            Ok((dot.clone(), subject))
        })
        .await?;
    let config = context.config.load()?;
    let mut failure = None;
    for (name, remote, dot) in places(context, &config, &local, args.remote.as_deref())? {
        match address(&remote, &dot, &subject).await {
            Ok(Some(address)) => return Ok(show(context, address, args.print).await),
            Ok(None) => {}
            // Another hub may have it, so try the others first.
            Err(error) => {
                failure = failure.or(Some(error.hint(format!("The remote is '{name}'."))));
            }
        }
    }
    Err(failure.unwrap_or_else(|| nowhere(&local, &subject)))
}

/// The places where the dot may be. The selected remote comes first.
fn places(
    context: &Context,
    config: &Config,
    local: &DotName,
    named: Option<&str>,
) -> Result<Vec<Place>> {
    let mut places = Vec::new();
    if named.is_none() {
        for (name, dots) in context.node_config()?.upstreams {
            if let (Some(remote), Some(dot)) = (config.remotes.get(&name), dots.get(local)) {
                places.push((name, remote.clone(), dot.clone()));
            }
        }
        places.sort_by_key(|(name, ..)| config.default_remote.as_ref() != Some(name));
    }
    if places.is_empty() {
        let (name, remote) =
            transfer::choose_remote(config, named, dotmesh_api::node_client::Direction::Push)?;
        let dot = transfer::choose_remote_dot(context, &name, &remote, local, None)?;
        places.push((name, remote, dot));
    }
    Ok(places)
}

/// The address of the page. `None` if the hub does not have its subject.
async fn address(remote: &Remote, dot: &DotName, subject: &Subject) -> Result<Option<String>> {
    let client = hub::client(remote)?;
    let hub: &HubAddress = client.address();
    match subject {
        Subject::Commit(id) => match client.commits(dot, *id, Some(*id)).await {
            Ok(_) => Ok(Some(page::permalink(hub, dot, *id))),
            Err(error) if error.code() == ErrorCode::NotFound => Ok(None),
            Err(error) => Err(hub::explain(error)),
        },
        Subject::Branch(branch) => {
            let there = client.dot(dot).await.map_err(hub::explain)?;
            let has = there.is_some_and(|there| there.branches.iter().any(|b| b.name == *branch));
            Ok(has.then(|| page::of_branch(hub, dot, branch)))
        }
        Subject::Dot => {
            let there = client.dot(dot).await.map_err(hub::explain)?;
            Ok(there.map(|_| page::of_dot(hub, dot)))
        }
    }
}

async fn show(context: &Context, address: String, print: bool) -> Opened {
    let mut opened = Opened {
        address,
        opened: false,
        print,
    };
    if !print {
        let address = &opened.address;
        context.ui.status(&format!("Opening {address}"));
        opened.opened = browser::open(&context.environment, address).await;
    }
    opened
}

impl Human for Opened {
    fn show(&self, ui: &Ui) -> Result<()> {
        if self.opened {
            return Ok(());
        }
        if !self.print {
            ui.status("No browser here can open this page:");
        }
        ui.out(&format!("{}\n", self.address))
    }
}

fn no_commits() -> CliError {
    CliError::new(Code::NoCommits, "There are no commits yet.")
        .hint("Make one with 'dm commit -m MESSAGE', then send it with 'dm push'.")
}

fn nowhere(local: &DotName, subject: &Subject) -> CliError {
    let what = match subject {
        Subject::Dot => format!("{local} was not found on any remote"),
        Subject::Branch(branch) => {
            format!("branch {branch} of {local} was not found on any remote")
        }
        Subject::Commit(id) => {
            format!(
                "commit {} of {local} was not found on any remote",
                id.short()
            )
        }
    };
    CliError::new(Code::NotOnHub, what).hint("Send it with 'dm push'.")
}
