//! Shared by clone, pull and push: the choice of the remote and its dot, the progress, and the outcome.

use std::num::NonZeroU64;
use std::sync::atomic::Ordering;
use std::time::Duration;

use dotmesh_api::node::{
    BranchOutcome, HubLogin, Lease, SkippedSockets, TagsOutcome, TellRows, Transfer, TransferEvent,
    TransferOutcome, TransferProgress,
};
use dotmesh_api::node_client::{Direction, Running};
use dotmesh_api::{ClientError, HubAddress, NodeClient};
use dotmesh_model::size::{format_size, parse_size};
use dotmesh_model::{BranchName, CommitId, DotName, LeftOut};
use futures::{Stream, StreamExt as _};
use serde::Serialize;
use tokio::signal::unix::{SignalKind, signal};
use utoipa::ToSchema;

use crate::config::{Config, NodeConfig, Remote, RemoteName, no_such_remote};
use crate::context::Context;
use crate::error::{CliError, Code, Result};
use crate::network;
use crate::output::Human;
use crate::ui::Ui;

/// How long an interrupted `dm` waits for the node to stop a transfer.
const STOP_PATIENCE: Duration = Duration::from_secs(2);

/// A transfer with all choices made.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Clone, pull or push.
    pub direction: Direction,
    /// The user's name for the hub.
    pub remote_name: RemoteName,
    /// The account on the hub.
    pub remote: Remote,
    /// The dot here.
    pub local: DotName,
    /// The dot on the hub.
    pub remote_dot: DotName,
    /// One branch, or all of them.
    pub branch: Option<BranchName>,
    /// The commit to clone as that branch's head. `None` means the head on the hub.
    pub commit: Option<CommitId>,
    /// If both sides have new commits, keep one side as a separate branch.
    pub stash_on_divergence: bool,
    /// For a push: the condition under which branches of the hub may leave commits.
    pub force_with_lease: Option<Lease>,
    /// Transfer the data of every commit, not only of the branches' heads.
    pub full: bool,
    /// For a push: older commits whose data is not here are pushed without it.
    pub without_data: bool,
    /// For a push to a public dot: also push files that look like secrets.
    pub allow_secrets: bool,
    /// For a push: what to tell the hub of the databases.
    pub rows: Option<TellRows>,
    /// The rate limit in bytes per second.
    pub rate_limit: Option<NonZeroU64>,
}

/// What a clone, a pull or a push did.
#[derive(Debug, Serialize, ToSchema)]
pub struct Transferred {
    /// The dot here.
    pub dot: DotName,
    /// The remote.
    pub remote: RemoteName,
    /// The dot on the remote, as it was named.
    pub remote_dot: DotName,
    /// What became of the branches and tags, and how much crossed the network.
    #[serde(flatten)]
    pub outcome: TransferOutcome,
    /// Which way.
    #[serde(skip)]
    pub direction: Direction,
}

/// Parses a rate limit such as `500KB` or `2MiB` into bytes per second.
pub fn parse_rate(text: &str) -> std::result::Result<NonZeroU64, String> {
    let text = text.strip_suffix("/s").unwrap_or(text);
    let bytes = parse_size(text).map_err(|error| error.to_string())?;
    NonZeroU64::new(bytes).ok_or_else(|| "the rate must be more than 0".to_owned())
}

/// The login data of a remote.
pub fn login(remote: &Remote) -> HubLogin {
    HubLogin {
        address: remote.address.clone(),
        account: remote.hub_account(),
    }
}

/// The remote at the hub with this address. A page's URL has only the hub's address, not the user's name for it.
///
/// If there is none, public dots can be cloned all the same: the result is a new remote without an account.
pub fn remote_at(
    config: &Config,
    address: &str,
    direction: Direction,
) -> Result<(RemoteName, Remote)> {
    let hub: HubAddress = address.parse().map_err(CliError::usage)?;
    match config.remote_at(&hub.to_string()) {
        Some((name, remote)) => Ok((name.clone(), remote.clone())),
        None if direction == Direction::Clone => {
            let remote = Remote {
                address: hub.to_string(),
                account: None,
            };
            Ok((config.name_for(hub.host(), &remote), remote))
        }
        None => Err(
            CliError::new(Code::NoRemote, format!("no remote has a login at {hub}"))
                .hint(format!("Log in there first: dm login {hub}")),
        ),
    }
}

