//! Shared by checkout, reset, clone and others: the options for waiting on containers, the progress, and the outcome.

use std::time::Duration;

use dotmesh_api::ClientError;
use dotmesh_api::node::{SwitchEvent, SwitchProgress, Switched, Wait};
use futures::{Stream, StreamExt as _};

use crate::commands::containers;
use crate::context::Context;
use crate::error::{CliError, Code, Result};
use crate::ui::Ui;

/// Without a terminal, progress is printed only if a wait takes longer than this.
const QUIET: Duration = Duration::from_secs(3);

/// The options for waiting on containers.
#[derive(Debug, Clone, clap::Args)]
pub struct WaitArgs {
    /// Wait until the containers with a health check are healthy [default]
    #[arg(long, overrides_with = "no_wait")]
    wait: bool,

    /// Do not wait for health checks; the node starts later what depends on a healthy container
    #[arg(long)]
    no_wait: bool,

    /// Wait at most this long for the containers to start and to be healthy: 90, 90s, 5m
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = parse_seconds)]
    timeout: u64,
}

impl From<&WaitArgs> for Wait {
    fn from(args: &WaitArgs) -> Self {
        Self {
            healthy: !args.no_wait,
            seconds: args.timeout,
        }
    }
}

/// Parses a duration, in seconds by default: `90`, `90s`, `5m`, `1h`.
pub fn parse_seconds(text: &str) -> std::result::Result<u64, String> {
    let (number, unit) = match text.char_indices().last() {
        Some((at, 's')) => (&text[..at], 1),
        Some((at, 'm')) => (&text[..at], 60),
        Some((at, 'h')) => (&text[..at], 3600),
        _ => (text, 1),
    };
    let number: Option<u64> = number.parse().ok();
    let seconds = number.and_then(|number| number.checked_mul(unit));
    seconds.ok_or_else(|| "not a time: use seconds, or for instance 90s, 5m, 1h".to_owned())
}

/// Waits for the end of a switch, and shows its progress.
pub async fn follow(
    context: &Context,
    events: impl Stream<Item = std::result::Result<SwitchEvent, ClientError>>,
) -> Result<Switched> {
    let bar = context.ui.wait_bar();
    let mut events = std::pin::pin!(events);
    let mut waits: Option<SwitchProgress> = None;
    loop {
        let next = match (&waits, bar.needs_lines()) {
            (Some(progress), true) => match tokio::time::timeout(QUIET, events.next()).await {
                Ok(next) => next,
                Err(_) => {
                    context.ui.status(&describe(progress));
                    waits = None;
                    continue;
                }
            },
            _ => events.next().await,
        };
        match next {
            Some(Ok(SwitchEvent::Progress(progress))) => {
                bar.show(&progress, &describe(&progress));
                waits = Some(progress);
            }
            Some(Ok(SwitchEvent::Done(switched))) => return Ok(switched),
            Some(Ok(SwitchEvent::Failed(error))) => return Err(error.into()),
            Some(Err(error)) => return Err(error.into()),
            None => {
                return Err(CliError::new(
                    Code::NodeUnreachable,
                    "the node stopped during the switch",
                )
                .hint("The node finishes the switch after a restart. Then check 'dm list'."));
            }
        }
    }
}

/// `Waiting for containers to stop: /db, /web`
pub fn describe(progress: &SwitchProgress) -> String {
    let mut phase = progress.phase.clone();
    if let Some(first) = phase.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    if progress.containers.is_empty() {
        return phase;
    }
    format!("{phase}: {}", containers(&progress.containers, ", "))
}

/// Tells what became of the containers.
pub fn show(ui: &Ui, switched: &Switched) {
    for (what, names) in [
        ("Restarted containers", &switched.restarted),
        // Containers with --rm, or removed by somebody else meanwhile.
        ("Removed containers", &switched.removed),
        ("Containers that Docker Swarm replaces", &switched.replaced),
        (
            "Containers that the node starts when their dependencies are ready",
            &switched.later,
        ),
    ] {
        if !names.is_empty() {
            ui.status(&format!("{what}: {}", containers(names, ", ")));
        }
    }
}

/// An error if containers do not run as they should.
pub fn failure(switched: &Switched) -> Option<CliError> {
    if switched.problems.is_empty() {
        return None;
    }
    let problems = switched.problems.iter().map(|problem| {
        let name = containers(std::slice::from_ref(&problem.container), "");
        format!("\n  {name}: {}", problem.problem)
    });
    let message = format!(
        "some containers do not run as they should on branch {}:{}",
        switched.branch,
        problems.collect::<String>()
    );
    let error = CliError::new(Code::ContainersFailed, message);
    let retrying = switched.problems.iter().any(|problem| problem.retrying);
    Some(error.hint(if retrying {
        "The node keeps trying to start them. See 'dm list' and 'docker logs'."
    } else {
        "See 'docker logs'."
    }))
}
