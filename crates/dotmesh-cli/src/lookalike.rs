//! Warns of an empty dot that Docker has made beside a cloned one, since Compose took another project name.

use dotmesh_api::NodeClient;
use dotmesh_api::node::Lookalike;

use crate::context::Context;
use crate::error::Result;

/// Warns of those that were not told of yet. What goes wrong here is not what the user asked for, and is not told.
pub async fn warn_once(context: &Context) {
    if let Ok(node) = context.node() {
        let _ = tell(context, &node, false).await;
    }
}

/// Warns of all of them.
pub async fn warn(context: &Context, node: &NodeClient) {
    let _ = tell(context, node, true).await;
}

async fn tell(context: &Context, node: &NodeClient, again: bool) -> Result<()> {
    // An older node knows of none.
    let found = node.lookalikes().await?;
    let told = context.node_config()?.told_lookalikes;
    for lookalike in &found {
        if again || !told.contains(&lookalike.id) {
            context.ui.warning(&describe(lookalike));
            context.ui.hint(&what_next(lookalike));
        }
    }
    let now = found.into_iter().map(|lookalike| lookalike.id).collect();
    if told != now {
        context.update_node_config(|config| config.told_lookalikes = now)?;
    }
    Ok(())
}

/// What is strange.
pub fn describe(found: &Lookalike) -> String {
    let Lookalike { dot, cloned, .. } = found;
    format!(
        "Docker has made dot {dot}, which is empty. Compose took another project name than the one of the clone {cloned}, so the app does not see the clone's data"
    )
}

/// What to do.
pub fn what_next(found: &Lookalike) -> String {
    let Lookalike { dot, cloned, .. } = found;
    match &found.project {
        Some(project) => format!(
            "Stop the app with 'docker compose down', and start it with the clone's data: docker compose -p {project} up -d. 'dm dot delete {dot}' deletes the empty dot."
        ),
        None => format!(
            "Name the volumes after the clone in the Compose file, with 'name: {cloned}.SUBDOT'. 'dm dot delete {dot}' deletes the empty dot."
        ),
    }
}