/// The remote with that name or address. If none is given, the selected remote, or the only one.
pub fn choose_remote(
    config: &Config,
    named: Option<&str>,
    direction: Direction,
) -> Result<(RemoteName, Remote)> {
    if let Some(text) = named {
        if text.contains("://") {
            return remote_at(config, text, direction);
        }
        let name = text.parse::<RemoteName>();
        if let Some((name, remote)) = name
            .ok()
            .and_then(|name| config.remotes.get_key_value(&name))
        {
            return Ok((name.clone(), remote.clone()));
        }
        // `dm remote -v` shows addresses without a scheme.
        let (name, remote) = config.remote_on(text).ok_or_else(|| no_such_remote(text))?;
        return Ok((name.clone(), remote.clone()));
    }
    let only = config
        .remotes
        .keys()
        .next()
        .filter(|_| config.remotes.len() == 1);
    let name = match config.default_remote.as_ref().or(only) {
        Some(name) => name.clone(),
        None if config.remotes.is_empty() => {
            return Err(CliError::new(Code::NoRemote, "there are no remotes yet")
                .hint("Log in to a hub with 'dm login HUB'."));
        }
        None => {
            let verb = match direction {
                Direction::Push => "push to",
                Direction::Pull => "pull from",
                Direction::Fetch => "fetch from",
                Direction::Clone => "clone from",
            };
            return Err(CliError::usage(format!(
                "Please specify which remote you want to {verb}. Use 'dm remote -v' to list remotes."
            ))
            .hint("Or select one with 'dm remote switch'."));
        }
    };
    Ok((name.clone(), config.remote(&name)?.clone()))
}

/// The dot on the remote: the one named, else the remembered upstream, else the user's own dot with the same name.
pub fn choose_remote_dot(
    context: &Context,
    remote_name: &RemoteName,
    remote: &Remote,
    local: &DotName,
    named: Option<&str>,
) -> Result<DotName> {
    if let Some(named) = named {
        return parse_remote_dot(remote, named);
    }
    let upstream = context.node_config()?.upstream(remote_name, local).cloned();
    Ok(match upstream {
        Some(dot) => dot,
        None => parse_remote_dot(remote, local.name())?,
    })
}

/// Parses a dot's name on a remote. The default namespace is the user's, if there is an account.
pub fn parse_remote_dot(remote: &Remote, text: &str) -> Result<DotName> {
    match remote.user() {
        Some(user) => Ok(DotName::parse_in(text, &user.clone().into())?),
        None if text.contains('/') => Ok(text.parse()?),
        None => Err(CliError::usage(format!(
            "whose dot is '{text}'? There is no account at {}, so no namespace is the default",
            remote.address
        ))
        .hint(format!(
            "Write NAMESPACE/{text}, or log in: dm login {}",
            remote.address
        ))),
    }
}

/// Runs the transfer, shows the progress, and remembers the upstream dot.
pub async fn run(context: &Context, node: &NodeClient, plan: &Plan) -> Result<Transferred> {
    if plan.direction == Direction::Push && plan.remote.account.is_none() {
        let hub = &plan.remote.address;
        return Err(
            CliError::new(Code::NoRemote, format!("a push needs an account at {hub}"))
                .hint(format!("Log in there first: dm login {hub}")),
        );
    }
    context.ui.status(&headline(plan));
    let outcome = carry_out(context, node, plan).await?;
    if !context
        .config
        .load()?
        .remotes
        .contains_key(&plan.remote_name)
    {
        // The hub of a public dot, so that the dot can be pulled. It is not selected for other commands.
        let (name, remote) = (plan.remote_name.clone(), plan.remote.clone());
        context.config.update(|config| {
            config.remotes.entry(name).or_insert(remote);
            Ok(())
        })?;
    }
    context.update_node_config(|config| remember(config, plan, outcome.renamed.as_ref()))?;
    Ok(Transferred {
        dot: plan.local.clone(),
        remote: plan.remote_name.clone(),
        remote_dot: plan.remote_dot.clone(),
        outcome,
        direction: plan.direction,
    })
}

