//! `dm push`

use std::num::NonZeroU64;

use dotmesh_api::node::{Lease, TransferOutcome};
use dotmesh_api::node_client::Direction;
use dotmesh_api::{HubAddress, page};
use dotmesh_model::{BranchName, DotName};
use serde::Serialize;
use utoipa::ToSchema;

use crate::context::Context;
use crate::dot_word::{self, DotWord};
use crate::error::{CliError, Result};
use crate::fetch;
use crate::output::Human;
use crate::project_file::PushedRows;
use crate::transfer::{self, Plan, Transferred};
use crate::ui::Ui;

mod rows;

/// Send commits that the hub does not have yet
///
/// Only data that the hub lacks is sent, and the hub shows all of the push or nothing. The app keeps running. For each
/// branch, the permalink of the pushed commit is printed on stdout.
///
/// If the data of older commits is not here, but on another hub, it is fetched first. If that fails, these commits are
/// pushed without their data, and stderr says how many. The next push from a node that has the data sends it.
///
/// A push to a public dot says so. It is refused if it adds files whose names look like secrets, such as `.env`, `id_rsa`,
/// `.pgpass`, or a `.pem` with a private key. --allow-secrets pushes them all the same.
///
/// A push never makes a branch of the hub leave commits, unless --force-with-lease says where the branch is. Commits that a
/// branch has left stay on the hub under their ids, and 'dm clone DOT@ID' gets them. A protected branch leaves none.
///
/// With --rows, the hub's pages show tables, row counts and changed rows of the pushed commits. The node reads the databases
/// after the push, on copies, and 'dm status' says what is left. A push to a public dot sends changed rows only with --rows
/// changes on the command line.
///
/// With a branch, the branches that it was started from are pushed too, up to the commit where it began. Stderr names each
/// pushed branch, with the number of its new commits.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The remote's name, or its hub's address [default: the one that 'dm remote switch' selected]
    #[arg(value_name = "REMOTE")]
    remote: Option<String>,

    /// The dot here [default: the current dot]
    #[arg(value_name = "DOT")]
    dot: Option<DotWord>,

    /// The branch [default: the one that is checked out]
    #[arg(value_name = "BRANCH", conflicts_with = "all")]
    branch: Option<BranchName>,

    /// Push all branches
    #[arg(long)]
    all: bool,

    /// The dot on the remote, [NAMESPACE/]DOT [default: the one it was last pulled from or pushed to, else one of
    /// your own with the same name]
    #[arg(long, value_name = "DOT")]
    remote_name: Option<String>,

    /// If both sides have new commits, keep the hub's as a separate branch
    #[arg(long)]
    stash_on_divergence: bool,

    /// Make the branch on the hub leave commits that are not here, or no longer here. It must be where this node last saw it,
    /// or at the commit that is given
    #[arg(
        long,
        value_name = "BRANCH:ID",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "",
        conflicts_with = "stash_on_divergence"
    )]
    force_with_lease: Option<Lease>,

    /// To a public dot, push files that look like secrets, too
    #[arg(long)]
    allow_secrets: bool,

    /// Tell the hub what is in the databases of the pushed commits: `counts` of rows, or the `changes` of rows, too [default:
    /// `rows` in the app's dotmesh.toml, else `off`]
    #[arg(long, value_name = "WHAT")]
    rows: Option<PushedRows>,

    /// Use at most this many bytes a second of the network, such as 500KB or 2MB
    #[arg(long, value_name = "RATE", value_parser = transfer::parse_rate)]
    limit_rate: Option<NonZeroU64>,
}

/// What a push did.
#[derive(Debug, Serialize, ToSchema)]
pub struct Pushed {
    /// What was sent.
    #[serde(flatten)]
    pub transferred: Transferred,
    /// For each pushed branch, the address of its newest commit on the hub.
    pub permalinks: Vec<String>,
    /// Whether the setting asked for changed rows, which a public dot gets only from the command itself.
    #[serde(skip)]
    pub keeps_rows: bool,
}

