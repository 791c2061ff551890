//! `dm clone`

use std::num::NonZeroU64;

use dotmesh_api::node::{Checkout, Switched, Wait};
use dotmesh_api::node_client::Direction;
use dotmesh_api::page::{DotPage, NotADotPage, Reference};
use dotmesh_api::{ErrorCode, NodeClient};
use dotmesh_model::{BranchName, CommitId, DotName, Namespace};
use serde::Serialize;
use utoipa::ToSchema;

use crate::config::{Config, Remote, RemoteName};
use crate::context::Context;
use crate::current;
use crate::error::{CliError, Result};
use crate::hub;
use crate::hub_state::{State, find_state};
use crate::output::Human;
use crate::start::{self, Start};
use crate::switching;
use crate::transfer::{self, Plan, Transferred};
use crate::ui::Ui;

/// Get a dot from a hub, with its commits and branches
///
/// Without a branch, all branches are cloned. If the dot is here already, it is pulled.
///
/// A public dot needs no login.
///
/// You can paste the address of a page on the hub. The address of a branch or a commit gets only that state, and checks it
/// out. A commit is checked out on the branch whose head it is, or on a new branch called at-ID. DOT@BRANCH and DOT@COMMIT
/// do the same.
///
/// If the commit records its Compose project, the command that starts the app is printed. Under another project name,
/// Compose would start the app with an empty dot.
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "dm clone [OPTIONS] [REMOTE] <DOT> [BRANCH]\n       dm clone [OPTIONS] <ADDRESS>"
)]
pub struct Args {
    /// The remote [default: the one that 'dm remote switch' selected]
    #[arg(value_name = "REMOTE", required = true)]
    first: String,

    /// The dot there, [NAMESPACE/]DOT[@BRANCH|@COMMIT]. Without a namespace it is your own
    #[arg(value_name = "DOT")]
    second: Option<String>,

    /// Only this branch and its commits
    #[arg(value_name = "BRANCH")]
    third: Option<String>,

    /// The dot's name here [default: its name there, without the namespace]
    #[arg(long, value_name = "DOT")]
    local_name: Option<DotName>,

    /// If both sides have new commits, keep the local ones as a separate branch
    #[arg(long)]
    stash_on_divergence: bool,

    /// Fetch the data of every commit, not only of the branches' heads
    #[arg(long)]
    full: bool,

    /// Use at most this many bytes a second of the network, such as 500KB or 2MB
    #[arg(long, value_name = "RATE", value_parser = transfer::parse_rate)]
    limit_rate: Option<NonZeroU64>,
}

/// A cloned dot.
#[derive(Debug, Serialize, ToSchema)]
pub struct Cloned {
    /// What was received.
    #[serde(flatten)]
    pub transferred: Transferred,
    /// The dot that is the current one now.
    pub current: DotName,
    /// If a branch or a commit was named: what is checked out, and what happened to the containers.
    pub switched: Option<Switched>,
    /// The commit that was named, if its branch has gone on here.
    pub gone_on_since: Option<CommitId>,
    /// The commands that start the app, in the folder of its code. Empty if nobody knows them, or if the app runs.
    pub start: Vec<String>,
    /// The dot that the app's volumes are of, if the clone has another name.
    pub volumes_of: Option<DotName>,
}

