//! What every command needs: the output, the configuration, the node, and the current dot.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, OnceLock, PoisonError};

use dotmesh_api::NodeClient;
use dotmesh_model::DotName;

use crate::cli::Global;
use crate::config::{ConfigFile, CurrentDot, NodeConfig};
use crate::current::{self, By};
use crate::dot_word::{self, DotWord};
use crate::environment::Environment;
use crate::error::{CliError, Code, Result};
use crate::node_address::NodeAddress;
use crate::place;
use crate::tunnel::Tunnel;
use crate::ui::Ui;

/// The context of one run of `dm`.
#[derive(Debug)]
pub struct Context {
    /// Prints all output.
    pub ui: Ui,
    /// The environment variables.
    pub environment: Environment,
    /// The user's configuration.
    pub config: ConfigFile,
    /// The dot that `--dot` or `DOTMESH_DOT` names.
    pub dot: Option<DotWord>,
    /// Whether the command is doing something that it ends itself when it is interrupted.
    pub ends_by_itself: AtomicBool,
    /// What is left if the command is interrupted, and how to go on.
    left: Mutex<Option<String>>,
    /// The way to a node that has no socket here.
    tunnel: OnceLock<Tunnel>,
}

impl Context {
    /// Creates the context. Reads no file and opens no connection yet.
    pub fn new(ui: Ui, environment: Environment, global: Global) -> Result<Self> {
        let path = match global.config {
            Some(path) => expand_home(path, environment.home.as_deref()),
            None => environment.config_file().ok_or_else(|| {
                CliError::usage("HOME is not set, so there is no config file")
                    .hint("Say where it is with --config FILE.")
            })?,
        };
        let dot = global
            .dot
            .or_else(|| environment.dot.as_deref().map(DotWord::new));
        Ok(Self {
            ui,
            environment,
            config: ConfigFile::new(path),
            dot,
            ends_by_itself: AtomicBool::new(false),
            left: Mutex::default(),
            tunnel: OnceLock::new(),
        })
    }

    /// Says what is left if the command is interrupted from now on, and how to go on.
    pub fn leaves(&self, what: impl Into<String>) {
        *self.left.lock().unwrap_or_else(PoisonError::into_inner) = Some(what.into());
    }

    /// What is left after an interruption.
    pub fn left(&self) -> Option<String> {
        let left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        left.clone()
    }

    /// The client for the node's API. With `--verbose` it prints each request.
    pub fn node(&self) -> Result<NodeClient> {
        let address = self.environment.node()?;
        let node = match &address {
            NodeAddress::Socket(socket) => NodeClient::new(socket)?,
            elsewhere => NodeClient::new(&self.tunnel(elsewhere)?)?.shown_as(elsewhere.to_string()),
        };
        Ok(if self.ui.is_verbose() {
            node.observed_by(Ui::trace)
        } else {
            node
        })
    }

    /// The socket that leads to a node elsewhere.
    fn tunnel(&self, address: &NodeAddress) -> Result<PathBuf> {
        if let Some(tunnel) = self.tunnel.get() {
            return Ok(tunnel.socket());
        }
        let tunnel = Tunnel::open(address.clone(), self.environment.image())?;
        Ok(self.tunnel.get_or_init(|| tunnel).socket())
    }

    /// The name of the node in the configuration.
    fn node_name(&self) -> Result<PathBuf> {
        Ok(self.environment.node()?.to_string().into())
    }

    /// The configuration's section for this node.
    pub fn node_config(&self) -> Result<NodeConfig> {
        Ok(self.config.load()?.node(&self.node_name()?))
    }

    /// Updates the configuration's section for this node.
    pub fn update_node_config<T>(&self, change: impl FnOnce(&mut NodeConfig) -> T) -> Result<T> {
        let node = self.node_name()?;
        self.config
            .update(|config| Ok(change(config.node_mut(&node))))
    }

    /// Makes a dot the current one for the place that `dm` runs in, and returns that place. Outside of any place, the choice
    /// applies everywhere.
    pub fn select(&self, dot: &DotName) -> Result<Option<PathBuf>> {
        let here = place::here();
        let Some(place) = here.as_deref().and_then(place::around) else {
            self.select_everywhere(dot)?;
            return Ok(None);
        };
        self.update_node_config(|node| node.choose(place, dot))?;
        Ok(Some(place.to_owned()))
    }

    /// Makes a dot the current one for all places without a choice of their own.
    pub fn select_everywhere(&self, dot: &DotName) -> Result<()> {
        self.update_node_config(|node| node.current_dot = CurrentDot::Selected(dot.clone()))
    }

    /// Acts on the dot that `current::choose` finds. If the user never chose a dot and the node has exactly one, selects that
    /// one and tells the user. A current dot that was deleted is never replaced by another.
    pub async fn on_current_dot<T>(
        &self,
        act: impl AsyncFn(&NodeClient, &DotName) -> Result<T>,
    ) -> Result<T> {
        let mut node = self.node()?;
        let choice = current::choose(self, &node).await?;
        if let Some(branch) = &choice.branch {
            node = node.seen_from(branch.clone());
        }
        if let CurrentDot::Selected(dot) = &choice.dot {
            match act(&node, dot).await {
                // The error may be about something else than the dot, such as a commit.
                Err(error) if error.is_not_found() && !exists(&node, dot).await? => {
                    if choice.by == By::Name {
                        return Err(dot_word::with_near_name(&node, error, dot).await);
                    }
                }
                done => return done,
            }
        }
        let dots: Vec<DotName> = node.dots().await?.into_iter().map(|dot| dot.name).collect();
        match (&choice.dot, dots.as_slice()) {
            (CurrentDot::Unset, [dot]) => {
                self.select(dot)?;
                self.ui
                    .status(&format!("Selected dot '{dot}', the only one here"));
                act(&node, dot).await
            }
            _ => Err(no_current_dot(&choice.dot, &dots)),
        }
    }
}

async fn exists(node: &NodeClient, dot: &DotName) -> Result<bool> {
    Ok(node.dots().await?.iter().any(|known| known.name == *dot))
}

/// The error for a command that needs a current dot when there is none.
pub fn no_current_dot(current: &CurrentDot, dots: &[DotName]) -> CliError {
    let error = CliError::new(
        Code::NoCurrentDot,
        match current {
            CurrentDot::Unset => "No current dot is selected.".to_owned(),
            CurrentDot::Deleted => {
                "No current dot is selected: the previous one was deleted.".to_owned()
            }
            CurrentDot::Selected(dot) => {
                format!("No current dot is selected: '{dot}' does not exist any more.")
            }
        },
    );
    error.hint(match dots {
        [] => "There are no dots yet: make one with 'dm init', get one with 'dm clone', or start an app whose volumes use the driver 'dm'.".to_owned(),
        [dot] => format!("Select the only one with 'dm switch {dot}'."),
        _ => "List them with 'dm list' and select one with 'dm switch DOT'.".to_owned(),
    })
}

fn expand_home(path: PathBuf, home: Option<&Path>) -> PathBuf {
    match (path.strip_prefix("~"), home) {
        (Ok(rest), Some(home)) => home.join(rest),
        _ => path,
    }
}
