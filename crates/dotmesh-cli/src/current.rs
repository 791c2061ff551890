//! Which dot a command is about that names none.
//!
//! The first of these counts: `--dot`, then `DOTMESH_DOT`; what `dm switch` chose for the nearest place around; the dot of
//! the Compose project that runs from there; what `dm switch` chose for everywhere.

use std::path::{Path, PathBuf};

use dotmesh_api::{ErrorCode, NodeClient};
use dotmesh_model::DotName;

use crate::config::CurrentDot;
use crate::context::Context;
use crate::error::Result;
use crate::place;

/// The dot, and who chose it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// The dot.
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
    /// `dm switch`, for all places without a choice of their own. Also when nobody chose.
    Everywhere,
}

impl Choice {
    /// Whether it is this dot.
    pub fn is(&self, dot: &DotName) -> bool {
        self.dot.is(dot)
    }
}

/// Finds the choice that counts here. The dot may be gone.
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

/// The dot of the folder's Compose project. Of several, the user has to choose.
async fn of_compose(node: &NodeClient, here: &Path) -> Result<Option<(PathBuf, DotName)>> {
    let found = match node.compose_dots(here).await {
        Ok(found) => found,
        // An older node has no such route.
        Err(error) if error.code() == ErrorCode::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    Ok(match (found.folder, found.dots.as_slice()) {
        (Some(folder), [dot]) => Some((folder, dot.clone())),
        _ => None,
    })
}

/// Of two folders around a third.
fn is_nearer(one: &Path, other: &Path) -> bool {
    one != other && one.starts_with(other)
}