pub(super) async fn run(context: &Context, args: Args) -> Result<Cloned> {
    let config = context.config.load()?;
    let words = [Some(args.first), args.second, args.third];
    let words: Vec<String> = words.into_iter().flatten().collect();
    let CloneSource {
        remote_name,
        remote,
        dot: remote_dot,
        branch,
        reference,
    } = source(&config, &words)?;
    let local = match args.local_name {
        Some(local) => local,
        None => DotName::new(Namespace::default(), remote_dot.name())?,
    };
    let state = match &reference {
        Some(reference) => Some(find_state(&hub::client(&remote)?, &remote_dot, reference).await?),
        None => None,
    };
    let plan = Plan {
        direction: Direction::Clone,
        remote_name,
        remote,
        local,
        remote_dot,
        branch: branch.or_else(|| state.as_ref().map(|state| state.branch.clone())),
        commit: state.as_ref().and_then(|state| state.commit),
        stash_on_divergence: args.stash_on_divergence,
        force_with_lease: None,
        full: args.full,
        without_data: false,
        allow_secrets: false,
        rows: None,
        rate_limit: args.limit_rate,
    };
    let node = context.node()?;
    let transferred = transfer::run(context, &node, &plan).await?;
    // What follows may fail, and the clone is done all the same.
    transferred.show(&context.ui)?;
    let mut cloned = Cloned {
        current: select(context, &node, &plan.local).await?,
        transferred,
        switched: None,
        gone_on_since: None,
        start: Vec::new(),
        volumes_of: None,
    };
    if let Some(state) = state {
        let branches = &cloned.transferred.outcome.branches;
        let is_ahead = branches.iter().any(|branch| branch.receiver_ahead);
        cloned.gone_on_since = state.commit.filter(|_| is_ahead);
        cloned.switched = Some(check_out(context, &node, &plan.local, state).await?);
    }
    match Start::find(context, &node, &plan.local).await {
        Start::Unknown => {}
        Start::With(commands) => cloned.start = commands,
        Start::Of(dot) => cloned.volumes_of = Some(dot),
    }
    Ok(cloned)
}

impl Human for Cloned {
    fn show(&self, ui: &Ui) -> Result<()> {
        let dot = &self.transferred.dot;
        if let Some(switched) = &self.switched {
            let branch = &switched.branch;
            ui.status(&format!("On branch '{branch}' of {dot}"));
            switching::show(ui, switched);
            if self.failure().is_some() {
                return Ok(());
            }
            if let Some(commit) = &self.gone_on_since {
                let short = commit.short();
                ui.warning(&format!(
                    "branch {branch} has newer commits here than {short}"
                ));
                ui.hint(&format!(
                    "'dm checkout -b NAME {short}' makes a branch that starts there."
                ));
            }
        }
        start::show(ui, &self.start, self.volumes_of.as_ref(), dot);
        Ok(())
    }

    fn failure(&self) -> Option<CliError> {
        switching::failure(self.switched.as_ref()?)
    }
}

/// Makes the clone the current dot, unless there is another one. Returns the current dot.
async fn select(context: &Context, node: &NodeClient, cloned: &DotName) -> Result<DotName> {
    let current = current::choose(context, node).await?.dot;
    match current.name() {
        Some(current) if current == cloned => return Ok(cloned.clone()),
        Some(current) => match node.current(current).await {
            Ok(_) => {
                context.ui.hint(&format!(
                    "The current dot is still {current}. Select the clone with 'dm switch {cloned}'."
                ));
                return Ok(current.clone());
            }
            Err(error) if error.code() == ErrorCode::NotFound => {}
            Err(error) => return Err(error.into()),
        },
        None => {}
    }
    context.select(cloned)?;
    context.ui.status(&format!("Selected dot '{cloned}'"));
    Ok(cloned.clone())
}

/// Checks out the requested state.
async fn check_out(
    context: &Context,
    node: &NodeClient,
    local: &DotName,
    state: State,
) -> Result<Switched> {
    let checkout = Checkout {
        branch: state.branch,
        create: None,
        wait: Wait::default(),
    };
    switching::follow(context, node.checkout(local, &checkout).await?).await
}

/// What to clone.
#[derive(Debug)]
pub struct CloneSource {
    /// The remote.
    pub remote_name: RemoteName,
    pub(super) remote: Remote,
    pub(super) dot: DotName,
    /// The branch, if it was given as an argument of its own.
    branch: Option<BranchName>,
    /// The state, if it was given in an address or after `@`. The hub has to resolve it.
    pub(super) reference: Option<Reference>,
}

