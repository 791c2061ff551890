//! Finds the current dot: the one that a command uses if it names none.
//!
//! The first of these that exists counts: `--dot`; `DOTMESH_DOT`; the choice of `dm switch`, or the dot of a Compose project,
//! whichever belongs to the nearer folder (at the same folder, `dm switch` wins); the choice of `dm switch` for everywhere.

use std::path::{Path, PathBuf};

use dotmesh_api::{ErrorCode, NodeClient};
use dotmesh_model::DotName;

use crate::config::CurrentDot;
use crate::context::Context;
use crate::error::Result;
use crate::place;

/// The current dot, and who chose it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// The chosen dot.
    pub dot: CurrentDot,
    /// Who chose it.
    pub by: By,
}

/// Who chose a dot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum By {
    /// `--dot` or `DOTMESH_DOT`.
    Name,
    /// `dm switch`, for this place.
    Place(PathBuf),
    /// The Compose project that runs from this folder.
    Compose(PathBuf),
    /// `dm switch`, for all places without a choice of their own. Also used if nobody chose.
    Everywhere,
}

impl Choice {
    /// Whether this dot was chosen.
    pub fn is(&self, dot: &DotName) -> bool {
        self.dot.is(dot)
    }
}

/// Finds the choice that counts in the current folder. Does not check that the dot still exists.
pub async fn choose(context: &Context, node: &NodeClient) -> Result<Choice> {
    if let Some(word) = &context.dot {
        return Ok(Choice {
            dot: CurrentDot::Selected(word.name()?),
            by: By::Name,
        });
    }
    let config = context.node_config()?;
    let here = place::here();
    let chosen = here.as_deref().and_then(|here| config.chosen_around(here));
    if let Some(here) = &here
        && let nearest = place::around(here)
        && chosen
            .as_ref()
            .is_none_or(|(place, _)| nearest != Some(place.as_path()))
        && let Some((folder, dot)) = of_compose(node, here).await?
        && chosen
            .as_ref()
            .is_none_or(|(place, _)| is_nearer(&folder, place))
    {
        return Ok(Choice {
            dot: CurrentDot::Selected(dot),
            by: By::Compose(folder),
        });
    }
    Ok(match chosen {
        Some((place, dot)) => Choice {
            dot,
            by: By::Place(place),
        },
        None => Choice {
            dot: config.current_dot,
            by: By::Everywhere,
        },
    })
}

/// The dot of the Compose project in the nearest folder. `None` if the project uses several dots: then the user has to choose.
async fn of_compose(node: &NodeClient, here: &Path) -> Result<Option<(PathBuf, DotName)>> {
    let found = match node.compose_dots(here).await {
        Ok(found) => found,
        // An older node does not have this route.
        Err(error) if error.code() == ErrorCode::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    Ok(match (found.folder, found.dots.as_slice()) {
        (Some(folder), [dot]) => Some((folder, dot.clone())),
        _ => None,
    })
}

/// Whether `one` is nearer than `other`. Both are ancestors of the same folder.
fn is_nearer(one: &Path, other: &Path) -> bool {
    one != other && one.starts_with(other)
}
