//! What every command works with: the output, the configuration, the node, and which dot is meant.

use std::path::{Path, PathBuf};

use dotmesh_api::NodeClient;
use dotmesh_model::DotName;

use crate::config::{ConfigFile, NodeConfig};
use crate::environment::Environment;
use crate::error::{CliError, Result};
use crate::ui::Ui;

/// The surroundings of one run of `dm`.
#[derive(Debug)]
pub struct Context {
    /// Where output goes.
    pub ui: Ui,
    /// Environment variables.
    pub environment: Environment,
    /// The user's configuration.
    pub config: ConfigFile,
}

impl Context {
    /// Puts it together; nothing is read or connected yet.
    pub fn new(ui: Ui, environment: Environment, config: Option<PathBuf>) -> Result<Self> {
        let path = match (config, &environment.home) {
            (Some(path), home) => expand_home(path, home.as_deref()),
            (None, Some(home)) => home.join(".dotmesh/config"),
            (None, None) => {
                return Err(
                    CliError::usage("HOME is not set, so there is no config file")
                        .hint("Say where it is with --config FILE."),
                );
            }
        };
        Ok(Self {
            ui,
            environment,
            config: ConfigFile::new(path),
        })
    }

    /// The client of the node.
    pub fn node(&self) -> Result<NodeClient> {
        let node = NodeClient::new(self.environment.socket())?;
        Ok(if self.ui.is_verbose() {
            node.observed_by(Ui::trace)
        } else {
            node
        })
    }

    /// The part of the configuration that is about the node.
    pub fn node_config(&self) -> Result<NodeConfig> {
        Ok(self.config.load()?.node(self.environment.socket()))
    }

    /// Changes that part.
    pub fn update_node_config(&self, change: impl FnOnce(&mut NodeConfig)) -> Result<()> {
        self.config.update(|config| {
            change(config.node_mut(self.environment.socket()));
            Ok(())
        })
    }

    /// Makes a dot the current one.
    pub fn select(&self, dot: &DotName) -> Result<()> {
        self.update_node_config(|node| node.current_dot = Some(dot.clone()))
    }

    /// Acts on the dot that was named, else on the current one.
    pub async fn on_dot<T>(
        &self,
        named: Option<&DotName>,
        act: impl AsyncFn(&NodeClient, &DotName) -> Result<T>,
    ) -> Result<T> {
        match named {
            Some(dot) => act(&self.node()?, dot).await,
            None => self.on_current_dot(act).await,
        }
    }

    /// Acts on the current dot. One that was deleted counts as none; where there is none, and the node has exactly one
    /// dot, that one is selected.
    pub async fn on_current_dot<T>(
        &self,
        act: impl AsyncFn(&NodeClient, &DotName) -> Result<T>,
    ) -> Result<T> {
        let node = self.node()?;
        if let Some(dot) = self.node_config()?.current_dot {
            match act(&node, &dot).await {
                // What was not found may have been something else than the dot.
                Err(error) if error.is_not_found() && !exists(&node, &dot).await? => {}
                done => return done,
            }
        }
        let dots = node.dots().await?;
        let [dot] = dots.as_slice() else {
            return Err(no_current_dot(dots.is_empty()));
        };
        self.select(&dot.name)?;
        act(&node, &dot.name).await
    }
}

async fn exists(node: &NodeClient, dot: &DotName) -> Result<bool> {
    Ok(node.dots().await?.iter().any(|known| known.name == *dot))
}

fn no_current_dot(none_at_all: bool) -> CliError {
    let error = CliError::failed(
        "No current dot is selected. List them with 'dm list' and select one with 'dm switch'.",
    );
    if none_at_all {
        error.hint("There are no dots yet: make one with 'dm init', get one with 'dm clone', or start an app whose volumes use the driver 'dm'.")
    } else {
        error
    }
}

fn expand_home(path: PathBuf, home: Option<&Path>) -> PathBuf {
    match (path.strip_prefix("~"), home) {
        (Ok(rest), Some(home)) => home.join(rest),
        _ => path,
    }
}
