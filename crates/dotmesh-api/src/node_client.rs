//! The typed client of a node, over its unix socket.

use std::path::Path;

use bytes::{Bytes, BytesMut};
use dotmesh_model::{BranchName, DotName};
use futures::{Stream, StreamExt as _};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::client::{self, ClientError};
use crate::node::{
    ApplyStash, ArchiveQuery, BranchRemoved, Checkout, Checkup, Committed, ComposeDots,
    ContentQuery, CreateCommit, CreateDot, Current, DeleteBranch, DeleteFork, DeleteTag, Diff,
    DotDetail, DotStatus, DotSummary, DropStash, Export, ExportEvent, Fetch, Fork, Fsck, FsckEvent,
    Import, ImportEvent, Log, LogQuery, Lookalike, MakeFork, MakeStash, MakeTag, MountVolume,
    MountedVolume, NodeVersion, OPERATION_HEADER, Operations, RenameBranch, RenameDot, Report,
    Reset, RestorePaths, RunningOperation, Source, Stash, StopFork, SwitchEvent, Tag, Transfer,
    TransferEvent, Undo, UnmountVolume,
};

mod rows;

/// The kinds of transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the node to the hub.
    Push,
    /// From the hub to an existing dot of the node.
    Pull,
    /// From the hub to an existing dot of the node, whose branches stay as they are.
    Fetch,
    /// From the hub to the node, whether the node has the dot or not.
    Clone,
}

impl Direction {
    /// The last segment of the route.
    pub fn route(self) -> &'static str {
        match self {
            Self::Push => "push",
            Self::Pull => "pull",
            Self::Fetch => "fetch-branches",
            Self::Clone => "clone",
        }
    }
}

/// An operation that runs on a node.
#[derive(Debug)]
pub struct Running<S> {
    /// Its id, to attach to it again. Earlier daemons do not send it.
    pub id: Option<String>,
    /// Its events.
    pub events: S,
}

/// A client of the daemon at a socket.
#[derive(Debug, Clone)]
pub struct NodeClient {
    http: reqwest::Client,
    shown: String,
    observer: Option<fn(&str)>,
    branch: Option<BranchName>,
}

impl NodeClient {
    /// Makes a client, without connecting yet.
    pub fn new(socket: &Path) -> Result<Self, ClientError> {
        // A socket needs no TLS. Reading the system's certificates takes time, and fails where there are none.
        let http = client::builder()
            .unix_socket(socket)
            .tls_certs_only([])
            .build()
            .map_err(|source| client::unreachable(&socket.display().to_string(), source))?;
        Ok(Self {
            http,
            shown: socket.display().to_string(),
            observer: None,
            branch: None,
        })
    }

    /// Names the node in errors otherwise than by the socket.
    #[must_use]
    pub fn shown_as(self, shown: String) -> Self {
        Self { shown, ..self }
    }

    /// Calls `observer` with every request before it is sent, in a form such as `POST /v1/dots`.
    #[must_use]
    pub fn observed_by(self, observer: fn(&str)) -> Self {
        Self {
            observer: Some(observer),
            ..self
        }
    }

    /// Makes requests about a dot be about this branch of it, instead of the one that is checked out.
    #[must_use]
    pub fn seen_from(self, branch: BranchName) -> Self {
        Self {
            branch: Some(branch),
            ..self
        }
    }

    fn server(&self) -> String {
        format!("the Dotmesh node at {}", self.shown)
    }

    fn request(&self, method: reqwest::Method, path: &str) -> reqwest::RequestBuilder {
        if let Some(observer) = self.observer {
            observer(&format!("{method} /v1/{path}"));
        }
        let request = self.http.request(method, format!("http://node/v1/{path}"));
        match &self.branch {
            Some(branch) if path.starts_with("dots/") => {
                request.query(&[("branch", branch.as_str())])
            }
            _ => request,
        }
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        client::json(&self.server(), self.request(reqwest::Method::GET, path)).await
    }

    async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, ClientError> {
        let request = self.request(reqwest::Method::POST, path).json(body);
        client::json(&self.server(), request).await
    }

    /// The daemon's version.
    pub async fn version(&self) -> Result<NodeVersion, ClientError> {
        self.get("version").await
    }

    /// All dots, sorted by their displayed name.
    pub async fn dots(&self) -> Result<Vec<DotSummary>, ClientError> {
        self.get("dots").await
    }

