//! `dm dot set-upstream`

use dotmesh_api::ErrorCode;
use dotmesh_api::node::Source;
use dotmesh_model::DotName;
use serde::Serialize;
use utoipa::ToSchema;

use crate::config::{RemoteName, no_such_remote};
use crate::context::Context;
use crate::dot_word::{self, DotWord};
use crate::error::Result;
use crate::output::Human;
use crate::transfer;
use crate::ui::Ui;

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

/// A dot, and its dot on a remote.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Tracking {
    /// The dot here.
    pub dot: DotName,
    /// The remote.
    pub remote: RemoteName,
    /// The dot on the remote.
    pub remote_dot: DotName,
}

pub(super) async fn run(context: &Context, args: Args) -> Result<Tracking> {
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
    let name: RemoteName = remote.parse().map_err(|_| no_such_remote(&remote))?;
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
    Ok(Tracking {
        dot: local,
        remote: name,
        remote_dot,
    })
}

impl Human for Tracking {
    fn show(&self, ui: &Ui) -> Result<()> {
        let (dot, remote_dot) = (self.dot.full(), self.remote_dot.full());
        let remote = &self.remote;
        ui.status(&format!("{dot} tracks dot {remote_dot} on remote {remote}"));
        Ok(())
    }
}
