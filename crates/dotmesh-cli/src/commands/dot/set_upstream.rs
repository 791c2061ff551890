//! `dm dot set-upstream`

use dotmesh_api::ErrorCode;
use dotmesh_api::node::Source;

use crate::context::Context;
use crate::dot_word::{self, DotWord};
use crate::error::Result;
use crate::transfer;

/// Set the dot on a remote that a dot is pulled from and pushed to
///
/// The dot on the remote need not exist yet. Without a namespace it is your own. The next push or pull uses the dot that has
/// this name then, even if earlier ones used a dot with another identity.
#[derive(Debug, clap::Args)]
#[command(override_usage = "dm dot set-upstream [DOT] <REMOTE> <REMOTE-DOT>")]
pub struct Args {
    /// The dot here [default: the current dot]
    #[arg(value_name = "DOT", required = true)]
    first: String,

    /// The remote
    #[arg(value_name = "REMOTE", required = true)]
    second: String,

    /// The dot there, [NAMESPACE/]DOT
    #[arg(value_name = "REMOTE-DOT")]
    third: Option<String>,
}

pub(super) async fn run(context: &Context, args: Args) -> Result<()> {
    let Args {
        first,
        second,
        third,
    } = args;
    let (dot, remote, remote_dot) = match third {
        None => (None, first, second),
        Some(third) => {
            let Ok(dot) = first.parse();
            (Some::<DotWord>(dot), second, third)
        }
    };
    let name = remote
        .parse()
        .map_err(|_| crate::config::no_such_remote(&remote))?;
    let remote = context.config.load()?.remote(&name)?.clone();
    let remote_dot = transfer::parse_remote_dot(&remote, &remote_dot)?;
    let detail = dot_word::detail(context, dot.as_ref(), |dot, _| {
        let (dot, remote) = (dot.to_string(), name.to_string());
        dot_word::try_this(&[
            "dm",
            "dot",
            "set-upstream",
            &dot,
            &remote,
            &remote_dot.full(),
        ])
    })
    .await?;
    let local = detail.summary.name;
    let there = Source {
        hub: remote.hub()?.to_string(),
        dot: remote_dot.clone(),
    };
    match context.node()?.forget(&local, &there).await {
        // An older node does not have this route: it identifies dots only by their names.
        Err(error) if error.code() == ErrorCode::NotFound => {}
        forgotten => forgotten?,
    }
    context.update_node_config(|config| {
        let upstreams = config.upstreams.entry(name.clone()).or_default();
        upstreams.insert(local.clone(), remote_dot.clone());
    })?;
    let (local, remote_dot) = (local.full(), remote_dot.full());
    context
        .ui
        .status(&format!("{local} tracks dot {remote_dot} on remote {name}"));
    Ok(())
}
