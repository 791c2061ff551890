//! The command line: `dothub serve`, `dothub user …`, `dothub collaborator …`.

mod collaborator;
mod error;
mod serve;
mod user;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use error::CliError;

use crate::data_dir::DataDir;
use crate::database::Database;

/// The hub: where teams share the states of their apps
#[derive(Debug, Parser)]
#[command(
    name = "dothub",
    version,
    after_help = "Exit codes: 0 done, 1 refused or not found, 2 wrong usage, 3 the hub's data cannot be used"
)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::Args),
    /// Manage accounts; works while the hub is serving
    #[command(subcommand)]
    User(user::Command),
    /// Manage who may read or write whose dot; works while the hub is serving
    #[command(subcommand)]
    Collaborator(collaborator::Command),
}

/// Where the hub keeps everything.
#[derive(Debug, clap::Args)]
struct Data {
    /// The folder with the hub's data; made if there is none
    #[arg(
        long,
        value_name = "DIR",
        env = "DOTHUB_DATA",
        required_unless_present = "database_url"
    )]
    data: Option<PathBuf>,
    /// A PostgreSQL database instead of the one in the folder: postgres://USER:PASSWORD@HOST/DATABASE
    ///
    /// It has to exist; its tables are made. The password is better given by the variable or by PGPASSWORD, since
    /// other users of the machine can see arguments. `?sslmode=verify-full` asks for TLS with a checked name,
    /// `&sslrootcert=FILE` names an authority besides the system's.
    #[arg(
        long,
        value_name = "URL",
        env = "DOTHUB_DATABASE_URL",
        hide_env_values = true
    )]
    database_url: Option<String>,
}

impl Data {
    fn folder(&self) -> Result<DataDir, CliError> {
        let folder = self.data.as_ref().ok_or(CliError::NoFolder)?;
        Ok(DataDir::open(folder)?)
    }

    /// Opens the database. A server may have it open at the same time.
    async fn database(&self) -> Result<Database, CliError> {
        match &self.database_url {
            Some(url) => Database::connect(url)
                .await
                .map_err(|source| CliError::connect(url, source)),
            None => Ok(self.folder()?.database().await?),
        }
    }
}

/// Runs the program.
pub fn run() -> ExitCode {
    let args = Args::parse();
    match execute(args.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => error.report(),
    }
}

/// Threads for what blocks: files, and packs that are verified. Many would not be faster, and each keeps
/// memory of its own.
const BLOCKING_THREADS: usize = 6;

fn execute(command: Command) -> Result<(), CliError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .max_blocking_threads(BLOCKING_THREADS)
        .enable_all()
        .build()
        .map_err(CliError::runtime)?;
    runtime.block_on(async {
        match command {
            Command::Serve(args) => serve::run(args).await,
            Command::User(command) => user::run(command).await,
            Command::Collaborator(command) => collaborator::run(command).await,
        }
    })
}

/// The one place that writes to standard output.
fn print(line: impl std::fmt::Display) -> Result<(), CliError> {
    use std::io::Write as _;
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")
        .and_then(|()| out.flush())
        .map_err(CliError::Output)
}
