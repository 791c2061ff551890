//! `dm version`

use dotmesh_api::node::NodeVersion;
use serde::Serialize;
use utoipa::ToSchema;

use crate::context::Context;
use crate::error::{CliError, Result};
use crate::output::Human;
use crate::ui::Ui;

/// Show the versions of 'dm' and of the node that it talks to
#[derive(Debug, clap::Args)]
pub struct Args {}

/// The versions of `dm` and of the node.
#[derive(Debug, Serialize, ToSchema)]
pub struct Versions {
    /// The version of `dm`.
    pub client: String,
    /// The node. `null` if it does not answer.
    pub node: Option<NodeVersion>,
    /// Why the node does not answer.
    #[serde(skip)]
    pub error: Option<CliError>,
}

pub(super) async fn run(context: &Context, _: Args) -> Result<Versions> {
    let node = context.node()?.version().await.map_err(CliError::from);
    let (node, error) = match node {
        Ok(node) => (Some(node), None),
        Err(error) => (None, Some(error)),
    };
    Ok(Versions {
        client: env!("CARGO_PKG_VERSION").to_owned(),
        node,
        error,
    })
}

impl Human for Versions {
    fn show(&self, ui: &Ui) -> Result<()> {
        ui.out(&format!("Client:\n\tVersion: {}\n", self.client))?;
        match &self.node {
            Some(node) => ui.out(&format!("Server:\n\tVersion: {}\n", node.version)),
            None => Ok(()),
        }
    }

    fn failure(&self) -> Option<CliError> {
        self.error.clone()
    }
}
