//! Rows of databases: `dm rows`, `dm sql` and `dm diff --rows`. Each database is opened by a throwaway container, or a helper
//! process, on a writable copy that is thrown away. No state changes, and nothing is written into the log of operations.

use std::fs::File;
use std::sync::Arc;

use axum::body::Bytes;
use dotmesh_api::{ErrorBody, ErrorCode};
use dotmesh_model::{CommitId, CommitRecord};
use dotmesh_rows::model::{DatabaseKind, DatabasePath, Store};
use dotmesh_rows::{Adapter, RowsError, detect};
use serde::Serialize;
use tokio::sync::{Semaphore, mpsc};

use super::revision::Revisions;
use super::{blocking, require_here};
use crate::engine::throwaway::{Piece, Typed};
use crate::error::NodeError;
use crate::events::line;
use crate::node::Node;
use crate::view::View;

mod cache;
mod container;
pub(crate) mod diff;
pub(crate) mod helper;
mod image;
pub(crate) mod list;
mod quick;
pub(crate) mod session;
pub(crate) mod sql;
pub(crate) mod summary;

/// What throwaway containers may take of the machine.
#[derive(Clone)]
pub(crate) struct Rooms {
    /// How many run at once.
    free: Arc<Semaphore>,
    /// The share of the CPU that each gets if others want it, too. Docker gives 1,024 by default.
    cpu_shares: Option<i64>,
}

impl Rooms {
    /// For what a user waits for.
    pub(crate) fn of_users() -> Self {
        Self {
            free: Arc::new(Semaphore::new(4)),
            cpu_shares: None,
        }
    }

    /// For what nobody waits for: one comparison, which yields the CPU.
    pub(crate) fn in_background() -> Self {
        Self {
            free: Arc::new(Semaphore::new(2)),
            cpu_shares: Some(256),
        }
    }
}

/// The bytes of a value that are kept by default, and the most that may be asked for.
const LONGEST: u64 = 64 << 10;
const MOST_LONGEST: u64 = 16 << 20;

/// A state whose databases are opened.
pub(crate) struct State {
    copy: Arc<dotmesh_pool::Copy>,
    record: Option<CommitRecord>,
    stores: Vec<Store>,
    /// For messages.
    name: String,
}

impl State {
    /// The names of its subdots.
    fn subdots(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.copy.data()).into_iter().flatten();
        let folders = entries
            .filter_map(Result::ok)
            .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        let names = folders.filter_map(|entry| entry.file_name().into_string().ok());
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    }

    /// Copies a state, and finds its databases. Only those of the target's subdot are looked for.
    async fn open(
        node: &Node,
        view: &View,
        commit: Option<CommitId>,
        target: Option<&DatabasePath>,
    ) -> Result<Self, NodeError> {
        let (copy, name) = match commit {
            Some(commit) if commit == CommitId::ROOT => {
                let none = ErrorBody::new(
                    ErrorCode::NotFound,
                    "there is no commit yet, so there is nothing in it",
                );
                return Err(none.hint("Make one with 'dm commit'.").into());
            }
            Some(commit) => {
                require_here(node, view, commit).await?;
                let copy = node.pool.copy_commit(&view.name, commit).await?;
                (copy, format!("commit {}", commit.short()))
            }
            None => {
                let copy = node.pool.copy_branch(&view.name, &view.here).await?;
                (copy, format!("branch {}", view.here))
            }
        };
        // The working copy has the containers of its last commit.
        let described = commit.unwrap_or(view.head()?);
        let record = match described == CommitId::ROOT {
            true => None,
            false => node.registry.decoded(&view.id, described).await.ok(),
        };
        let data = copy.data();
        let only = target.map(|target| target.subdot.clone());
        let found = blocking(move || find_stores(&data, only.as_deref())).await;
        let stores = found.map_err(|error| {
            ErrorBody::new(
                ErrorCode::Internal,
                format!("cannot look for databases in {name}: {error}"),
            )
        })?;
        Ok(Self {
            copy: Arc::new(copy),
            record,
            stores,
            name,
        })
    }

    /// Opens a store's database.
    async fn adapter(&self, node: &Node, store: &Store) -> Result<Opened, NodeError> {
        let copy = Arc::clone(&self.copy);
        match store.kind {
            DatabaseKind::Sqlite => helper::open(copy, store).await,
            _ => container::open(node, copy, self.record.as_ref(), store, &self.name).await,
        }
    }
}

/// A database that can be asked.
pub(crate) struct Opened {
    adapter: Arc<dyn Adapter>,
    /// Where its client runs. A container is removed once nobody asks any more.
    place: Place,
}

/// Where the client of a database runs.
enum Place {
    Container(Box<container::Throwaway>),
    Helper(helper::Helper),
}

impl Opened {
    /// What ends its programs.
    fn ender(&self) -> Option<container::Ender> {
        match &self.place {
            Place::Container(throwaway) => Some(throwaway.ender()),
            Place::Helper(_) => None,
        }
    }

    /// Whether a session can have a terminal of its own. A helper has none.
    fn has_terminal(&self) -> bool {
        matches!(self.place, Place::Container(_))
    }

