//! A hub with many dots of long histories, and their owners.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use dotmesh_api::HubClient;
use dotmesh_api::hub::{BranchUpdate, FinishUpload, SealedCommit};
use dotmesh_model::{BranchName, CommitId, CommitRecord, DotName, ObjectHash};
use dotmesh_store::{
    Attributes, Entry, EntryName, EntryValue, FileContent, Frame, Inode, InodeKind, Kind, Object,
    PackWriter, ROOT_SEAL, Root, TreePage, seal,
};
use reqwest::Method;
use serde_json::{Value, json};

use crate::app::Size;

/// The number of dots in a namespace.
pub(crate) const DOTS_PER_OWNER: usize = 20;

/// The subdots of a dot, and the number of files in each. A commit changes one file.
const SUBDOTS: [&str; 3] = ["pg", "redis", "uploads"];
const FILES: usize = 40;

/// The number of commits in a push. After each such number a branch and a tag stay behind.
const BATCH: usize = 1000;

/// A hub on this machine. It and its data are removed when this value is dropped.
pub(crate) struct Hub {
    child: Child,
    pub(crate) url: String,
    data: tempfile::TempDir,
}

impl Hub {
    fn start() -> Result<Self> {
        let data = tempfile::tempdir()?;
        let mut child = Command::new(program()?)
            .args(["serve", "--listen", "127.0.0.1:0", "--rate-limit", "0"])
            .arg("--data")
            .arg(data.path())
            .env("RUST_LOG", "warn")
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start dothub")?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().context("no output")?).read_line(&mut line)?;
        let url = line.trim().trim_start_matches("listening on ").to_owned();
        Ok(Self { child, url, data })
    }

    fn account(&self, name: &str) -> Result<Owner> {
        let added = Command::new(program()?)
            .args(["user", "add", name, "--admin", "--data"])
            .arg(self.data.path())
            .output()?;
        ensure!(
            added.status.success(),
            "{}",
            String::from_utf8_lossy(&added.stderr)
        );
        let text = String::from_utf8(added.stdout)?;
        let key = text.lines().last().context("no key")?.to_owned();
        let address = self.url.parse().map_err(anyhow::Error::msg)?;
        let client = HubClient::new(address, name.parse()?, key.clone())?;
        Ok(Owner {
            name: name.to_owned(),
            key,
            client,
        })
    }

    /// The peak memory since [`Hub::forget_peak`], in bytes.
    pub(crate) fn peak(&self) -> Result<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|line| line.split_whitespace().next());
        Ok(kib.context("VmHWM")?.parse::<f64>()? * 1024.0)
    }

    pub(crate) fn forget_peak(&self) -> Result<()> {
        std::fs::write(format!("/proc/{}/clear_refs", self.child.id()), "5")?;
        Ok(())
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn program() -> Result<PathBuf> {
    let bench = std::env::current_exe()?;
    let folder = bench.parent().and_then(std::path::Path::parent);
    Ok(folder.context("a folder of programs")?.join("dothub"))
}

/// A user with a namespace.
pub(crate) struct Owner {
    pub(crate) name: String,
    pub(crate) key: String,
    pub(crate) client: HubClient,
}

/// The hub and its contents. Every dot has the same history.
pub(crate) struct Library {
    pub(crate) hub: Hub,
    pub(crate) http: reqwest::Client,
    pub(crate) owners: Vec<Owner>,
    pub(crate) dots: usize,
    pub(crate) history: History,
}

impl Library {
    /// Pushes one dot. All others are forks of it.
    pub(crate) async fn make(size: Size) -> Result<Self> {
        let dots = size.of(1000).max(DOTS_PER_OWNER);
        let hub = Hub::start()?;
        let owners: Vec<Owner> = (0..dots.div_ceil(DOTS_PER_OWNER))
            .map(|n| hub.account(&format!("team{n}")))
            .collect::<Result<_>>()?;
        let mut history = History::new();
        // With fewer commits, the newer half would not have every file.
        let count = size.of(10_000).max(4 * SUBDOTS.len() * FILES);
        while history.commits.len() < count {
            let batch = BATCH.min(count - history.commits.len());
            history.push(&owners[0], "app0", batch).await?;
        }
        let library = Self {
            http: reqwest::Client::new(),
            hub,
            owners,
            dots,
            history,
        };
        library.tag_and_fork().await?;
        Ok(library)
    }

    async fn tag_and_fork(&self) -> Result<()> {
        let origin = self.dot(0);
        let settings = json!({"visibility": "public", "description": "# The shop\n\nWith a README of a line or two."});
        let path = format!("dots/{origin}/settings");
        self.call(0, Method::PATCH, &path, settings).await?;
        for (number, commit) in self.history.commits.iter().step_by(BATCH).enumerate() {
            let path = format!("dots/{origin}/tags/v{number}");
            let at = json!({"at": commit.id.to_string(), "message": "released"});
            self.call(0, Method::PUT, &path, at).await?;
        }
        for dot in 1..self.dots {
            let (owner, number) = (dot / DOTS_PER_OWNER, dot % DOTS_PER_OWNER);
            // The first dot of a namespace is forked from the first namespace, the others from that fork.
            let from = if number == 0 {
                0
            } else {
                owner * DOTS_PER_OWNER
            };
            let path = format!("dots/{}/fork", self.dot(from));
            let name = json!({"name": format!("app{number}")});
            self.call(owner, Method::POST, &path, name).await?;
        }
        Ok(())
    }

    /// The owner of a dot, by the dot's number.
    pub(crate) fn owner_of(&self, dot: usize) -> &Owner {
        &self.owners[dot / DOTS_PER_OWNER]
    }

    /// `OWNER/DOT`
    pub(crate) fn dot(&self, dot: usize) -> String {
        format!("{}/app{}", self.owner_of(dot).name, dot % DOTS_PER_OWNER)
    }

    async fn call(&self, owner: usize, method: Method, path: &str, body: Value) -> Result<()> {
        let answer = self
            .http
            .request(method, format!("{}/api/v1/{path}", self.hub.url))
            .bearer_auth(&self.owners[owner].key)
            .json(&body)
            .send()
            .await?;
        let status = answer.status();
        ensure!(
            status.is_success(),
            "{path}: {status} {}",
            answer.text().await?
        );
        Ok(())
    }
}

/// A commit, with the data that its child needs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Made {
    pub(crate) id: CommitId,
    seal: ObjectHash,
}

