//! `dm dot rename`

use dotmesh_api::NodeClient;
use dotmesh_api::node::RenameDot;
use dotmesh_model::{BranchName, DotName};
use serde::Serialize;
use utoipa::ToSchema;

use crate::context::Context;
use crate::dot_word::DotWord;
use crate::error::Result;
use crate::output::Human;
use crate::ui::Ui;

/// Give a dot another name
///
/// The command is refused while containers have volumes of the dot. Nothing changes on hubs: the dot keeps its upstreams.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The dot
    #[arg(value_name = "DOT")]
    dot: DotWord,

    /// Its new name
    #[arg(value_name = "NAME")]
    to: DotName,
}

/// A renamed dot.
#[derive(Debug, Serialize, ToSchema)]
pub struct Renamed {
    /// The former name.
    pub from: DotName,
    /// The new name.
    pub to: DotName,
}

pub(super) async fn run(context: &Context, args: Args) -> Result<Renamed> {
    let to = args.to;
    let rename = async |node: &NodeClient, dot: &DotName| {
        node.rename_dot(dot, &RenameDot { to: to.clone() }).await?;
        Ok(dot.clone())
    };
    let instead = |_: &DotName, branch: &BranchName| {
        format!("'dm branch -m {branch} NAME' renames a branch. Nothing was renamed.")
    };
    let from = args.dot.act(context, rename, instead).await?;
    context.update_node_config(|config| config.rename_dot(&from, &to))?;
    Ok(Renamed { from, to })
}

impl Human for Renamed {
    fn show(&self, ui: &Ui) -> Result<()> {
        let Self { from, to } = self;
        ui.status(&format!("Dot '{from}' is called '{to}' now"));
        Ok(())
    }
}
