//! Warns of lookalikes. A lookalike is an empty dot that Docker made beside a clone, because Compose used another project name.

use dotmesh_api::NodeClient;
use dotmesh_api::node::Lookalike;

use crate::context::Context;
use crate::error::Result;

/// Warns of lookalikes that the user was not warned of yet. Errors are ignored: the user did not ask for this check.
pub async fn warn_once(context: &Context) {
    if let Ok(node) = context.node() {
        let _ = tell(context, &node, false).await;
    }
}

/// Warns of all lookalikes.
pub async fn warn(context: &Context, node: &NodeClient) {
    let _ = tell(context, node, true).await;
}

async fn tell(context: &Context, node: &NodeClient, again: bool) -> Result<()> {
    // An older node does not have this route.
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

/// The warning's text.
pub fn describe(found: &Lookalike) -> String {
    let Lookalike { dot, cloned, .. } = found;
    format!(
        "Docker made the empty dot {dot}, because Compose used another project name than that of the clone {cloned}. \
         The app does not see the clone's data"
    )
}

/// The hint: how to start the app with the clone's data.
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
