//! Finds the dots of a folder's Compose project, so that `dm` knows which dot is meant there.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use dotmesh_api::node::ComposeDots;
use dotmesh_model::{CommitId, DotName};

use super::forks;
use crate::error::NodeError;
use crate::node::Node;

const WORKING_DIR: &str = "com.docker.compose.project.working_dir";

type ByFolder = BTreeMap<PathBuf, BTreeSet<DotName>>;

/// The dots of the folder's project, or of the nearest parent folder that has a project with dots. The containers'
/// labels are used first, whether they run or not. If there are none, the newest commits' records are used.
pub(crate) async fn compose_dots(node: &Node, folder: &Path) -> Result<ComposeDots, NodeError> {
    let forks = forks::here(node, folder).await?;
    let of_containers = of_containers(node).await?;
    let found = match nearest(of_containers, folder) {
        Some(found) => found,
        None => nearest(of_commits(node).await?, folder).unwrap_or_default(),
    };
    Ok(ComposeDots { forks, ..found })
}

fn nearest(mut found: ByFolder, folder: &Path) -> Option<ComposeDots> {
    let mut around = folder.ancestors();
    around.find_map(|folder| {
        let dots = found.remove(folder)?;
        Some(ComposeDots {
            folder: Some(folder.to_owned()),
            dots: dots.into_iter().collect(),
            ..ComposeDots::default()
        })
    })
}

async fn of_containers(node: &Node) -> Result<ByFolder, NodeError> {
    let dots = node.registry.dots().await?;
    let exists = |name: &DotName| dots.iter().any(|dot| dot.name == *name);
    let mut found = ByFolder::new();
    // If Docker is down, use the commits.
    for container in node.docker.list().await.unwrap_or_default() {
        // A fork's folder is not the app's.
        let folder = container.label(WORKING_DIR);
        let Some(folder) = folder.filter(|_| container.label(forks::FORK).is_none()) else {
            continue;
        };
        for used in &container.uses {
            if exists(&used.volume.dot) {
                add(&mut found, folder, &used.volume.dot).await;
            }
        }
    }
    Ok(found)
}

async fn of_commits(node: &Node) -> Result<ByFolder, NodeError> {
    let mut found = ByFolder::new();
    for dot in node.registry.dots().await? {
        let head = dot.current()?.head;
        if head == CommitId::ROOT {
            continue;
        }
        let record = node.registry.decoded(&dot.id, head).await?;
        let projects = record
            .images
            .iter()
            .filter_map(|image| image.compose.as_ref());
        for project in projects {
            add(&mut found, &project.working_dir, &dot.name).await;
        }
    }
    Ok(found)
}

/// Resolves symbolic links: Compose stores the folder as typed, and `dm` asks for the real one.
async fn add(found: &mut ByFolder, folder: &str, dot: &DotName) {
    if folder.is_empty() {
        return;
    }
    let real = tokio::fs::canonicalize(folder).await;
    let folder = real.unwrap_or_else(|_| folder.into());
    found.entry(folder).or_default().insert(dot.clone());
}
