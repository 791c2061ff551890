//! `dm remote rename`

use serde::Serialize;
use utoipa::ToSchema;

use crate::config::RemoteName;
use crate::context::Context;
use crate::error::Result;
use crate::output::Human;
use crate::ui::Ui;

/// Give a remote another name; nothing changes on the hub
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The remote
    #[arg(value_name = "OLD")]
    from: RemoteName,

    /// Its new name
    #[arg(value_name = "NEW")]
    to: RemoteName,
}

/// A renamed remote.
#[derive(Debug, Serialize, ToSchema)]
pub struct Renamed {
    /// The former name.
    pub from: RemoteName,
    /// The new name.
    pub to: RemoteName,
}

pub(super) fn run(context: &Context, args: Args) -> Result<Renamed> {
    let Args { from, to } = args;
    context
        .config
        .update(|config| config.rename_remote(&from, &to))?;
    Ok(Renamed { from, to })
}

impl Human for Renamed {
    fn show(&self, ui: &Ui) -> Result<()> {
        let Self { from, to } = self;
        ui.status(&format!("Remote '{from}' is called '{to}' now"));
        Ok(())
    }
}