    /// Runs a client that reads while it runs. An empty piece is the end of its output.
    fn session(
        &self,
        run: dotmesh_rows::Run,
        typed: mpsc::Receiver<Typed>,
        terminal: bool,
    ) -> mpsc::Receiver<Piece> {
        match &self.place {
            Place::Container(throwaway) => throwaway.session(run, typed, terminal),
            Place::Helper(helper) => helper.session(&run, typed),
        }
    }
}

/// Waits for work of another thread. If the client leaves, the containers that the work waits for are ended.
async fn unless_left<T>(
    lines: &Lines,
    enders: Vec<container::Ender>,
    work: impl Future<Output = T>,
) -> T {
    let mut work = std::pin::pin!(work);
    tokio::select! {
        done = &mut work => return done,
        () = lines.sender.closed() => {}
    }
    for ender in enders {
        ender.end().await;
    }
    work.await
}

fn find_stores(data: &std::path::Path, only: Option<&str>) -> std::io::Result<Vec<Store>> {
    let top = File::open(data)?;
    let mut stores = Vec::new();
    for entry in std::fs::read_dir(data)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if !entry.file_type()?.is_dir() || only.is_some_and(|only| only != name) {
            continue;
        }
        let folder = detect::open_below(&top, &name, rustix::fs::OFlags::DIRECTORY)?;
        stores.extend(detect::detect(&folder, &name)?.stores);
    }
    stores.sort();
    Ok(stores)
}

/// The commit that a revision names.
async fn find(node: &Node, view: &View, revision: &str) -> Result<CommitId, NodeError> {
    let commit = Revisions::of(node, view).await?.find_text(revision)?;
    require_here(node, view, commit).await?;
    Ok(commit)
}

fn parse(target: Option<&str>) -> Result<Option<DatabasePath>, NodeError> {
    let Some(text) = target else {
        return Ok(None);
    };
    let parsed = DatabasePath::parse(text.trim_matches('/')).ok_or_else(|| {
        ErrorBody::new(ErrorCode::Invalid, format!("'{text}' names no subdot"))
            .hint("Write SUBDOT, SUBDOT/DATABASE or SUBDOT/DATABASE/TABLE.")
    });
    Ok(Some(parsed?))
}

fn longest(asked: Option<u64>) -> usize {
    let longest = asked.unwrap_or(LONGEST).clamp(64, MOST_LONGEST);
    usize::try_from(longest).unwrap_or(usize::MAX)
}

/// What a target names in a store, if it is about this store: a database, and a table.
type Within = (Option<String>, Option<String>);

/// The stores of a target, with what it names in each.
fn chosen<'a>(
    stores: impl IntoIterator<Item = &'a Store>,
    target: Option<&DatabasePath>,
) -> Vec<(Store, Within)> {
    let within = |store: &Store| match target {
        None => Some((None, None)),
        Some(target) => target.within(store),
    };
    stores
        .into_iter()
        .filter_map(|store| Some((store.clone(), within(store)?)))
        .collect()
}

/// There is no database where the user looks for one.
fn no_store(target: Option<&DatabasePath>, stores: &[&Store], state: &State) -> NodeError {
    let subdots = state.subdots();
    if let Some(target) = target
        && !subdots.contains(&target.subdot)
        && !subdots.is_empty()
    {
        let message = format!("{} has no subdot {}", state.name, target.subdot);
        let error = ErrorBody::new(ErrorCode::NotFound, message);
        return error
            .hint(format!("It has these: {}.", subdots.join(", ")))
            .into();
    }
    let state = &state.name;
    let place = match target {
        None => String::new(),
        Some(target) if target.below.is_empty() => format!(" in subdot {}", target.subdot),
        Some(target) => format!(" at {}/{}", target.subdot, target.below),
    };
    let kinds = "Dotmesh reads PostgreSQL, MariaDB, MySQL, Redis and SQLite";
    let error = ErrorBody::new(
        ErrorCode::NotFound,
        format!("{state} has no database{place}: {kinds}"),
    );
    let hint = match stores {
        [] => "'dm diff' compares files, and 'dm cp' copies them.".to_owned(),
        stores => {
            let stores: Vec<String> = stores.iter().map(ToString::to_string).collect();
            format!("There is {}.", stores.join(", "))
        }
    };
    error.hint(hint).into()
}

/// An error of the rows as one of the API.
fn told(what: &str, error: &RowsError) -> ErrorBody {
    let code = match error {
        RowsError::Missing(_) => ErrorCode::NotFound,
        RowsError::Cancelled => ErrorCode::Cancelled,
        RowsError::Failed { .. } => ErrorCode::Invalid,
        _ => ErrorCode::Internal,
    };
    ErrorBody::new(code, format!("{what}: {error}"))
}

/// Lines for a client, from a thread of its own.
#[derive(Clone)]
struct Lines {
    sender: mpsc::Sender<Bytes>,
}

impl Lines {
    /// Sends an event. Fails once the client has left.
    fn send(&self, event: &impl Serialize) -> Result<(), RowsError> {
        self.send_line(line(event))
    }

    fn send_line(&self, line: Bytes) -> Result<(), RowsError> {
        self.sender
            .blocking_send(line)
            .map_err(|_| RowsError::Cancelled)
    }

    async fn tell(&self, event: &impl Serialize) {
        let _ = self.sender.send(line(event)).await;
    }
}
