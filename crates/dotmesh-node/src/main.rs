//! `dotmeshd`'s entry: reads the command line, starts logging, runs the daemon.

use std::io::IsTerminal as _;

use clap::Parser as _;
use dotmesh_node::config::Config;
use dotmesh_node::memory;
use rustix::fs::Mode;

fn main() -> anyhow::Result<()> {
    memory::share_arenas();
    // The daemon's files hold every user's data. Code that must let others in sets the mode itself.
    rustix::process::umask(Mode::from_raw_mode(0o077));
    let mut arguments = std::env::args();
    if arguments
        .nth(1)
        .is_some_and(|word| word == dotmesh_node::HELPER)
    {
        return dotmesh_node::help(arguments);
    }
    let config = Config::parse();
    let filter = tracing_subscriber::EnvFilter::try_from_env("DOTMESH_LOG")
        .unwrap_or_else(|_| "info".into());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .init();
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?
        .block_on(dotmesh_node::run(config))
}