impl Human for Transferred {
    fn show(&self, ui: &Ui) -> Result<()> {
        let outcome = &self.outcome;
        for line in summary(self.direction, outcome) {
            ui.status(&line);
        }
        if outcome.to_public {
            let name = outcome.renamed.as_ref().unwrap_or(&self.remote_dot);
            ui.warning(&is_public(name));
        }
        if let Some(name) = &outcome.renamed {
            ui.status(&renamed(&self.remote, &self.remote_dot, name));
        }
        Ok(())
    }
}

/// The warning after a push to a public dot.
pub fn is_public(dot: &DotName) -> String {
    format!(
        "{} is public: everybody can read what is pushed to it",
        dot.full()
    )
}

/// `hub:alice/app is called alice/shop now`
pub fn renamed(remote: &RemoteName, before: &DotName, name: &DotName) -> String {
    let before = before.full();
    format!("{remote}:{before} is called {} now", name.full())
}

/// Remembers the first dot on the remote that the local one was transferred to or from. Follows a rename on the remote.
pub fn remember(config: &mut NodeConfig, plan: &Plan, renamed: Option<&DotName>) {
    let upstreams = config.upstreams.entry(plan.remote_name.clone());
    let upstreams = upstreams.or_default();
    let upstream = upstreams
        .entry(plan.local.clone())
        .or_insert_with(|| plan.remote_dot.clone());
    if let Some(name) = renamed
        && *upstream == plan.remote_dot
    {
        upstream.clone_from(name);
    }
}

/// `Pushing app to hub:alice/app`
pub fn headline(plan: &Plan) -> String {
    let (verb, preposition) = match plan.direction {
        Direction::Push => ("Pushing", "to"),
        Direction::Pull => ("Pulling", "from"),
        Direction::Fetch => ("Fetching", "from"),
        Direction::Clone => ("Cloning", "from"),
    };
    let (local, remote) = (&plan.local, plan.remote_dot.full());
    format!("{verb} {local} {preposition} {}:{remote}", plan.remote_name)
}

async fn carry_out(context: &Context, node: &NodeClient, plan: &Plan) -> Result<TransferOutcome> {
    let transfer = Transfer {
        hub: login(&plan.remote),
        remote_dot: plan.remote_dot.clone(),
        branch: plan.branch.clone(),
        commit: plan.commit,
        stash_on_divergence: plan.stash_on_divergence,
        force_with_lease: plan.force_with_lease.clone(),
        full: plan.full,
        without_data: plan.without_data,
        allow_secrets: plan.allow_secrets,
        rows: plan.rows,
        rate_limit: plan.rate_limit,
    };
    let running = node
        .transfer(plan.direction, &plan.local, &transfer)
        .await?;
    match follow_or_stop(context, node, running, &plan.remote_name).await {
        Err(error) => Err(network::advise(context, node, &plan.remote.address, error).await),
        outcome => outcome,
    }
}

/// Waits for the end of a transfer, and shows its progress. If the user interrupts `dm`, the node stops the transfer, too.
pub async fn follow_or_stop(
    context: &Context,
    node: &NodeClient,
    running: Running<impl Stream<Item = std::result::Result<TransferEvent, ClientError>>>,
    remote: &RemoteName,
) -> Result<TransferOutcome> {
    let Running { id, events } = running;
    context.ends_by_itself.store(true, Ordering::Relaxed);
    let outcome = tokio::select! {
        biased;
        outcome = follow(context, events, remote) => outcome,
        () = interruption() => {
            if let Some(id) = id {
                // A node that does not answer must not keep the user waiting.
                let _ = tokio::time::timeout(STOP_PATIENCE, node.stop(&id)).await;
            }
            Err(CliError::cancelled())
        }
    };
    context.ends_by_itself.store(false, Ordering::Relaxed);
    outcome
}

/// Returns when the user presses Ctrl-C, or another program asks `dm` to end.
async fn interruption() {
    let Ok(mut terminated) = signal(SignalKind::terminate()) else {
        let _ = tokio::signal::ctrl_c().await;
        return;
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminated.recv() => {}
    }
}

