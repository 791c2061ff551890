//! The command line, one file for each command.

mod ambient;
mod backup;
mod check;
mod collaborator;
mod error;
mod gc;
mod repack;
mod restore;
mod serve;
mod user;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use dotmesh_hub_db::{Database, Opening};
use dotmesh_hub_service::data_dir::{DataDir, ServeLock};
use dotmesh_hub_service::store_url;
use dotmesh_store::PackStore;
use error::CliError;
use rustix::fs::Mode;

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
    Backup(backup::Args),
    Restore(restore::Args),
    Gc(gc::Args),
    Repack(repack::Args),
    Check(check::Args),
}

/// Where the hub keeps everything.
#[derive(Debug, clap::Args)]
struct Data {
    /// The folder with the hub's data; only `serve` and `restore` make it
    #[arg(
        long,
        value_name = "DIR",
        env = "DOTHUB_DATA",
        required_unless_present = "database_url"
    )]
    data: Option<PathBuf>,
    /// A PostgreSQL database instead of the one in the folder: postgres://USER:PASSWORD@HOST/DATABASE
    ///
    /// It has to exist; `serve` and `restore` make its tables. The password is better given by the variable or by PGPASSWORD, since
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

/// Where the hub keeps objects.
#[derive(Debug, clap::Args)]
struct Store {
    /// Where objects are kept instead of in the data's folder: file:///FOLDER or s3://BUCKET/PREFIX
    ///
    /// For S3, and what speaks its language, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION and
    /// AWS_ENDPOINT_URL say how it is reached; AWS_ALLOW_HTTP=true allows an endpoint without TLS.
    #[arg(long, value_name = "URL", env = "DOTHUB_STORE_URL")]
    store_url: Option<String>,
}

impl Store {
    fn packs(&self, data: &Data, opening: Opening) -> Result<PackStore, CliError> {
        match &self.store_url {
            Some(url) => Ok(store_url::open(url, std::env::vars())?),
            None => Ok(data.folder(opening)?.packs(opening)?),
        }
    }
}

impl Data {
    fn folder(&self, opening: Opening) -> Result<DataDir, CliError> {
        let folder = self.data.as_ref().ok_or(CliError::NoFolder)?;
        Ok(match opening {
            Opening::Existing => DataDir::existing(folder)?,
            Opening::New | Opening::NewAt(_) => DataDir::make(folder)?,
        })
    }

    /// Opens the database. A server may have it open at the same time.
    async fn database(&self, opening: Opening) -> Result<Database, CliError> {
        match &self.database_url {
            Some(url) => Database::connect(url, opening)
                .await
                .map_err(|source| CliError::connect(url, source)),
            None => Ok(self.folder(opening)?.database(opening).await?),
        }
    }

    /// Takes the place of the one server of the folder, where there is a folder.
    fn lock(&self, store: &Store) -> Result<Option<ServeLock>, CliError> {
        // With database and objects elsewhere, nothing is kept here, and any number of processes may serve.
        if self.database_url.is_some() && store.store_url.is_some() {
            return Ok(None);
        }
        Ok(Some(self.folder(Opening::New)?.lock()?))
    }
}

/// Runs the program.
pub fn run() -> ExitCode {
    // The data folder may be open to others, and so may be the one of a backup. What is in them has everyone's data.
    rustix::process::umask(Mode::from_raw_mode(0o077));
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
            Command::Backup(args) => backup::run(args).await,
            Command::Restore(args) => restore::run(args).await,
            Command::Gc(args) => gc::run(args).await,
            Command::Repack(args) => repack::run(args).await,
            Command::Check(args) => check::run(args).await,
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
