//! `dm status`

use std::fmt::Write as _;

use dotmesh_api::node::{Apart, ContainerStatus, DotStatus, SubdotStatus, SummaryStatus};
use dotmesh_model::CommitId;
use serde::Serialize;
use utoipa::ToSchema;

use crate::compose::Compose;
use crate::config::{Config, NodeConfig, Upstream};
use crate::context::Context;
use crate::error::Result;
use crate::output::Human;
use crate::place;
use crate::table;
use crate::ui::Ui;

/// Show what is checked out, what changed since, and which containers use it
///
/// For each subdot, the output counts the files that were added, removed, modified or moved since the last commit. It says
/// 'database files only' for what databases write by themselves, as at a mere restart. It marks containers that have the wrong
/// branch mounted.
///
/// For a dot on a hub, it shows how far the branch is ahead and behind, as of the last push, pull or fetch.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Show one line for each subdot that changed, for scripts: a code, a tab, the subdot
    #[arg(short, long)]
    short: bool,
}

/// The state of a dot.
#[derive(Debug, Serialize, ToSchema)]
pub struct Status {
    /// What is checked out, what changed since, and the containers.
    #[serde(flatten)]
    pub status: DotStatus,
    /// The dots on remotes that it is pulled from and pushed to.
    pub tracked: Vec<Tracked>,
    /// Compose projects that run from the folder of a fork beside it, as plain Compose starts them.
    pub beside: Vec<String>,
    /// Whether people read it in the format for scripts.
    #[serde(skip)]
    pub short: bool,
    /// What people type for Compose.
    #[serde(skip)]
    pub compose: String,
}

/// A dot on a remote that the dot is pulled from and pushed to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Tracked {
    /// The remote, and the dot on it.
    #[serde(flatten)]
    pub upstream: Upstream,
    /// Whether the node has seen the remote's branches yet.
    pub seen: bool,
    /// How far the current branch and the remote's are apart, as the node saw it last. `None` if the remote had no such
    /// branch.
    pub apart: Option<Apart>,
}

pub(super) async fn run(context: &Context, args: Args) -> Result<Status> {
    let (status, problems) = context
        .on_current_dot(async |node, dot| {
            let status = node.status(dot).await?;
            Ok((status, node.problems().await.unwrap_or_default()))
        })
        .await?;
    // If the Engine is away, the status lacks its containers.
    for problem in problems {
        context.ui.warning(&problem);
    }
    let beside = match place::here() {
        Some(here) => {
            let node = context.node()?;
            // An older node does not know forks.
            let found = node.compose_dots(&here, true).await;
            found.map(|found| found.forks.beside).unwrap_or_default()
        }
        None => Vec::new(),
    };
    let config = context.config.load()?;
    let compose = match beside.is_empty() {
        true => String::new(),
        false => Compose::name_in(&context.environment, place::here().as_deref()).await,
    };
    Ok(Status {
        beside,
        compose,
        tracked: tracked(&status, &config, &context.node_config()?),
        status,
        short: args.short,
    })
}

impl Human for Status {
    fn show(&self, ui: &Ui) -> Result<()> {
        ui.out(&if self.short {
            short(&self.status)
        } else {
            for_people(&self.status, &self.tracked)
        })?;
        for project in &self.beside {
            ui.warning(&format!(
                "Compose project {project} runs from this folder, too, beside the fork and with other data"
            ));
            ui.hint(&format!(
                "Plain Compose started it. To stop it: {} -p {project} down. To talk to the fork: dm compose -- COMMAND",
                self.compose
            ));
        }
        Ok(())
    }
}

/// The status as text for people.
pub fn for_people(status: &DotStatus, tracked: &[Tracked]) -> String {
    let mut text = format!("On branch {} of dot {}\n", status.branch, status.name);
    if status.head == CommitId::ROOT {
        text.push_str("No commits yet\n");
    } else {
        let line = format!("Last commit: {} {}", status.head.short(), status.title);
        let _ = writeln!(text, "{}", line.trim_end());
    }
    for one in tracked {
        let _ = writeln!(text, "{}", describe(one, status));
    }
    text.push_str(&databases(&status.summaries));
    text.push('\n');
    if status.subdots.iter().all(is_clean) {
        text.push_str("Nothing changed since the last commit\n");
    } else {
        text.push_str("Changes since the last commit:\n");
        let changed = status.subdots.iter().filter(|subdot| !is_clean(subdot));
        let rows: Vec<_> = changed
            .map(|subdot| vec![format!("  {}", subdot.name), counts(subdot)])
            .collect();
        text.push_str(&table::aligned(&rows));
        text.push_str("  (use 'dm diff' to see the files, 'dm commit' to keep the changes)\n");
    }
    text.push('\n');
    if status.containers.is_empty() {
        text.push_str("No container uses the dot\n");
    } else {
        text.push_str("Containers:\n");
        let rows: Vec<_> = status.containers.iter().map(row).collect();
        text.push_str(&table::aligned(&rows));
    }
    text
}