    /// Tasks that the daemon could not do by itself, as sentences.
    pub async fn problems(&self) -> Result<Vec<String>, ClientError> {
        self.get("problems").await
    }

    /// The node's look at itself, for `dm doctor`.
    pub async fn checkup(&self, checkup: &Checkup) -> Result<Report, ClientError> {
        self.post("checkup", checkup).await
    }

    /// Checks all that the node keeps, and yields events. Dropping the stream ends the check.
    pub async fn fsck(
        &self,
        fsck: &Fsck,
    ) -> Result<impl Stream<Item = Result<FsckEvent, ClientError>> + use<>, ClientError> {
        self.events("fsck", fsck).await
    }

    /// Empty dots with almost the names of cloned ones.
    pub async fn lookalikes(&self) -> Result<Vec<Lookalike>, ClientError> {
        self.get("lookalikes").await
    }

    /// The current branch of a dot, its changes, and the containers that use it.
    pub async fn status(&self, dot: &DotName) -> Result<DotStatus, ClientError> {
        self.get(&format!("dots/{}/status", dot.full())).await
    }

    /// The differences between two states of a dot. `query` is described at [`Diff`].
    pub async fn diff(&self, dot: &DotName, query: &[(&str, String)]) -> Result<Diff, ClientError> {
        let route = format!("dots/{}/diff", dot.full());
        let request = self.request(reqwest::Method::GET, &route).query(query);
        client::json(&self.server(), request).await
    }

    /// Deletes a branch.
    pub async fn delete_branch(
        &self,
        dot: &DotName,
        delete: &DeleteBranch,
    ) -> Result<BranchRemoved, ClientError> {
        let route = format!("dots/{}/branches/delete", dot.full());
        self.post(&route, delete).await
    }

    /// Renames a dot.
    pub async fn rename_dot(&self, dot: &DotName, rename: &RenameDot) -> Result<(), ClientError> {
        let route = format!("dots/{}/rename", dot.full());
        let request = self.request(reqwest::Method::POST, &route).json(rename);
        client::send(&self.server(), request).await.map(drop)
    }

    /// Renames a branch.
    pub async fn rename_branch(
        &self,
        dot: &DotName,
        rename: &RenameBranch,
    ) -> Result<(), ClientError> {
        let route = format!("dots/{}/branches/rename", dot.full());
        let request = self.request(reqwest::Method::POST, &route).json(rename);
        client::send(&self.server(), request).await.map(drop)
    }

    /// The tags of a dot, sorted by name.
    pub async fn tags(&self, dot: &DotName) -> Result<Vec<Tag>, ClientError> {
        self.get(&format!("dots/{}/tags", dot.full())).await
    }

    /// Makes a tag.
    pub async fn make_tag(&self, dot: &DotName, tag: &MakeTag) -> Result<Tag, ClientError> {
        self.post(&format!("dots/{}/tags", dot.full()), tag).await
    }

    /// Deletes a tag.
    pub async fn delete_tag(&self, dot: &DotName, tag: &DeleteTag) -> Result<Tag, ClientError> {
        self.post(&format!("dots/{}/tags/delete", dot.full()), tag)
            .await
    }

    /// The stashes of a dot, newest first.
    pub async fn stashes(&self, dot: &DotName) -> Result<Vec<Stash>, ClientError> {
        self.get(&format!("dots/{}/stashes", dot.full())).await
    }

    /// Stashes the uncommitted changes of the current branch. Yields events as [`Self::checkout`] does.
    pub async fn make_stash(
        &self,
        dot: &DotName,
        stash: &MakeStash,
    ) -> Result<impl Stream<Item = Result<SwitchEvent, ClientError>> + use<>, ClientError> {
        self.events(&format!("dots/{}/stashes", dot.full()), stash)
            .await
    }

    /// Applies the changes of a stash. Yields events as [`Self::checkout`] does.
    pub async fn apply_stash(
        &self,
        dot: &DotName,
        apply: &ApplyStash,
    ) -> Result<impl Stream<Item = Result<SwitchEvent, ClientError>> + use<>, ClientError> {
        self.events(&format!("dots/{}/stashes/apply", dot.full()), apply)
            .await
    }

    /// Drops a stash.
    pub async fn drop_stash(&self, dot: &DotName, stash: &DropStash) -> Result<Stash, ClientError> {
        self.post(&format!("dots/{}/stashes/drop", dot.full()), stash)
            .await
    }

