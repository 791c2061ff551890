//! Tells how to start the app of a cloned dot. Compose puts the project's name into volume names, so the project's name
//! decides which dot the app uses.

use dotmesh_api::NodeClient;
use dotmesh_api::node::LogQuery;
use dotmesh_model::launch::{self, project_for, projects};
use dotmesh_model::{CommitRecord, DotName, Launch};

use crate::compose::Compose;
use crate::context::Context;
use crate::place;
use crate::ui::Ui;

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
    /// For the checked-out state of a dot. `Unknown` if the app runs already. The clone has succeeded, so errors are
    /// ignored.
    pub async fn find(context: &Context, node: &NodeClient, local: &DotName) -> Self {
        let newest = LogQuery::one(None);
        let (Ok(detail), Ok(log)) = tokio::join!(node.dot(local), node.log(local, &newest)) else {
            return Self::Unknown;
        };
        match log.commits.first() {
            Some(head) if detail.summary.containers.is_empty() => {
                let here = place::here();
                let compose = Compose::name_in(&context.environment, here.as_deref()).await;
                Self::of(head, local).with(&compose)
            }
            _ => Self::Unknown,
        }
    }

    /// The same by another Compose.
    #[must_use]
    pub fn with(self, compose: &str) -> Self {
        let by = |command: String| match command.strip_prefix(launch::COMPOSE) {
            Some(rest) => format!("{compose}{rest}"),
            None => command,
        };
        match self {
            Self::With(commands) => Self::With(commands.into_iter().map(by).collect()),
            other => other,
        }
    }

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

/// Tells people how to start the app.
pub fn show(ui: &Ui, commands: &[String], volumes_of: Option<&DotName>, local: &DotName) {
    if !commands.is_empty() {
        let commands: String = commands.iter().map(|one| format!("\n    {one}")).collect();
        ui.status(&format!(
            "To start the app, run this in the folder of its code:\n{commands}\n"
        ));
    }
    if let Some(dot) = volumes_of {
        ui.warning(&format!(
            "the app's volumes belong to dot {dot}, not to {local}"
        ));
        ui.hint(&format!(
            "To start the app with the clone, clone the dot with '--local-name {dot}'."
        ));
    }
}
