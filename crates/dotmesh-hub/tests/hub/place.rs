//! The database and pack store of a hub under test. `DOTHUB_TEST_DATABASE=sqlite|postgres` and
//! `DOTHUB_TEST_STORE=disk|s3` choose them for all tests that do not need a certain one.

use std::io::Write as _;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;
use dotmesh_hub_db::{Database, Opening};
use dotmesh_hub_service::data_dir::{DataDir, ServeLock};
use dotmesh_hub_service::store_url;
use dotmesh_store::{PackId, PackStore};
use object_store::ObjectStoreExt as _;
use tempfile::TempDir;
use url::Url;

use crate::postgres;
use crate::s3::S3Server;

/// The data of one hub.
pub(crate) struct Place {
    folder: TempDir,
    /// A PostgreSQL database, or SQLite in the folder.
    pub(crate) database_url: Option<String>,
    /// A prefix in the S3 bucket, or the folder.
    pub(crate) store_url: Option<String>,
}

impl Place {
    /// Makes a place of the kind that the environment chooses.
    pub(crate) async fn new() -> Self {
        let postgres = choice("DOTHUB_TEST_DATABASE", "sqlite", "postgres");
        let s3 = choice("DOTHUB_TEST_STORE", "disk", "s3");
        let mut place = Self::folder(tempfile::tempdir().unwrap());
        if postgres {
            place.database_url = Some(postgres::new_database().await);
        }
        if s3 {
            place.store_url = Some(new_prefix());
        }
        place
    }

    /// A place with SQLite and the disk.
    pub(crate) fn folder(folder: TempDir) -> Self {
        Self {
            folder,
            database_url: None,
            store_url: None,
        }
    }

    /// SQLite and the disk.
    pub(crate) fn disk() -> Self {
        Self::folder(tempfile::tempdir().unwrap())
    }

    /// SQLite and a bucket.
    pub(crate) fn bucket() -> Self {
        Self {
            store_url: Some(new_prefix()),
            ..Self::disk()
        }
    }

    /// PostgreSQL and the disk.
    pub(crate) async fn postgres() -> Self {
        Self {
            database_url: Some(postgres::new_database().await),
            ..Self::disk()
        }
    }

    /// A place that several processes can share: PostgreSQL and a bucket.
    pub(crate) async fn shared() -> Self {
        let mut place = Self::folder(tempfile::tempdir().unwrap());
        place.database_url = Some(postgres::new_database().await);
        place.store_url = Some(new_prefix());
        place
    }

    fn data(&self) -> DataDir {
        DataDir::make(self.folder.path()).unwrap()
    }

    pub(crate) fn lock(&self) -> Option<ServeLock> {
        let elsewhere = self.database_url.is_some() && self.store_url.is_some();
        (!elsewhere).then(|| self.data().lock().unwrap())
    }

    pub(crate) async fn database(&self) -> Database {
        self.database_opened(Opening::New).await
    }

    pub(crate) async fn database_opened(&self, opening: Opening) -> Database {
        match &self.database_url {
            Some(url) => Database::connect(url, opening).await.unwrap(),
            None => self.data().database(opening).await.unwrap(),
        }
    }

    pub(crate) fn packs(&self) -> PackStore {
        match &self.store_url {
            Some(url) => store_url::open(url, S3Server::shared().variables()).unwrap(),
            None => self.data().packs(Opening::New).unwrap(),
        }
    }

    /// Puts other bytes in the place of a stored pack.
    pub(crate) async fn overwrite(&self, pack: PackId, bytes: Bytes) {
        let name = pack.to_string();
        let path = format!("packs/{}/{name}", &name[..2]);
        match &self.store_url {
            Some(url) => {
                let url = Url::parse(url).unwrap();
                let variables = S3Server::shared().variables();
                let (store, prefix) = object_store::parse_url_opts(&url, variables).unwrap();
                let at = format!("{prefix}/{path}").into();
                store.put(&at, bytes.into()).await.unwrap();
            }
            None => std::fs::write(self.folder.path().join("objects").join(path), bytes).unwrap(),
        }
    }

    /// Makes a hub that has not served yet, with an account. Returns the account's key.
    pub(crate) async fn hub_with_user(&self, name: &str) -> String {
        self.database().await.close().await;
        let added = self.run(&["user", "add", name]);
        assert!(added.status.success(), "{added:?}");
        let text = String::from_utf8(added.stdout).unwrap();
        text.lines().last().unwrap().to_owned()
    }

    /// Sets an account's password.
    pub(crate) fn set_password(&self, name: &str, password: &str) {
        let mut command = self.dothub(&["user", "password", name]);
        let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
        let mut input = child.stdin.take().unwrap();
        input.write_all(password.as_bytes()).unwrap();
        drop(input);
        assert!(child.wait().unwrap().success());
    }

    /// The program `dothub` with this place's data.
    pub(crate) fn dothub(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dothub"));
        command.args(args).env_clear().stdin(Stdio::null());
        if self.database_url.is_none() || self.store_url.is_none() {
            command.env("DOTHUB_DATA", self.folder.path());
        }
        if let Some(url) = &self.database_url {
            command.env("DOTHUB_DATABASE_URL", url);
        }
        if let Some(url) = &self.store_url {
            command.env("DOTHUB_STORE_URL", url);
            command.envs(S3Server::shared().variables());
        }
        command
    }

    pub(crate) fn path(&self) -> &std::path::Path {
        self.folder.path()
    }

    /// Whether its folder is empty.
    pub(crate) fn is_empty(&self) -> bool {
        std::fs::read_dir(self.folder.path())
            .unwrap()
            .next()
            .is_none()
    }

    /// Runs the program, and waits for its end.
    pub(crate) fn run(&self, args: &[&str]) -> Output {
        self.dothub(args).output().unwrap()
    }

    /// The path of the SQLite database, unless this place has PostgreSQL.
    pub(crate) fn sqlite(&self) -> Option<std::path::PathBuf> {
        let none = self.database_url.is_none();
        none.then(|| self.folder.path().join("hub.db"))
    }
}

/// Whether an environment variable has the second value. Unset means the first.
fn choice(variable: &str, first: &str, second: &str) -> bool {
    match std::env::var(variable) {
        Ok(value) if value == second => true,
        Ok(value) if value == first => false,
        Ok(value) => panic!("{variable} is {first} or {second}, not '{value}'"),
        Err(_) => false,
    }
}

fn new_prefix() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    format!("s3://bucket/hub{}", NEXT.fetch_add(1, Ordering::Relaxed))
}