    /// Restores files and folders of a commit. Yields events as [`Self::checkout`] does.
    pub async fn restore(
        &self,
        dot: &DotName,
        restore: &RestorePaths,
    ) -> Result<impl Stream<Item = Result<SwitchEvent, ClientError>> + use<>, ClientError> {
        self.events(&format!("dots/{}/restore", dot.full()), restore)
            .await
    }

    /// An archive of a file or a folder, as a stream.
    pub async fn content(
        &self,
        dot: &DotName,
        query: &ContentQuery,
    ) -> Result<impl Stream<Item = Result<Bytes, ClientError>> + use<>, ClientError> {
        let server = self.server();
        let route = format!("dots/{}/content", dot.full());
        let request = self.request(reqwest::Method::GET, &route).query(query);
        let response = client::send(&server, request).await?;
        let pieces = response.bytes_stream();
        Ok(pieces.map(move |piece| piece.map_err(|error| client::unreachable(&server, error))))
    }

    /// Makes subdots of data from elsewhere. `archives` yields the bytes after the request's first line, and is not asked for
    /// them before the response has begun. Dropping the stream of events cancels the import.
    pub async fn import<S: Stream<Item = Bytes> + Send + Sync + 'static>(
        &self,
        dot: &DotName,
        import: &Import,
        archives: S,
    ) -> Result<impl Stream<Item = Result<ImportEvent, ClientError>> + use<S>, ClientError> {
        let mut line = serde_json::to_vec(import).unwrap_or_default();
        line.push(b'\n');
        let (begin, begun) = futures::channel::oneshot::channel::<()>();
        let waiting = futures::stream::once(begun).filter_map(async |_| None);
        let parts = futures::stream::once(std::future::ready(Bytes::from(line)));
        let parts = parts.chain(waiting).chain(archives);
        let body = reqwest::Body::wrap_stream(parts.map(Ok::<_, std::convert::Infallible>));
        let route = format!("dots/{}/imports", dot.full());
        let request = self.request(reqwest::Method::POST, &route).body(body);
        let events = self.events_of(request).await?;
        let _ = begin.send(());
        Ok(events)
    }

    /// An archive of a commit's subdots, as a stream.
    pub async fn archive(
        &self,
        dot: &DotName,
        query: &ArchiveQuery,
    ) -> Result<impl Stream<Item = Result<Bytes, ClientError>> + use<>, ClientError> {
        let server = self.server();
        let route = format!("dots/{}/archive", dot.full());
        let request = self.request(reqwest::Method::GET, &route).query(query);
        let response = client::send(&server, request).await?;
        let pieces = response.bytes_stream();
        Ok(pieces.map(move |piece| piece.map_err(|error| client::unreachable(&server, error))))
    }

    /// Copies a subdot of a commit into a local Docker volume. Dropping the stream of events cancels the export.
    pub async fn export(
        &self,
        dot: &DotName,
        export: &Export,
    ) -> Result<impl Stream<Item = Result<ExportEvent, ClientError>> + use<>, ClientError> {
        self.events(&format!("dots/{}/exports", dot.full()), export)
            .await
    }

    /// The dots of the Compose project in a folder, or in its nearest parent with a project, and the forks that run from
    /// there. With `only_forks`, nothing but the forks.
    pub async fn compose_dots(
        &self,
        folder: &Path,
        only_forks: bool,
    ) -> Result<ComposeDots, ClientError> {
        let request = self.request(reqwest::Method::GET, "compose");
        let request = request.query(&[("folder", folder)]);
        let request = request.query(&[("only_forks", only_forks)]);
        client::json(&self.server(), request).await
    }

    /// The forks of all dots.
    pub async fn forks(&self) -> Result<Vec<Fork>, ClientError> {
        self.get("forks").await
    }

    /// One fork, with its configuration.
    pub async fn fork(&self, dot: &DotName, branch: &BranchName) -> Result<Fork, ClientError> {
        let route = format!("dots/{}/forks/one", dot.full());
        let request = self.request(reqwest::Method::GET, &route);
        let request = request.query(&[("fork", branch.as_str())]);
        client::json(&self.server(), request).await
    }

    /// Makes a fork, or updates it.
    pub async fn make_fork(&self, dot: &DotName, fork: &MakeFork) -> Result<Fork, ClientError> {
        self.post(&format!("dots/{}/forks", dot.full()), fork).await
    }

    /// Stops the containers of a fork.
    pub async fn stop_fork(&self, dot: &DotName, fork: &StopFork) -> Result<Fork, ClientError> {
        self.post(&format!("dots/{}/forks/stop", dot.full()), fork)
            .await
    }

    /// Forgets a fork whose containers were removed.
    pub async fn delete_fork(&self, dot: &DotName, fork: &DeleteFork) -> Result<(), ClientError> {
        let route = format!("dots/{}/forks/delete", dot.full());
        let request = self.request(reqwest::Method::POST, &route).json(fork);
        client::send(&self.server(), request).await.map(drop)
    }

    /// Creates an empty dot.
    pub async fn create_dot(&self, name: &DotName) -> Result<DotDetail, ClientError> {
        self.post("dots", &CreateDot { name: name.clone() }).await
    }

    /// One dot.
    pub async fn dot(&self, name: &DotName) -> Result<DotDetail, ClientError> {
        self.get(&format!("dots/{}", name.full())).await
    }

    /// Deletes a dot with all its branches and commits.
    pub async fn delete_dot(&self, name: &DotName) -> Result<(), ClientError> {
        let request = self.request(reqwest::Method::DELETE, &format!("dots/{}", name.full()));
        client::send(&self.server(), request).await.map(drop)
    }

    /// The commits of a dot that match a query, newest first.
    pub async fn log(&self, dot: &DotName, query: &LogQuery) -> Result<Log, ClientError> {
        let route = format!("dots/{}/commits", dot.full());
        let request = self.request(reqwest::Method::GET, &route).query(query);
        client::json(&self.server(), request).await
    }

    /// Makes a commit of the current branch.
    pub async fn commit(
        &self,
        dot: &DotName,
        commit: &CreateCommit,
    ) -> Result<Committed, ClientError> {
        self.post(&format!("dots/{}/commits", dot.full()), commit)
            .await
    }

    /// The current branch and its head, even during a switch.
    pub async fn current(&self, dot: &DotName) -> Result<Current, ClientError> {
        self.get(&format!("dots/{}/current", dot.full())).await
    }

    /// Switches to a branch, and yields the events. The switch continues if the stream is dropped.
    pub async fn checkout(
        &self,
        dot: &DotName,
        checkout: &Checkout,
    ) -> Result<impl Stream<Item = Result<SwitchEvent, ClientError>> + use<>, ClientError> {
        self.events(&format!("dots/{}/checkout", dot.full()), checkout)
            .await
    }

    /// Resets the current branch to a commit. Yields events as [`Self::checkout`] does.
    pub async fn reset(
        &self,
        dot: &DotName,
        reset: &Reset,
    ) -> Result<impl Stream<Item = Result<SwitchEvent, ClientError>> + use<>, ClientError> {
        self.events(&format!("dots/{}/reset", dot.full()), reset)
            .await
    }

    /// The operations of a dot, and how long they can be undone.
    pub async fn operations(&self, dot: &DotName) -> Result<Operations, ClientError> {
        self.get(&format!("dots/{}/operations", dot.full())).await
    }

    /// Undoes the last operation. Yields events as [`Self::checkout`] does.
    pub async fn undo(
        &self,
        dot: &DotName,
        undo: &Undo,
    ) -> Result<impl Stream<Item = Result<SwitchEvent, ClientError>> + use<>, ClientError> {
        self.events(&format!("dots/{}/undo", dot.full()), undo)
            .await
    }

    /// Redoes the operation that was undone last. Yields events as [`Self::checkout`] does.
    pub async fn redo(
        &self,
        dot: &DotName,
        redo: &Undo,
    ) -> Result<impl Stream<Item = Result<SwitchEvent, ClientError>> + use<>, ClientError> {
        self.events(&format!("dots/{}/redo", dot.full()), redo)
            .await
    }

    /// Mounts the folder of a volume.
    pub async fn mount(&self, mount: &MountVolume) -> Result<MountedVolume, ClientError> {
        self.post("mounts", mount).await
    }

    /// Unmounts it.
    pub async fn unmount(&self, unmount: &UnmountVolume) -> Result<(), ClientError> {
        let request = self
            .request(reqwest::Method::POST, "unmounts")
            .json(unmount);
        client::send(&self.server(), request).await.map(drop)
    }

    /// Starts a transfer, and yields its events. It goes on if the stream is dropped: [`Self::stop`] ends it.
    pub async fn transfer(
        &self,
        direction: Direction,
        dot: &DotName,
        transfer: &Transfer,
    ) -> Result<Running<impl Stream<Item = Result<TransferEvent, ClientError>> + use<>>, ClientError>
    {
        let path = format!("dots/{}/{}", dot.full(), direction.route());
        self.running(&path, transfer).await
    }

    /// The long operations that run, and those that ended a short time ago.
    pub async fn running_operations(&self) -> Result<Vec<RunningOperation>, ClientError> {
        self.get("operations").await
    }

    /// Attaches to a transfer that runs, and yields its newest event and all that come.
    pub async fn attach(
        &self,
        id: &str,
    ) -> Result<impl Stream<Item = Result<TransferEvent, ClientError>> + use<>, ClientError> {
        let request = self.request(reqwest::Method::GET, &format!("operations/{id}/events"));
        Ok(self.lines(request).await?.events)
    }

    /// Stops a transfer that runs. What was transferred stays for the next one.
    pub async fn stop(&self, id: &str) -> Result<(), ClientError> {
        let request = self.request(reqwest::Method::DELETE, &format!("operations/{id}"));
        client::send(&self.server(), request).await.map(drop)
    }

    /// Forgets which dot has a name on a hub. The next transfer takes the dot that has the name then.
    pub async fn forget(&self, dot: &DotName, there: &Source) -> Result<(), ClientError> {
        let path = format!("dots/{}/forget", dot.full());
        let request = self.request(reqwest::Method::POST, &path).json(there);
        client::send(&self.server(), request).await.map(drop)
    }

    /// Fetches the data of commits whose records are here, and yields the events as [`Self::transfer`] does.
    pub async fn fetch(
        &self,
        dot: &DotName,
        fetch: &Fetch,
    ) -> Result<Running<impl Stream<Item = Result<TransferEvent, ClientError>> + use<>>, ClientError>
    {
        let fetch = Fetch {
            branch: self.branch.clone(),
            ..fetch.clone()
        };
        self.running(&format!("dots/{}/fetch", dot.full()), &fetch)
            .await
    }

    async fn events<T: Serialize, E: DeserializeOwned>(
        &self,
        path: &str,
        body: &T,
    ) -> Result<impl Stream<Item = Result<E, ClientError>> + use<T, E>, ClientError> {
        Ok(self.running(path, body).await?.events)
    }

    async fn running<T: Serialize, E: DeserializeOwned>(
        &self,
        path: &str,
        body: &T,
    ) -> Result<Running<impl Stream<Item = Result<E, ClientError>> + use<T, E>>, ClientError> {
        let request = self.request(reqwest::Method::POST, path).json(body);
        self.lines(request).await
    }

    async fn events_of<E: DeserializeOwned>(
        &self,
        request: reqwest::RequestBuilder,
    ) -> Result<impl Stream<Item = Result<E, ClientError>> + use<E>, ClientError> {
        Ok(self.lines(request).await?.events)
    }

    async fn lines<E: DeserializeOwned>(
        &self,
        request: reqwest::RequestBuilder,
    ) -> Result<Running<impl Stream<Item = Result<E, ClientError>> + use<E>>, ClientError> {
        let server = self.server();
        let response = client::send(&server, request).await?;
        let id = response.headers().get(OPERATION_HEADER);
        let id = id.and_then(|id| id.to_str().ok()).map(str::to_owned);
        let status = response.status().as_u16();
        let body = response.bytes_stream();
        let lines =
            futures::stream::unfold((body, BytesMut::new()), move |(mut body, mut buffer)| {
                let server = server.clone();
                async move {
                    loop {
                        if let Some(end) = buffer.iter().position(|byte| *byte == b'\n') {
                            let line = buffer.split_to(end + 1);
                            let event = serde_json::from_slice(&line)
                                .map_err(|_| ClientError::NotDotmesh { server, status });
                            return Some((event, (body, buffer)));
                        }
                        match body.next().await? {
                            Ok(bytes) => buffer.extend_from_slice(&bytes),
                            Err(source) => {
                                let error = client::unreachable(&server, source);
                                return Some((Err(error), (body, BytesMut::new())));
                            }
                        }
                    }
                }
            });
        Ok(Running { id, events: lines })
    }
}