/// Waits for the end of a transfer, and shows its progress.
async fn follow(
    context: &Context,
    events: impl Stream<Item = std::result::Result<TransferEvent, ClientError>>,
    remote: &RemoteName,
) -> Result<TransferOutcome> {
    let mut bar = context.ui.transfer_bar();
    let mut events = std::pin::pin!(events);
    while let Some(event) = events.next().await {
        match event? {
            TransferEvent::Progress(progress) => bar.show(&progress),
            TransferEvent::Done(outcome) => return Ok(*outcome),
            TransferEvent::Failed(body) => {
                let error = CliError::from(body.clone());
                let remotes = context.config.load()?.remotes;
                let has_account = remotes.get(remote).is_some_and(|one| one.account.is_some());
                return Err(match body.code {
                    dotmesh_api::ErrorCode::Unauthorized if has_account => error.hint(format!(
                        "The API key of remote '{remote}' may have been replaced: remove it with 'dm remote rm {remote}' and add it again."
                    )),
                    _ => error,
                });
            }
        }
    }
    Err(CliError::new(
        Code::NodeUnreachable,
        "the node closed the connection before the transfer ended",
    )
    .hint(
        "The node's log says why. Try again: data that was already transferred is not sent again.",
    ))
}

/// The lines about tags.
pub fn tags(direction: Direction, tags: &TagsOutcome) -> Vec<String> {
    let names = |tags: &[BranchName]| {
        let names: Vec<_> = tags.iter().map(BranchName::as_str).collect();
        names.join(", ")
    };
    let mut lines = Vec::new();
    if !tags.new.is_empty() {
        lines.push(format!("New tags: {}", names(&tags.new)));
    }
    if !tags.differing.is_empty() {
        let differing = names(&tags.differing);
        lines.push(format!(
            "Tags that were not moved, because here they are at another commit than on the remote: {differing}"
        ));
    }
    if let Some(error) = &tags.failed {
        lines.push(match direction {
            Direction::Push => {
                format!("The tags were not sent: {error}. The next push tries again.")
            }
            Direction::Pull | Direction::Fetch | Direction::Clone => {
                format!("The tags were not received: {error}. The next pull tries again.")
            }
        });
    }
    lines
}

/// The lines about a transfer's outcome: each branch, the tags, the traffic, and what was left out.
pub fn summary(direction: Direction, outcome: &TransferOutcome) -> Vec<String> {
    let mut lines: Vec<_> = outcome
        .branches
        .iter()
        .map(|branch| describe(direction, branch))
        .collect();
    let from = match outcome.branches.as_slice() {
        [pushed] => pushed.name.to_string(),
        _ if direction == Direction::Push => "a pushed branch".to_owned(),
        _ => "another branch".to_owned(),
    };
    lines.extend(outcome.along.iter().map(|branch| {
        let line = describe(direction, branch);
        match direction {
            Direction::Push => format!("{line}; pushed too, because {from} was started from it"),
            Direction::Pull | Direction::Fetch | Direction::Clone => {
                format!("{line}; received too, because it leads to {from}")
            }
        }
    }));
    lines.extend(tags(direction, &outcome.tags));
    let done = match direction {
        Direction::Push => "sent",
        Direction::Pull | Direction::Fetch | Direction::Clone => "received",
    };
    lines.extend(traffic(&outcome.progress, done));
    lines.extend(sockets(&outcome.sockets));
    lines.extend(left_out(direction, &outcome.left_out));
    lines.extend(without_data(direction, outcome.without_data));
    if outcome.filled > 0 {
        let older = older(outcome.filled);
        lines.push(format!(
            "Sent the data of {older}, which the remote did not have"
        ));
    }
    if let Some(error) = &outcome.not_filled {
        lines.push(format!(
            "The remote lacks the data of older commits, and sending it failed: {error}. The next push tries again."
        ));
    }
    lines
}

/// `2 older commits`
fn older(count: u64) -> String {
    match count {
        1 => "1 older commit".to_owned(),
        count => format!("{count} older commits"),
    }
}

/// The line about commits that were transferred without their data, if any.
pub fn without_data(direction: Direction, count: u64) -> Option<String> {
    let older = older(count);
    let their = if count == 1 { "its" } else { "their" };
    match (count, direction) {
        (0, _) => None,
        (_, Direction::Push) => Some(format!(
            "{older} sent without {their} data, which is not on this machine"
        )),
        (_, Direction::Pull | Direction::Fetch | Direction::Clone) => Some(format!(
            "{older} received without {their} data, which is not on the remote"
        )),
    }
}

