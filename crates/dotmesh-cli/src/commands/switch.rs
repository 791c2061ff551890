//! `dm switch`

use dotmesh_api::NodeClient;
use dotmesh_model::{BranchName, DotName};

use crate::context::Context;
use crate::current::{self, By};
use crate::dot_word::{self, DotWord};
use crate::error::Result;

/// Choose the dot that other commands use
///
/// Inside a git work tree, or in a folder with a Compose file, the choice applies there. Elsewhere it applies to all folders
/// without a choice of their own.
///
/// A command uses the first of these dots:
///
/// 1. the dot that --dot or DOTMESH_DOT names
///
/// 2. the dot chosen for the current folder, or for the nearest folder above it
///
/// 3. the dot of the Compose project in that folder
///
/// 4. the dot chosen for all folders
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Choose the dot for all folders without a choice of their own
    #[arg(long)]
    global: bool,

    /// The dot
    #[arg(value_name = "DOT")]
    dot: DotWord,
}

pub(super) async fn run(context: &Context, args: Args) -> Result<()> {
    let find = async |node: &NodeClient, dot: &DotName| {
        node.current(dot).await?;
        Ok(dot.clone())
    };
    let instead =
        |_: &DotName, branch: &BranchName| dot_word::try_this(&["dm", "checkout", branch.as_str()]);
    let dot = args.dot.act(context, find, instead).await?;
    let place = if args.global {
        context.select_everywhere(&dot)?;
        None
    } else {
        context.select(&dot)?
    };
    context.ui.status(&match place {
        Some(place) => format!("Switched to dot '{dot}' in {}", place.display()),
        None => format!("Switched to dot '{dot}'"),
    });
    tell_other(context, &dot).await
}

/// Warns if another choice takes precedence here over the new one.
async fn tell_other(context: &Context, dot: &DotName) -> Result<()> {
    let choice = current::choose(context, &context.node()?).await?;
    let (Some(other), false) = (choice.dot.name(), choice.is(dot)) else {
        return Ok(());
    };
    let why = match &choice.by {
        By::Name => "--dot or DOTMESH_DOT names it".to_owned(),
        By::Place(place) => format!("'dm switch' chose it for {}", place.display()),
        By::Compose(folder) => format!("the Compose project in {} uses it", folder.display()),
        By::Everywhere => return Ok(()),
    };
    context
        .ui
        .warning(&format!("commands here still use dot '{other}': {why}"));
    Ok(())
}
