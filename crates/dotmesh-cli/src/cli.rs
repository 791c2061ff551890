//! The top level of the command line: the global options, and the text of `dm --help`.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};

use crate::commands::Command;
use crate::dot_word::DotWord;

/// The heading of the options that every command has.
const GLOBAL: &str = "Options of all commands";

/// Shown at the end of `dm --help`.
const AFTER_HELP: &str = "\
Exit codes:
  0    Done
  1    Refused or failed
  2    Wrong usage
  3    The node, the hub or Docker cannot be reached
  130  Interrupted

Environment variables:
  DOTMESH_DOT       The dot that commands use, as with --dot
  DOTMESH_HOST      Where the node is: docker://PLUGIN, ssh://[USER@]HOST[:PORT] or unix:///PATH
  DOTMESH_SOCKET    Where a node of this machine listens (default: /run/dotmesh/api.sock)
  DOTMESH_IMAGE     The image that docker:// runs to reach the node (default: dotmesh/dm)
  DOTMESH_PASSWORD  The API key for 'dm login --key' and 'dm remote add', which then ask for none
  DOTMESH_COMPOSE   The Compose to run (default: that of the app's containers, else docker compose)
  BROWSER           The browser for 'dm open' and 'dm login' (default: the desktop's)
  PAGER             Shows long output on a terminal (default: less). 'cat' means no pager
  NO_COLOR          If it is set, there are no colours
  XDG_CONFIG_HOME   Where the config file is, in the folder dotmesh (default: ~/.config)";

/// Git for the state of a running app
///
/// A dot holds the state of an app: all its databases and files. Commit it, branch it, go back to any commit, and
/// share it with others through a hub, like code.
#[derive(Debug, Parser)]
#[command(name = "dm", version, after_help = AFTER_HELP, disable_help_subcommand = true)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,

    #[command(subcommand)]
    pub command: Command,
}

/// The options of every command.
#[derive(Debug, Default, clap::Args)]
pub struct Global {
    /// Where remotes and the current dot are kept [default: ~/.config/dotmesh/config, or ~/.dotmesh/config if only that exists]
    #[arg(short, long, value_name = "FILE", global = true, help_heading = GLOBAL)]
    pub config: Option<PathBuf>,

    /// Use this dot, or DOT@BRANCH for a branch of it [default: DOTMESH_DOT, or the dot that 'dm switch' chose]
    // The id differs from `dot`, because several commands have an argument with that id.
    #[arg(long = "dot", id = "dot_option", value_name = "DOT", global = true, help_heading = GLOBAL)]
    pub dot: Option<DotWord>,

    /// Print the result as a JSON document, and errors as JSON on stderr. docs/cli-json.md describes both
    #[arg(long, global = true, help_heading = GLOBAL)]
    pub json: bool,

    /// Show no messages but warnings and errors
    #[arg(short, long, global = true, help_heading = GLOBAL)]
    pub quiet: bool,

    /// Answer every question with yes
    #[arg(short, long, global = true, help_heading = GLOBAL)]
    pub yes: bool,

    /// How progress is shown on stderr
    #[arg(long, value_name = "FORM", value_enum, default_value_t, global = true, help_heading = GLOBAL)]
    pub progress: Progress,

    /// Show the requests to the node on standard error
    #[arg(long, global = true, help_heading = GLOBAL)]
    pub verbose: bool,
}

/// How progress is shown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Progress {
    /// As a bar, if stderr is a terminal
    #[default]
    Auto,
    /// Not at all
    None,
    /// As JSON, a line for each event
    Json,
}
