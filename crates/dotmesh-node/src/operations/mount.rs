//! `dm mount`: the folder of a volume, for programs that run outside containers.

use dotmesh_api::node::{MountVolume, MountedVolume};
use dotmesh_model::VolumeName;

use super::volume;
use crate::error::NodeError;
use crate::node::Node;

/// Finds the folder, making the subdot if there is none; the dot only if asked to.
pub(crate) async fn mount(node: &Node, request: MountVolume) -> Result<MountedVolume, NodeError> {
    let name: VolumeName = request.volume.parse()?;
    if !request.create {
        node.registry.dot(&name.dot).await?;
    }
    let path = volume::mount(node, &request.volume).await?;
    Ok(MountedVolume {
        path: path.display().to_string(),
    })
}