/// The files, and the commits that changed them one by one.
#[derive(Clone)]
pub(crate) struct History {
    /// The file entries of each subdot.
    subdots: Vec<Vec<Entry>>,
    /// Oldest first.
    pub(crate) commits: Vec<Made>,
}

impl History {
    fn new() -> Self {
        Self {
            subdots: SUBDOTS.iter().map(|_| Vec::new()).collect(),
            commits: Vec::new(),
        }
    }

    /// Makes commits, and pushes them to a dot that has all earlier ones. A branch stays behind at every [`BATCH`]
    /// commits.
    pub(crate) async fn push(&mut self, owner: &Owner, dot: &str, count: usize) -> Result<()> {
        let dot: DotName = format!("{}/{dot}", owner.name).parse()?;
        let old = self.commits.last().map(|made| made.id);
        let mut pack = PackWriter::default();
        let commits = (0..count).map(|_| self.commit(&mut pack));
        let commits = commits.collect::<Result<Vec<_>>>()?;
        let new = self.commits.last().context("no commit")?.id;
        let branch = |name: String, old| -> Result<BranchUpdate> {
            let name: BranchName = name.parse()?;
            Ok(BranchUpdate {
                name,
                old,
                new,
                stash: None,
                force: false,
            })
        };
        let mut branches = vec![branch("master".to_owned(), old)?];
        if self.commits.len().is_multiple_of(BATCH) {
            branches.push(branch(format!("at-{}", self.commits.len()), None)?);
        }
        let finish = FinishUpload { commits, branches };
        let upload = owner.client.begin_upload(&dot).await?;
        owner.client.send_pack(&dot, &upload, pack.finish()).await?;
        owner.client.finish_upload(&dot, &upload, &finish).await?;
        Ok(())
    }

    /// Makes the next commit, and adds its new objects to the pack.
    fn commit(&mut self, writer: &mut PackWriter) -> Result<SealedCommit> {
        let number = self.commits.len();
        let mut add = |object: &Object| {
            writer.push(&Frame::encode(object));
            object.hash()
        };
        let changed = number % SUBDOTS.len();
        let file = number / SUBDOTS.len() % FILES;
        let text = format!("row {number}\n").repeat(1 + number % 64);
        let chunk = Object::new(Kind::Chunk, text.into_bytes());
        let kind = InodeKind::File {
            size: chunk.bytes().len() as u64,
            content: FileContent::Chunk(add(&chunk)),
        };
        let file_entry = entry(&format!("table-{file:02}.txt"), kind);
        match self.subdots[changed].get_mut(file) {
            Some(known) => *known = file_entry,
            None => self.subdots[changed].push(file_entry),
        }
        let mut folders = Vec::new();
        for (name, files) in SUBDOTS.iter().zip(&self.subdots) {
            let tree = Object::new(Kind::TreePage, TreePage::Leaf(files.clone()).encode());
            folders.push(entry(name, InodeKind::Directory { tree: add(&tree) }));
        }
        let top = Object::new(Kind::TreePage, TreePage::Leaf(folders).encode());
        let root = Root {
            attributes: Attributes::default(),
            tree: add(&top),
        };
        let root = add(&Object::new(Kind::Root, root.encode()));
        let (made, sealed) = seal_commit(self.commits.last(), number, root)?;
        self.commits.push(made);
        Ok(sealed)
    }
}

/// A commit of some files, with an optional parent.
fn seal_commit(
    parent: Option<&Made>,
    number: usize,
    root: ObjectHash,
) -> Result<(Made, SealedCommit)> {
    let mut id = [0; CommitId::LENGTH];
    id[..8].copy_from_slice(&(number as u64 + 1).to_be_bytes());
    // As random as real ids.
    id[8..].copy_from_slice(
        &(number as u64)
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            .to_be_bytes(),
    );
    id.rotate_right(8);
    let id = CommitId::from_bytes(id);
    let time = 1_767_225_600 + number as i64 * 600;
    let record = CommitRecord {
        version: 1,
        id,
        parent: parent.map_or(CommitId::ROOT, |made| made.id),
        branch: BranchName::master(),
        author: format!("author{}", number % 17),
        time: jiff::Timestamp::from_second(time)?,
        message: format!("order {number} paid, {} customers on a page", number % 41),
        metadata: Default::default(),
        images: Vec::new(),
        code: None,
        dot: None,
    };
    let record = String::from_utf8(record.encode())?;
    let before = parent.map_or(ROOT_SEAL, |made| made.seal);
    let seal = seal(before, record.as_bytes(), root);
    Ok((
        Made { id, seal },
        SealedCommit {
            seal,
            root,
            record,
            left_out: None,
            without_data: false,
        },
    ))
}

fn entry(name: &str, kind: InodeKind) -> Entry {
    Entry {
        name: EntryName::new(name.as_bytes()).expect("a file's name"),
        value: EntryValue::Inode(Inode {
            attributes: Attributes::default(),
            kind,
        }),
    }
}
