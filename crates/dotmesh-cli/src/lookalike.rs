//! Warns of lookalikes. A lookalike is an empty dot that Docker made beside a clone, because Compose used another project name.

use dotmesh_api::NodeClient;
use dotmesh_api::node::Lookalike;

use crate::compose::Compose;
use crate::context::Context;
use crate::error::Result;
use crate::place;
use crate::ui::Ui;

/// Warns about those that the user was not warned about before. A failure is not reported, because it has nothing to do with
/// the user's command.
pub async fn warn_once(context: &Context) {
    if context.ui.is_json() {
        return;
    }
    let told = context.node_config().map(|config| config.told_lookalikes);
    let (Ok(node), Ok(told)) = (context.node(), told) else {
        return;
    };
    let mut all = all(context, &node).await;
    all.retain(|found| !told.contains(&found.id));
    let compose = compose_for(context, &all).await;
    for found in all {
        show(&context.ui, &found, &compose);
    }
}

/// All of them. The user counts as warned about them, but a program does not.
pub async fn all(context: &Context, node: &NodeClient) -> Vec<Lookalike> {
    // An older node does not have this route.
    let found = node.lookalikes().await.unwrap_or_default();
    if !context.ui.is_json() {
        let _ = remember(context, &found);
    }
    found
}

fn remember(context: &Context, found: &[Lookalike]) -> Result<()> {
    let now = found.iter().map(|lookalike| lookalike.id.clone()).collect();
    if context.node_config()?.told_lookalikes != now {
        context.update_node_config(|config| config.told_lookalikes = now)?;
    }
    Ok(())
}

/// What people type for Compose here. Nobody looks for it if there is nothing to say.
pub async fn compose_for(context: &Context, found: &[Lookalike]) -> String {
    if found.is_empty() {
        return String::new();
    }
    Compose::name_in(&context.environment, place::here().as_deref()).await
}

/// Warns about one.
pub fn show(ui: &Ui, found: &Lookalike, compose: &str) {
    ui.warning(&describe(found));
    ui.hint(&what_next(found, compose));
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
pub fn what_next(found: &Lookalike, compose: &str) -> String {
    let Lookalike { dot, cloned, .. } = found;
    match &found.project {
        Some(project) => format!(
            "Stop the app with '{compose} down', and start it with the clone's data: {compose} -p {project} up -d. 'dm dot delete {dot}' deletes the empty dot."
        ),
        None => format!(
            "Name the volumes after the clone in the Compose file, with 'name: {cloned}.SUBDOT'. 'dm dot delete {dot}' deletes the empty dot."
        ),
    }
}