pub(super) async fn run(context: &Context, args: Args) -> Result<Pushed> {
    let config = context.config.load()?;
    let chosen = transfer::choose_remote(&config, args.remote.as_deref(), Direction::Push);
    let (remote_name, remote) = match chosen {
        Ok(chosen) => chosen,
        Err(error) => {
            let words = [
                args.remote.as_deref(),
                args.dot.as_ref().map(DotWord::as_str),
                args.branch.as_ref().map(BranchName::as_str),
            ];
            return Err(dot_word::explain_remote(context, &config, error, "push", words).await);
        }
    };
    let named = args.remote_name.as_deref();
    let detail = dot_word::detail(context, args.dot.as_ref(), |dot, branch| {
        let (remote, dot) = (remote_name.to_string(), dot.to_string());
        dot_word::try_this(&["dm", "push", &remote, &dot, branch.as_str()])
    })
    .await?;
    let branch = match args.branch {
        _ if args.all => None,
        Some(branch) => Some(branch),
        None => Some(detail.summary.branch),
    };
    check_lease(args.force_with_lease.as_ref(), branch.as_ref())?;
    let local = detail.summary.name;
    let remote_dot = transfer::choose_remote_dot(context, &remote_name, &remote, &local, named)?;
    let plan = Plan {
        direction: Direction::Push,
        remote_name,
        remote,
        local,
        remote_dot,
        branch,
        commit: None,
        stash_on_divergence: args.stash_on_divergence,
        force_with_lease: args.force_with_lease,
        full: false,
        without_data: false,
        allow_secrets: args.allow_secrets,
        rows: rows::wanted(args.rows)?,
        rate_limit: args.limit_rate,
    };
    let node = context.node()?;
    let branches: Vec<&str> = match &plan.branch {
        Some(branch) => vec![branch.as_str()],
        None => detail.branches.iter().map(|b| b.name.as_str()).collect(),
    };
    let transferred = match transfer::run(context, &node, &plan).await {
        // Older commits are here without their data. Fetch it from the hubs that have it, then push the rest without data.
        Err(error) if error.is_absent() => {
            for problem in fetch::what_can_be(context, &plan.local, &branches).await? {
                context.ui.status(&format!(
                    "Cannot fetch the data of older commits: {problem}"
                ));
            }
            let plan = Plan {
                without_data: true,
                ..plan.clone()
            };
            transfer::run(context, &node, &plan).await?
        }
        done => done?,
    };
    let hub = plan.remote.hub()?;
    let outcome = &transferred.outcome;
    let remote_dot = outcome.renamed.as_ref().unwrap_or(&plan.remote_dot);
    Ok(Pushed {
        permalinks: permalinks(&hub, remote_dot, outcome),
        keeps_rows: outcome.to_public && plan.rows.is_some_and(|rows| rows.private != rows.public),
        transferred,
    })
}

/// A lease of a branch that is not pushed is a mistake.
fn check_lease(lease: Option<&Lease>, pushed: Option<&BranchName>) -> Result<()> {
    match (lease, pushed) {
        (Some(Lease::At { branch, .. }), Some(pushed)) if branch != pushed => {
            let problem = format!("--force-with-lease is about {branch}, and the push of {pushed}");
            Err(CliError::usage(problem))
        }
        _ => Ok(()),
    }
}

impl Human for Pushed {
    fn show(&self, ui: &Ui) -> Result<()> {
        self.transferred.show(ui)?;
        if let Some(outcome) = &self.transferred.outcome.rows {
            rows::show(outcome, self.keeps_rows, ui);
        }
        let lines = self.permalinks.iter().map(|address| format!("{address}\n"));
        ui.out(&lines.collect::<String>())
    }
}

/// The permalinks of the pushed commits.
pub fn permalinks(hub: &HubAddress, dot: &DotName, outcome: &TransferOutcome) -> Vec<String> {
    let branches = outcome.branches.iter();
    let pushed = branches.filter(|branch| !branch.receiver_ahead);
    pushed
        .map(|branch| page::permalink(hub, dot, branch.head))
        .collect()
}