/// The commits whose databases a hub has not been told of yet.
fn databases(summaries: &[SummaryStatus]) -> String {
    let mut text = String::new();
    let (given_up, waiting): (Vec<_>, Vec<_>) = summaries.iter().partition(|one| one.given_up);
    if let Some(next) = waiting.first() {
        let (count, hub) = (waiting.len(), &next.there.hub);
        let of = match count {
            1 => "1 commit".to_owned(),
            many => format!("{many} commits"),
        };
        let _ = writeln!(text, "Reads the databases of {of} for {hub}");
        if let Some((one, why)) = waiting
            .iter()
            .find_map(|one| Some((one, one.why.as_ref()?)))
        {
            let _ = writeln!(text, "  {} is tried again: {why}", one.commit.short());
        }
    }
    for one in &given_up {
        let why = one.why.as_deref().unwrap_or_default();
        let (commit, hub) = (one.commit.short(), &one.there.hub);
        let _ = writeln!(
            text,
            "Gave up to tell {hub} of the databases of {commit}: {why}"
        );
    }
    if !given_up.is_empty() {
        text.push_str("  (use 'dm push --rows counts' or 'changes' to try again)\n");
    }
    text
}

/// `M  uploads`
pub fn short(status: &DotStatus) -> String {
    let changed = status.subdots.iter().filter(|subdot| !is_clean(subdot));
    let lines = changed.map(|subdot| {
        let codes = [
            ('A', subdot.added),
            ('D', subdot.removed),
            ('M', subdot.modified),
            ('R', subdot.moved),
        ];
        let codes = codes.iter().filter(|(_, count)| *count > 0);
        let code: String = codes.map(|(code, _)| code).collect();
        format!("{code}\t{}\n", subdot.name)
    });
    lines.collect()
}

/// The dots on remotes that a dot is pulled from and pushed to.
pub fn tracked(status: &DotStatus, config: &Config, node: &NodeConfig) -> Vec<Tracked> {
    let upstreams = node.upstreams_of(&status.name).into_iter();
    let tracked = upstreams.map(|upstream| {
        let remote = config.remotes.get(&upstream.remote);
        let mut seen = status.upstreams.iter();
        let seen = seen.find(|seen| {
            seen.there.dot == upstream.dot
                && remote.is_some_and(|remote| remote.is_at(&seen.there.hub))
        });
        Tracked {
            upstream,
            seen: seen.is_some(),
            apart: seen.and_then(|seen| seen.apart),
        }
    });
    tracked.collect()
}

fn describe(tracked: &Tracked, status: &DotStatus) -> String {
    let Upstream { remote, dot } = &tracked.upstream;
    let tracks = format!("Tracks {} on remote {remote}", dot.full());
    match (tracked.seen, tracked.apart) {
        (false, _) => tracks,
        (true, None) => format!("{tracks}, which had no branch {} yet", status.branch),
        (true, Some(apart)) => format!("{tracks}: {}", distance(apart)),
    }
}

/// `2 commits ahead, 1 commit behind`
fn distance(apart: Apart) -> String {
    let count = |count: u64, word: &str| match count {
        0 => None,
        1 => Some(format!("1 commit {word}")),
        many => Some(format!("{many} commits {word}")),
    };
    let counts = [count(apart.ahead, "ahead"), count(apart.behind, "behind")];
    let counts: Vec<String> = counts.into_iter().flatten().collect();
    match counts.is_empty() {
        true => "up to date".to_owned(),
        false => counts.join(", "),
    }
}

fn is_clean(subdot: &SubdotStatus) -> bool {
    subdot.added + subdot.removed + subdot.modified + subdot.moved == 0
}

/// `2 modified, 1 new`
fn counts(subdot: &SubdotStatus) -> String {
    let counts = [
        (subdot.modified, "modified"),
        (subdot.added, "new"),
        (subdot.removed, "removed"),
        (subdot.moved, "moved"),
    ];
    let counts = counts.iter().filter(|(count, _)| *count > 0);
    let counts: Vec<_> = counts
        .map(|(count, word)| format!("{count} {word}"))
        .collect();
    let what = match subdot.only_database_files {
        true => "database files only",
        false => "files",
    };
    format!("{} ({what})", counts.join(", "))
}

fn row(container: &ContainerStatus) -> Vec<String> {
    let mut state = container.state.clone();
    if let Some(wrong) = &container.wrong {
        let _ = write!(state, ", but it has {wrong} mounted");
    }
    vec![
        format!("  {}", container.name),
        container.volumes.join(", "),
        state,
    ]
}
