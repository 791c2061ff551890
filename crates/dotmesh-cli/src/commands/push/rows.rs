//! What a push tells the hub of the databases in the pushed commits.

use dotmesh_api::node::{RowsOutcome, RowsTold, TellRows};

use crate::error::Result;
use crate::project_file::{ProjectFile, PushedRows};
use crate::ui::Ui;
use crate::{compose, place};

/// What to ask the node for. Rows may be personal data, so only the command itself publishes them: a setting sends counts to
/// a public dot.
pub(super) fn wanted(asked: Option<PushedRows>) -> Result<Option<TellRows>> {
    let what = match asked {
        Some(asked) => asked,
        None => setting()?,
    };
    let private = match what {
        PushedRows::Off => return Ok(None),
        PushedRows::Counts => RowsTold::Counts,
        PushedRows::Changes => RowsTold::Changes,
    };
    let public = match asked {
        Some(_) => private,
        None => RowsTold::Counts,
    };
    Ok(Some(TellRows { private, public }))
}

/// The setting of the app in this folder.
fn setting() -> Result<PushedRows> {
    let folder = place::here().and_then(|here| compose::folder_around(&here));
    Ok(match folder {
        Some(folder) => ProjectFile::load(&folder)?.rows,
        None => PushedRows::Off,
    })
}

/// Says what the hub will be told.
pub(super) fn show(outcome: &RowsOutcome, keeps_rows: bool, ui: &Ui) {
    if let Some(error) = &outcome.failed {
        ui.warning(&format!(
            "the push is done, but the hub will not be told of the databases: {}",
            error.message
        ));
        return;
    }
    let of = match outcome.commits {
        1 => "1 commit".to_owned(),
        many => format!("{many} commits"),
    };
    let what = match outcome.what {
        RowsTold::Counts => "tables and row counts",
        RowsTold::Changes => "tables, row counts and changed rows",
    };
    ui.status(&format!(
        "The node now reads the databases of {of}, and tells the hub their {what}. Whoever can read the dot on the hub can read them."
    ));
    if keeps_rows {
        let public =
            "The dot is public, so no changed rows are sent. 'dm push --rows changes' sends them.";
        ui.status(public);
    }
    ui.hint("'dm status' says what is left to read.");
}
