//! A hub in its own place, users, and hand-made commits.

use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use dotmesh_api::hub::{BranchUpdate, FinishUpload, SealedCommit};
use dotmesh_api::{ClientError, ErrorBody, ErrorCode, HubAddress, HubClient};
use dotmesh_hub::{router, server};
use dotmesh_hub_db::users::NewUser;
use dotmesh_hub_model::credentials::ApiKey;
use dotmesh_hub_service::Hub;
use dotmesh_hub_service::data_dir::ServeLock;
use dotmesh_hub_service::settings::Settings;
use dotmesh_model::ambient::Clock;
use dotmesh_model::{BranchName, CommitId, CommitRecord, DotName, ObjectHash};
use dotmesh_store::file_page::FileSpine;
use dotmesh_store::grow::Grower;
use dotmesh_store::{
    Attributes, Entry, EntryName, EntryValue, FileContent, Frame, Inode, InodeKind, Kind, Object,
    PackWriter, ROOT_SEAL, Root, Segment, TreePage, seal,
};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::ambient;
use crate::place::Place;

/// A running hub.
pub(crate) struct TestHub {
    place: Place,
    pub(crate) hub: Hub,
    pub(crate) url: String,
    stop: Option<oneshot::Sender<()>>,
    serving: JoinHandle<()>,
    _lock: Option<ServeLock>,
}

impl TestHub {
    pub(crate) async fn start() -> Self {
        Self::start_in(Place::new().await).await
    }

    /// Starts a hub with other settings.
    pub(crate) async fn start_with(settings: Settings) -> Self {
        Self::start_in_with(Place::new().await, settings, ambient::clock()).await
    }

    pub(crate) async fn start_in(place: Place) -> Self {
        Self::start_in_with(place, Settings::default(), ambient::clock()).await
    }

    /// Starts a hub with another clock.
    pub(crate) async fn start_at(clock: Clock) -> Self {
        Self::start_in_with(Place::new().await, Settings::default(), clock).await
    }

    async fn start_in_with(place: Place, settings: Settings, clock: Clock) -> Self {
        // The crypto provider for all clients of this process.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let lock = place.lock();
        let hub = Hub::new(
            place.database().await,
            place.packs(),
            settings,
            clock,
            ambient::random(),
        );
        let listener = server::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (stop, stopped) = oneshot::channel::<()>();
        let served = hub.clone();
        let serving = tokio::spawn(async move {
            let shutdown = async {
                let _ = stopped.await;
                served.live.close();
            };
            let router = router::router(served.clone());
            server::serve(listener, None, &served, router, shutdown).await;
        });
        Self {
            place,
            hub,
            url,
            stop: Some(stop),
            serving,
            _lock: lock,
        }
    }

    pub(crate) fn place(&self) -> &Place {
        &self.place
    }

    /// Stops the hub, and returns its place.
    pub(crate) async fn stop(mut self) -> Place {
        drop(self.stop.take());
        self.serving.await.unwrap();
        self.hub.database.close().await;
        self.place
    }

    /// A second hub like that of another process, on the same data.
    pub(crate) async fn beside(&self) -> Hub {
        let settings = Settings::clone(&self.hub.settings);
        Hub::new(
            self.place.database().await,
            self.hub.packs.clone(),
            settings,
            self.hub.clock.clone(),
            self.hub.random.clone(),
        )
    }

    /// Makes an account.
    pub(crate) async fn user(&self, name: &str) -> HubClient {
        self.user_with_secret(name).await.0
    }

    /// Makes an account, and returns its key, too.
    pub(crate) async fn user_with_secret(&self, name: &str) -> (HubClient, String) {
        let key = ApiKey::generate(&ambient::random());
        let name = name.parse().unwrap();
        assert!(
            self.hub
                .database
                .add_user(&name, &NewUser::with_key(key.digest()), ambient::now())
                .await
                .unwrap()
        );
        let secret = key.reveal().to_owned();
        (self.client(name.as_str(), &secret), secret)
    }

    pub(crate) fn client(&self, name: &str, secret: &str) -> HubClient {
        let address: HubAddress = self.url.parse().unwrap();
        HubClient::new(address, name.parse().unwrap(), secret.to_owned()).unwrap()
    }
}

pub(crate) fn dot(name: &str) -> DotName {
    name.parse().unwrap()
}

pub(crate) fn branch(name: &str) -> BranchName {
    name.parse().unwrap()
}

/// Returns the body of an expected refusal.
#[track_caller]
pub(crate) fn refused<T: std::fmt::Debug>(
    result: Result<T, ClientError>,
    code: ErrorCode,
) -> ErrorBody {
    match result {
        Err(ClientError::Refused(body) | ClientError::Later { body, .. }) if body.code == code => {
            *body
        }
        other => panic!("expected {code:?}, got {other:?}"),
    }
}

/// The objects of a commit: chunks, then tree pages, and the root last.
#[derive(Debug, Clone)]
pub(crate) struct Files {
    pub(crate) objects: Vec<Object>,
}

impl Files {
    pub(crate) fn root(&self) -> ObjectHash {
        self.objects.last().unwrap().hash()
    }

    pub(crate) fn hashes(&self) -> Vec<ObjectHash> {
        self.objects.iter().map(Object::hash).collect()
    }

    pub(crate) fn chunk(&self) -> &Object {
        self.objects
            .iter()
            .find(|object| object.kind() == Kind::Chunk)
            .unwrap()
    }
}

