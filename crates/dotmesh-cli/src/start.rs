//! Tells how to start the app of a cloned dot. Compose puts the project's name into volume names, so the project's name
//! decides which dot the app uses.

use dotmesh_api::NodeClient;
use dotmesh_api::node::LogQuery;
use dotmesh_model::launch::{project_for, projects};
use dotmesh_model::{CommitRecord, DotName, Launch};

use crate::context::Context;

/// How to start the app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Start {
    /// The commit records no Compose project.
    Unknown,
    /// Run these commands in the folder of the app's code.
    With(Vec<String>),
    /// The app cannot use the clone under its local name: its volumes belong to this dot.
    Of(DotName),
}

impl Start {
    /// Derives it from a commit of a dot that is called `local` here.
    pub fn of(record: &CommitRecord, local: &DotName) -> Self {
        let known = record.dot.as_ref().unwrap_or(local);
        if projects(&record.images).next().is_none() {
            return Self::Unknown;
        }
        let mut images = record.images.clone();
        for compose in images.iter_mut().filter_map(|image| image.compose.as_mut()) {
            match project_for(&compose.project, known, local) {
                Some(project) => compose.project = project,
                None => return Self::Of(known.clone()),
            }
        }
        let launch = Launch::new(record.code.as_ref(), &images);
        let enter = launch.enter();
        Self::With(enter.into_iter().chain(launch.start).collect())
    }
}

/// Tells how to start the app of the checked-out state, unless it runs already. The clone has succeeded, so errors are
/// ignored.
pub async fn tell(context: &Context, node: &NodeClient, local: &DotName) {
    let newest = LogQuery::one(None);
    let (Ok(detail), Ok(log)) = tokio::join!(node.dot(local), node.log(local, &newest)) else {
        return;
    };
    let Some(head) = log.commits.first() else {
        return;
    };
    if !detail.summary.containers.is_empty() {
        return;
    }
    match Start::of(head, local) {
        Start::Unknown => {}
        Start::With(commands) => {
            let commands: String = commands.iter().map(|one| format!("\n    {one}")).collect();
            context.ui.status(&format!(
                "To start the app, run this in the folder of its code:\n{commands}\n"
            ));
        }
        Start::Of(dot) => {
            context.ui.warning(&format!(
                "the app's volumes belong to dot {dot}, not to {local}"
            ));
            context.ui.hint(&format!(
                "To start the app with the clone, clone the dot with '--local-name {dot}'."
            ));
        }
    }
}
