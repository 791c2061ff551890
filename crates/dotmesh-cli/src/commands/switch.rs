//! `dm switch`

use std::path::PathBuf;

use dotmesh_api::NodeClient;
use dotmesh_model::{BranchName, DotName};
use serde::Serialize;
use utoipa::ToSchema;

use crate::context::Context;
use crate::current::{self, By};
use crate::dot_word::{self, DotWord};
use crate::error::Result;
use crate::output::Human;
use crate::ui::Ui;

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

/// The dot that other commands use.
#[derive(Debug, Serialize, ToSchema)]
pub struct Selected {
    /// The dot.
    pub dot: DotName,
    /// The folder for which it was chosen. `null` means all folders without a choice of their own.
    #[schema(value_type = Option<String>)]
    pub place: Option<PathBuf>,
    /// The dot that commands use here all the same.
    pub other: Option<Other>,
}

/// A dot that takes precedence over the chosen one.
#[derive(Debug, Serialize, ToSchema)]
pub struct Other {
    /// The dot.
    pub dot: DotName,
    /// Who chose it.
    pub why: String,
}

pub(super) async fn run(context: &Context, args: Args) -> Result<Selected> {
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
    Ok(Selected {
        other: other(context, &dot).await?,
        dot,
        place,
    })
}

impl Human for Selected {
    fn show(&self, ui: &Ui) -> Result<()> {
        let dot = &self.dot;
        ui.status(&match &self.place {
            Some(place) => format!("Switched to dot '{dot}' in {}", place.display()),
            None => format!("Switched to dot '{dot}'"),
        });
        if let Some(Other { dot, why }) = &self.other {
            ui.warning(&format!("commands here still use dot '{dot}': {why}"));
        }
        Ok(())
    }
}

/// Another choice that takes precedence here over the new one.
async fn other(context: &Context, dot: &DotName) -> Result<Option<Other>> {
    let choice = current::choose(context, &context.node()?).await?;
    let (Some(other), false) = (choice.dot.name(), choice.is(dot)) else {
        return Ok(None);
    };
    let why = match &choice.by {
        By::Name => "--dot or DOTMESH_DOT names it".to_owned(),
        By::Place(place) => format!("'dm switch' chose it for {}", place.display()),
        By::Fork(folder) => format!("{} has a fork of it", folder.display()),
        By::Compose(folder) => format!("the Compose project in {} uses it", folder.display()),
        By::Everywhere => return Ok(None),
    };
    let dot = other.clone();
    Ok(Some(Other { dot, why }))
}