/// A file of many chunks, with all its objects.
pub(crate) fn large_file(chunks: impl Iterator<Item = Object>) -> (InodeKind, Vec<Object>) {
    let mut spine = Grower::<FileSpine>::default();
    let (mut objects, mut size) = (Vec::new(), 0);
    for chunk in chunks {
        let length = chunk.bytes().len();
        spine.push(Segment::Data {
            hash: chunk.hash(),
            length: length as u32,
        });
        size += length as u64;
        objects.push(chunk);
    }
    let (top, pages) = spine.finish();
    objects.extend(pages);
    let content = FileContent::Page(top);
    (InodeKind::File { size, content }, objects)
}

/// A tree with one folder `data` that has these files.
pub(crate) fn files(files: &[(&str, &[u8])]) -> Files {
    let mut objects = Vec::new();
    let mut entries = Vec::new();
    let mut sorted = files.to_vec();
    sorted.sort();
    for (name, content) in sorted {
        let chunk = Object::new(Kind::Chunk, content.to_vec());
        let content = FileContent::Chunk(chunk.hash());
        let kind = InodeKind::File {
            size: chunk.bytes().len() as u64,
            content,
        };
        entries.push(entry(name, kind));
        objects.push(chunk);
    }
    tree_of(objects, entries)
}

/// A tree with one folder `data` that has these entries, and the objects that they need.
pub(crate) fn tree_of(mut objects: Vec<Object>, entries: Vec<Entry>) -> Files {
    let folder = Object::new(Kind::TreePage, TreePage::Leaf(entries).encode());
    let top = TreePage::Leaf(vec![entry(
        "data",
        InodeKind::Directory {
            tree: folder.hash(),
        },
    )]);
    let top = Object::new(Kind::TreePage, top.encode());
    let root = Root {
        attributes: Attributes::default(),
        tree: top.hash(),
    };
    let root = Object::new(Kind::Root, root.encode());
    objects.extend([folder, top, root]);
    Files { objects }
}

pub(crate) fn entry(name: &str, kind: InodeKind) -> Entry {
    let name = EntryName::new(name.as_bytes()).unwrap();
    Entry {
        name,
        value: EntryValue::Inode(Inode {
            attributes: Attributes::default(),
            kind,
        }),
    }
}

pub(crate) fn pack<'a>(objects: impl IntoIterator<Item = &'a Object>) -> Bytes {
    let mut writer = PackWriter::default();
    for object in objects {
        writer.push(&Frame::encode(object));
    }
    writer.finish()
}

/// A commit, with the data that its child needs.
#[derive(Debug, Clone)]
pub(crate) struct Made {
    pub(crate) id: CommitId,
    pub(crate) sealed: SealedCommit,
}

/// The root commit, from which every dot starts.
pub(crate) fn root_commit() -> Made {
    let sealed = SealedCommit {
        seal: ROOT_SEAL,
        root: ROOT_SEAL,
        record: String::new(),
        left_out: None,
        without_data: false,
    };
    Made {
        id: CommitId::ROOT,
        sealed,
    }
}

pub(crate) fn commit(parent: &Made, files: &Files) -> Made {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let mut id = [0; 16];
    id[..8].copy_from_slice(&NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes());
    let id = CommitId::from_bytes(id);
    Made {
        id,
        sealed: sealed(parent, &commit_record(id, parent.id), files.root()),
    }
}

/// The text of a commit's record.
pub(crate) fn record(id: CommitId, parent: CommitId) -> String {
    String::from_utf8(commit_record(id, parent).encode()).unwrap()
}

fn commit_record(id: CommitId, parent: CommitId) -> CommitRecord {
    CommitRecord {
        version: 1,
        id,
        parent,
        branch: BranchName::master(),
        author: "someone".to_owned(),
        time: "2026-01-31T12:00:00Z".parse().unwrap(),
        message: "a message".to_owned(),
        metadata: Default::default(),
        images: Vec::new(),
        code: None,
        dot: None,
    }
}

pub(crate) fn sealed(parent: &Made, record: &CommitRecord, root: ObjectHash) -> SealedCommit {
    let record = String::from_utf8(record.encode()).unwrap();
    SealedCommit {
        seal: seal(parent.sealed.seal, record.as_bytes(), root),
        root,
        record,
        left_out: None,
        without_data: false,
    }
}

pub(crate) fn update(old: Option<&Made>, new: &Made) -> BranchUpdate {
    BranchUpdate {
        name: BranchName::master(),
        old: old.map(|made| made.id),
        new: new.id,
        stash: None,
        force: false,
    }
}

pub(crate) fn finish(commits: &[&Made], branches: Vec<BranchUpdate>) -> FinishUpload {
    let commits = commits.iter().map(|made| made.sealed.clone()).collect();
    FinishUpload { commits, branches }
}

/// Pushes one commit to master. Like a client, it sends only the objects that the hub lacks.
pub(crate) async fn push(
    client: &HubClient,
    dot: &DotName,
    old: Option<&Made>,
    new: &Made,
    files: &Files,
) -> Result<(), ClientError> {
    let upload = client.begin_upload(dot).await?;
    let missing = client.missing(dot, &upload, &files.hashes()).await?;
    let wanted = files
        .objects
        .iter()
        .filter(|object| missing.contains(&object.hash()));
    client.send_pack(dot, &upload, pack(wanted)).await?;
    client
        .finish_upload(dot, &upload, &finish(&[new], vec![update(old, new)]))
        .await
        .map(drop)
}

/// Makes and pushes a first commit.
pub(crate) async fn push_first(client: &HubClient, dot: &DotName, content: &[u8]) -> (Made, Files) {
    let files = files(&[("a", content), ("b", b"the same in all")]);
    let made = commit(&root_commit(), &files);
    push(client, dot, None, &made, &files).await.unwrap();
    (made, files)
}
