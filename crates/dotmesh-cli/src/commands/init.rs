//! `dm init`

pub mod app;

use std::path::PathBuf;

use dotmesh_model::DotName;
use serde::Serialize;
use serde_json::Value;
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::{self, RefOr};
use utoipa::{PartialSchema, ToSchema};

use crate::context::Context;
use crate::error::{CliError, Result};
use crate::output::{Answer, Human, answer};
use crate::project_file;
use crate::ui::Ui;

/// Make an empty dot and select it, or prepare an app for its dot
///
/// With --compose, dm prepares the app of this folder: it writes dotmesh.toml, with a comment for each setting, and
/// compose.override.yaml, which leads the app's local volumes to the dot. No file is overwritten: if there is such a file, dm
/// prints the lines to add. The dot is made when the app starts. If the app's volumes have data already, 'dm import --compose'
/// moves it.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The new dot's name [default: with --compose, the project's name]
    #[arg(value_name = "DOT", required_unless_present_any = ["compose", "schema"])]
    dot: Option<DotName>,

    /// Prepare the app of this folder's Compose file
    #[arg(long)]
    compose: bool,

    /// Print the JSON schema of dotmesh.toml, for editors
    #[arg(long, conflicts_with_all = ["compose", "dot"])]
    schema: bool,
}

/// A new dot.
#[derive(Debug, Serialize, ToSchema)]
pub struct Made {
    /// The dot.
    pub dot: DotName,
    /// The folder for which the dot is the current one. `null` means all folders without a choice of their own.
    #[schema(value_type = Option<String>)]
    pub place: Option<PathBuf>,
}

/// The schema of `dotmesh.toml`.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub struct Schema(Value);

impl PartialSchema for Schema {
    fn schema() -> RefOr<openapi::Schema> {
        ObjectBuilder::new().schema_type(Type::Object).into()
    }
}

impl ToSchema for Schema {}

pub(super) async fn run(context: &Context, args: Args) -> Result<Answer> {
    match args.dot {
        _ if args.schema => Ok(answer(Schema(project_file::schema()))),
        dot if args.compose => app::run(context, dot).await.map(answer),
        Some(dot) => make(context, dot).await.map(answer),
        None => Err(CliError::usage("a new dot needs a name")),
    }
}

async fn make(context: &Context, dot: DotName) -> Result<Made> {
    context.node()?.create_dot(&dot).await?;
    let place = context.select(&dot)?;
    Ok(Made { dot, place })
}

impl Human for Made {
    fn show(&self, ui: &Ui) -> Result<()> {
        ui.status(&format!("Made dot '{}' and selected it", self.dot));
        Ok(())
    }
}

impl Human for Schema {
    fn show(&self, ui: &Ui) -> Result<()> {
        ui.out(&format!("{:#}\n", self.0))
    }
}
