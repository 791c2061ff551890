//! What clone, pull and push share: which remote and which dot there, how far it is, what came of it.

use std::num::NonZeroU64;

use dotmesh_api::node::{
    BranchOutcome, HubLogin, SkippedSockets, Transfer, TransferEvent, TransferOutcome,
    TransferProgress,
};
use dotmesh_api::node_client::Direction;
use dotmesh_api::{ClientError, NodeClient};
use dotmesh_model::size::{format_size, parse_size};
use dotmesh_model::{BranchName, CommitId, DotName};
use futures::{Stream, StreamExt as _};

use crate::config::{Config, Remote, RemoteName, no_such_remote};
use crate::context::Context;
use crate::error::{CliError, Result};

/// A transfer with nothing left open.
#[derive(Debug)]
pub struct Plan {
    /// Which way.
    pub direction: Direction,
    /// The hub.
    pub remote_name: RemoteName,
    /// The account there.
    pub remote: Remote,
    /// The dot here.
    pub local: DotName,
    /// The dot there.
    pub remote_dot: DotName,
    /// One branch, or all of them.
    pub branch: Option<BranchName>,
    /// Where to take that branch to be, other than where the hub has it.
    pub commit: Option<CommitId>,
    /// What to do when both sides have gone on.
    pub stash_on_divergence: bool,
    /// Every commit's data, not only that of the branches' heads.
    pub full: bool,
    /// At most so many bytes a second.
    pub rate_limit: Option<NonZeroU64>,
}

/// Reads a limit such as `500K` or `2M`: bytes a second.
pub fn parse_rate(text: &str) -> std::result::Result<NonZeroU64, String> {
    let text = text.strip_suffix("/s").unwrap_or(text);
    NonZeroU64::new(parse_size(text)?).ok_or_else(|| "nothing moves at a rate of 0".to_owned())
}

/// The login that a remote is.
pub fn login(remote: &Remote) -> HubLogin {
    HubLogin {
        address: remote.address.clone(),
        user: remote.user.clone(),
        secret: remote.api_key.reveal().to_owned(),
    }
}

/// The remote of that name; without a name the one selected, or the only one.
pub fn choose_remote(
    config: &Config,
    named: Option<&str>,
    direction: Direction,
) -> Result<(RemoteName, Remote)> {
    if let Some(text) = named {
        let name = text.parse().map_err(|_| no_such_remote(text))?;
        let remote = config.remote(&name)?.clone();
        return Ok((name, remote));
    }
    let only = config
        .remotes
        .keys()
        .next()
        .filter(|_| config.remotes.len() == 1);
    let name = match config.default_remote.as_ref().or(only) {
        Some(name) => name.clone(),
        None if config.remotes.is_empty() => {
            return Err(
                CliError::failed("no remote is known").hint("Log in to a hub with 'dm login HUB'.")
            );
        }
        None => {
            let verb = match direction {
                Direction::Push => "push to",
                Direction::Pull => "pull from",
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

/// The dot on the remote: the one named, the one remembered, else the user's own of the same name.
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

/// A dot's name on a remote, where the user's namespace stands in for a missing one.
pub fn parse_remote_dot(remote: &Remote, text: &str) -> Result<DotName> {
    Ok(DotName::parse_in(text, &remote.user.clone().into())?)
}

/// Carries it out, shows how far it is, tells what came of it, and remembers which dots belong together.
pub async fn run(context: &Context, node: &NodeClient, plan: &Plan) -> Result<TransferOutcome> {
    context.ui.status(&headline(plan));
    let outcome = tokio::select! {
        biased;
        outcome = carry_out(context, node, plan) => outcome?,
        // Dropping the stream tells the node to stop.
        _ = tokio::signal::ctrl_c() => return Err(CliError::cancelled()),
    };
    for line in summary(plan.direction, &outcome) {
        context.ui.status(&line);
    }
    context.update_node_config(|config| {
        let upstreams = config
            .upstreams
            .entry(plan.remote_name.clone())
            .or_default();
        upstreams
            .entry(plan.local.clone())
            .or_insert_with(|| plan.remote_dot.clone());
    })?;
    Ok(outcome)
}

/// `Pushing admin/app to hub:alice/app`
pub fn headline(plan: &Plan) -> String {
    let (verb, preposition) = match plan.direction {
        Direction::Push => ("Pushing", "to"),
        Direction::Pull => ("Pulling", "from"),
        Direction::Clone => ("Cloning", "from"),
    };
    let (local, remote) = (plan.local.full(), plan.remote_dot.full());
    format!("{verb} {local} {preposition} {}:{remote}", plan.remote_name)
}

async fn carry_out(context: &Context, node: &NodeClient, plan: &Plan) -> Result<TransferOutcome> {
    let transfer = Transfer {
        hub: login(&plan.remote),
        remote_dot: plan.remote_dot.clone(),
        branch: plan.branch.clone(),
        commit: plan.commit,
        stash_on_divergence: plan.stash_on_divergence,
        full: plan.full,
        rate_limit: plan.rate_limit,
    };
    let events = node
        .transfer(plan.direction, &plan.local, &transfer)
        .await?;
    follow(context, events, &plan.remote_name).await
}

/// Shows how far a transfer is until it has ended.
pub async fn follow(
    context: &Context,
    events: impl Stream<Item = std::result::Result<TransferEvent, ClientError>>,
    remote: &RemoteName,
) -> Result<TransferOutcome> {
    let mut bar = context.ui.transfer_bar();
    let mut events = std::pin::pin!(events);
    while let Some(event) = events.next().await {
        match event? {
            TransferEvent::Progress(progress) => bar.show(&progress),
            TransferEvent::Done(outcome) => return Ok(outcome),
            TransferEvent::Failed(body) => {
                let error = CliError::from(body.clone());
                return Err(match body.code {
                    dotmesh_api::ErrorCode::Unauthorized => error.hint(format!(
                        "The API key of remote '{remote}' may have been replaced: remove it with 'dm remote rm {remote}' and add it again."
                    )),
                    _ => error,
                });
            }
        }
    }
    Err(
        CliError::unreachable("the node went away before the transfer ended").hint(
            "Its log says why. Try again: what has been transferred already is not sent twice.",
        ),
    )
}

/// A line for each branch, and one for the traffic.
pub fn summary(direction: Direction, outcome: &TransferOutcome) -> Vec<String> {
    let mut lines: Vec<_> = outcome
        .branches
        .iter()
        .map(|branch| describe(direction, branch))
        .collect();
    let done = match direction {
        Direction::Push => "sent",
        Direction::Pull | Direction::Clone => "received",
    };
    lines.extend(traffic(&outcome.progress, done));
    lines.extend(sockets(&outcome.sockets));
    lines
}

/// How much crossed the network, and what did not have to.
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
        1 => Some(format!(
            "Passed over a socket, which holds nothing to keep: {first}"
        )),
        count if count as usize == sockets.first.len() => Some(format!(
            "Passed over {count} sockets, which hold nothing to keep: {first}"
        )),
        count => Some(format!(
            "Passed over {count} sockets, which hold nothing to keep: {first}, …"
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
            Direction::Pull | Direction::Clone => {
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
    let stashed = stashed.unwrap_or_default();
    match branch.commits {
        // All its commits came with other branches.
        0 if direction == Direction::Clone => format!("{name}: {stashed}at {head}"),
        0 => format!("{name}: {stashed}up to date, at {head}"),
        1 => format!("{name}: {stashed}1 commit, now at {head}"),
        commits => format!("{name}: {stashed}{commits} commits, now at {head}"),
    }
}