/// Interprets the arguments.
fn source(config: &Config, words: &[String]) -> Result<CloneSource> {
    if let [address, rest @ ..] = words
        && DotPage::is_address(address)
    {
        return match rest {
            [] => at_address(config, address),
            _ => Err(CliError::usage(
                "an address must be the only argument: it names the dot, and may name a state of it",
            )
            .hint("Paste the address of the branch's page, or name a remote instead.")),
        };
    }
    let (remote, dot, branch) = arrange(config, words)?;
    let (remote_name, remote) = transfer::choose_remote(config, remote, Direction::Clone)
        .map_err(|error| explain_remote(config, words, error))?;
    let (dot, reference) = match dot.split_once('@') {
        Some((dot, reference)) => (dot, Some(reference.parse()?)),
        None => (dot, None),
    };
    if let (Some(branch), Some(_)) = (branch, &reference) {
        return Err(CliError::usage(format!(
            "the state is named twice: after the @, and as branch {branch}"
        )));
    }
    let branch: Option<BranchName> = branch.map(str::parse).transpose()?;
    Ok(CloneSource {
        dot: transfer::parse_remote_dot(&remote, dot)?,
        remote_name,
        remote,
        branch,
        reference,
    })
}

/// Adds a hint if the remote is missing, as in `dm clone DOT BRANCH`. It can be left out only if the dot has a namespace.
pub fn explain_remote(config: &Config, words: &[String], error: CliError) -> CliError {
    let known = config.default_remote.as_ref();
    match (known.or(config.remotes.keys().next()), words) {
        (Some(remote), [dot, branch]) => error.hint(format!(
            "If '{dot}' is the dot, name the remote, too: dm clone {remote} {dot} {branch}"
        )),
        _ => error,
    }
}

/// Interprets the address of a page of a dot, a branch or a commit.
pub fn at_address(config: &Config, address: &str) -> Result<CloneSource> {
    let page = DotPage::parse(address).map_err(|error| explain(&error))?;
    let hub = page.hub.to_string();
    let (remote_name, remote) = transfer::remote_at(config, &hub, Direction::Clone)?;
    Ok(CloneSource {
        remote_name,
        remote,
        dot: page.dot,
        branch: None,
        reference: page.reference,
    })
}

fn explain(error: &NotADotPage) -> CliError {
    let hint = match error {
        NotADotPage::TwoStates { .. } => {
            "Clone one of them: open its page, and paste that page's address."
        }
        NotADotPage::NoDot { .. } | NotADotPage::Unknown { .. } => {
            "Paste the address of a dot, or of a branch or commit of one, such as https://HUB/OWNER/DOT/commit/ID."
        }
        NotADotPage::Hub(_) | NotADotPage::Name(_) => {
            return CliError::usage(error.to_string());
        }
    };
    CliError::usage(error.to_string()).hint(hint)
}

/// Assigns the arguments to remote, dot and branch. The remote comes first. It can be left out before a single dot, and
/// before a dot that has a namespace.
pub fn arrange<'a>(
    config: &Config,
    words: &'a [String],
) -> Result<(Option<&'a str>, &'a str, Option<&'a str>)> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let is_remote = |word: &str| {
        word.parse()
            .is_ok_and(|name| config.remotes.contains_key(&name))
    };
    match words.as_slice() {
        [remote] if is_remote(remote) => Err(CliError::usage(format!(
            "Please specify which dot to clone from '{remote}'"
        ))
        .hint(format!("For example: dm clone {remote} mobycounter_app"))),
        [dot] => Ok((None, dot, None)),
        [dot, branch] if dot.contains('/') && !is_remote(dot) => Ok((None, dot, Some(branch))),
        [remote, dot] => Ok((Some(remote), dot, None)),
        [remote, dot, branch, ..] => Ok((Some(remote), dot, Some(branch))),
        [] => Err(CliError::usage("Please specify which dot to clone")),
    }
}