/// The maximum number of left-out items that are listed.
const SHOWN: usize = 10;

fn left_out(direction: Direction, list: &LeftOut) -> Vec<String> {
    if list.is_empty() {
        return Vec::new();
    }
    let (count, were) = match list.count {
        1 => ("1 item".to_owned(), "it was"),
        count => (format!("{count} items"), "they were"),
    };
    let mut lines = vec![match direction {
        Direction::Push => format!("Left out {count} that cannot be pushed:"),
        Direction::Pull | Direction::Fetch | Direction::Clone => {
            format!(
                "The newest commit came without {count}, because {were} left out when it was pushed:"
            )
        }
    }];
    lines.extend(items(list, "  "));
    lines
}

/// The lines about left-out items, with the number of further ones.
pub fn items(list: &LeftOut, before: &str) -> Vec<String> {
    let items = list.items.iter().take(SHOWN);
    let mut lines: Vec<String> = items
        .map(|item| format!("{before}{}: {}", item.path, item.reason))
        .collect();
    let others = list.count.saturating_sub(lines.len() as u64);
    if others > 0 {
        lines.push(format!(
            "{before}and {others} more, see the commit's page on the hub"
        ));
    }
    lines
}

/// The line about the bytes that were transferred and saved.
pub fn traffic(progress: &TransferProgress, done: &str) -> Option<String> {
    if progress.wire == 0 {
        return None;
    }
    let mut line = format!("Done! {} {done}", format_size(progress.wire));
    let saved = [
        (progress.deduplicated, "by deduplication"),
        (progress.compressed, "by compression"),
    ];
    let saved: Vec<String> = saved
        .iter()
        .filter(|(bytes, _)| *bytes > 0)
        .map(|(bytes, how)| format!("{} {how}", format_size(*bytes)))
        .collect();
    if !saved.is_empty() {
        line.push_str(&format!(" (saved {})", saved.join(", ")));
    }
    Some(line)
}

fn sockets(sockets: &SkippedSockets) -> Option<String> {
    let first = sockets.first.join(", ");
    match sockets.count {
        0 => None,
        1 => Some(format!("Skipped a socket, which holds no data: {first}")),
        count if count as usize == sockets.first.len() => Some(format!(
            "Skipped {count} sockets, which hold no data: {first}"
        )),
        count => Some(format!(
            "Skipped {count} sockets, which hold no data: {first}, …"
        )),
    }
}

fn describe(direction: Direction, branch: &BranchOutcome) -> String {
    let (name, head) = (&branch.name, branch.head.short());
    if branch.receiver_ahead {
        return match direction {
            Direction::Push => {
                format!("{name}: the remote is ahead, nothing to do; 'dm pull' fetches its commits")
            }
            Direction::Pull | Direction::Fetch | Direction::Clone => {
                format!("{name}: ahead of the remote, nothing to do; 'dm push' sends your commits")
            }
        };
    }
    let stashed = branch.stashed.as_ref().map(|stash| {
        let line = if direction == Direction::Push {
            "the remote's line"
        } else {
            "the local line"
        };
        format!("diverged, {line} is now branch '{stash}'; ")
    });
    let left = branch.replaced.map(|left| {
        let left = left.short();
        format!("forced, the remote's branch left {left}, which stays there under its id; ")
    });
    let stashed = stashed.or(left).unwrap_or_default();
    let new = if branch.is_new { " (new branch)" } else { "" };
    match branch.commits {
        // All of its commits came with other branches.
        0 if direction == Direction::Clone => format!("{name}: {stashed}at {head}"),
        0 if branch.is_new => format!("{name}: {stashed}new branch, at {head}"),
        0 if branch.replaced.is_some() => format!("{name}: {stashed}now at {head}"),
        0 => format!("{name}: {stashed}up to date, at {head}"),
        1 => format!("{name}: {stashed}1 commit, now at {head}{new}"),
        commits => format!("{name}: {stashed}{commits} commits, now at {head}{new}"),
    }
}
