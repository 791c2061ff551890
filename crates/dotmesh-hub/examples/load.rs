//! What a first push and a clone cost the hub: `cargo run --release --example load -- target/release/dothub MIB`.
//!
//! Makes files of 16 KiB chunks that compress about 5:1, as a database's do, pushes them the way a node does,
//! fetches all of them, and prints the time, and the processor time and peak memory of the hub.

#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a tool of those who develop the hub"
)]

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use bytes::Bytes;
use dotmesh_api::HubClient;
use dotmesh_api::hub::{BranchUpdate, FinishUpload, MAX_HASHES, SealedCommit};
use dotmesh_model::{BranchName, CommitId, CommitRecord, DotName, ObjectHash};
use dotmesh_store::file_page::FileSpine;
use dotmesh_store::grow::Grower;
use dotmesh_store::{
    Attributes, Entry, EntryName, EntryValue, FileContent, FrameEncoder, Inode, InodeKind, Kind,
    Object, PackWriter, ROOT_SEAL, Root, Segment, TreePage, seal,
};
use futures::{StreamExt as _, TryStreamExt as _, stream};

const CHUNK: usize = 16 << 10;
const FILE_CHUNKS: usize = 8192;
const PACK_LENGTH: usize = 8 << 20;
const BATCH: usize = 4096;

struct Hub {
    child: Child,
    url: String,
    data: tempfile::TempDir,
    program: String,
}

impl Hub {
    fn start(program: &str) -> Self {
        let data = tempfile::tempdir().unwrap();
        let mut child = Command::new(program)
            .args(["serve", "--listen", "127.0.0.1:0", "--data"])
            .arg(data.path())
            .env("RUST_LOG", "warn")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let url = line.trim().trim_start_matches("listening on ").to_owned();
        Self {
            child,
            url,
            data,
            program: program.to_owned(),
        }
    }

    fn client(&self) -> HubClient {
        let added = Command::new(&self.program)
            .args(["user", "add", "alice", "--data"])
            .arg(self.data.path())
            .output()
            .unwrap();
        let text = String::from_utf8(added.stdout).unwrap();
        let key = text.lines().last().unwrap().to_owned();
        HubClient::new(self.url.parse().unwrap(), "alice".parse().unwrap(), key).unwrap()
    }

    /// Processor time in seconds, and peak memory in MiB.
    fn usage(&self) -> (f64, u64) {
        let file = |name| std::fs::read_to_string(format!("/proc/{}/{name}", self.child.id()));
        let stat = file("stat").unwrap();
        let fields: Vec<&str> = stat
            .rsplit(')')
            .next()
            .unwrap()
            .split_whitespace()
            .collect();
        let ticks = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
        let status = file("status").unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib: u64 = peak
            .unwrap()
            .trim()
            .trim_end_matches(" kB")
            .parse()
            .unwrap();
        (ticks as f64 / 100.0, kib >> 10)
    }

    fn report(&self, what: &str, start: Instant, before: f64) -> f64 {
        let (cpu, peak) = self.usage();
        println!(
            "{what:<22} {:7.3} s, hub's processor {:6.2} s, peak {peak} MiB",
            start.elapsed().as_secs_f64(),
            cpu - before
        );
        cpu
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Bytes that compress about 5:1.
fn chunk(state: &mut u64) -> Object {
    let mut content = Vec::with_capacity(CHUNK);
    while content.len() < CHUNK {
        *state = state
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        content.extend_from_slice(b"\x20\0\x9f\xf2 a row of a table with a filler 0000000000000");
        content.extend_from_slice(&state.to_le_bytes());
    }
    Object::new(Kind::Chunk, content)
}

fn entry(name: &str, kind: InodeKind) -> Entry {
    Entry {
        name: EntryName::new(name.as_bytes()).unwrap(),
        value: EntryValue::Inode(Inode {
            attributes: Attributes::default(),
            kind,
        }),
    }
}

/// Files of so many chunks in one folder, as frames' packs.
struct Data {
    hashes: Vec<ObjectHash>,
    packs: Vec<Bytes>,
    root: ObjectHash,
}

fn data(mib: usize) -> Data {
    let mut hashes = Vec::new();
    let mut packs = Vec::new();
    let mut writer = PackWriter::default();
    let mut encoder = FrameEncoder::default();
    let mut add = |object: &Object| {
        hashes.push(object.hash());
        writer.push(&encoder.encode(object));
        if writer.len() >= PACK_LENGTH {
            packs.push(std::mem::take(&mut writer).finish());
        }
    };
    let mut entries = Vec::new();
    let mut left = (mib << 20) / CHUNK;
    let mut state = 1;
    while left > 0 {
        let count = left.min(FILE_CHUNKS);
        left -= count;
        let mut file = Grower::<FileSpine>::default();
        for _ in 0..count {
            let chunk = chunk(&mut state);
            let (hash, length) = (chunk.hash(), CHUNK as u32);
            file.push(Segment::Data { length, hash });
            add(&chunk);
        }
        let (top, pages) = file.finish();
        pages.iter().for_each(&mut add);
        let (size, content) = ((count * CHUNK) as u64, FileContent::Page(top));
        entries.push(entry(
            &format!("{:06}", entries.len()),
            InodeKind::File { size, content },
        ));
    }
    let tree = Object::new(Kind::TreePage, TreePage::Leaf(entries).encode());
    let root = Root {
        attributes: Attributes::default(),
        tree: tree.hash(),
    };
    let root = Object::new(Kind::Root, root.encode());
    add(&tree);
    add(&root);
    packs.push(writer.finish());
    Data {
        hashes,
        packs,
        root: root.hash(),
    }
}

fn commit(root: ObjectHash) -> (CommitId, SealedCommit) {
    let id = CommitId::from_bytes([1; 16]);
    let record = CommitRecord {
        version: 1,
        id,
        parent: CommitId::ROOT,
        branch: BranchName::master(),
        author: "someone".to_owned(),
        time: "2026-01-31T12:00:00Z".parse().unwrap(),
        message: String::new(),
        metadata: Default::default(),
        images: Vec::new(),
        code: None,
        dot: None,
    };
    let record = String::from_utf8(record.encode()).unwrap();
    let seal = seal(ROOT_SEAL, record.as_bytes(), root);
    (
        id,
        SealedCommit {
            seal,
            root,
            record,
            left_out: None,
            without_data: false,
        },
    )
}

#[tokio::main]
async fn main() {
    let mut args = std::env::args().skip(1);
    let program = args.next().unwrap();
    let data = data(args.next().unwrap().parse().unwrap());
    let hub = Hub::start(&program);
    let client = hub.client();
    let dot: DotName = "alice/app".parse().unwrap();
    println!(
        "{} objects in {} packs",
        data.hashes.len(),
        data.packs.len()
    );

    let (all, before) = (Instant::now(), hub.usage().0);
    let upload = client.begin_upload(&dot).await.unwrap();
    let mut cpu = before;
    let start = Instant::now();
    for hashes in data.hashes.chunks(BATCH) {
        let missing = client.missing(&dot, &upload, hashes).await.unwrap();
        assert_eq!(missing.len(), hashes.len());
    }
    cpu = hub.report("missing, all of it", start, cpu);
    let start = Instant::now();
    stream::iter(data.packs.iter().cloned())
        .map(|pack| client.send_pack(&dot, &upload, pack))
        .buffer_unordered(3)
        .try_collect::<Vec<()>>()
        .await
        .unwrap();
    cpu = hub.report("packs", start, cpu);
    let start = Instant::now();
    let (id, sealed) = commit(data.root);
    let branches = vec![BranchUpdate {
        name: BranchName::master(),
        old: None,
        new: id,
        stash: None,
        force: false,
    }];
    let commits = vec![sealed];
    let finish = FinishUpload { commits, branches };
    client.finish_upload(&dot, &upload, &finish).await.unwrap();
    cpu = hub.report("finish", start, cpu);
    hub.report("the push", all, before);

    let start = Instant::now();
    let upload = client.begin_upload(&dot).await.unwrap();
    for hashes in data.hashes.chunks(BATCH) {
        let missing = client.missing(&dot, &upload, hashes).await.unwrap();
        assert!(missing.is_empty());
    }
    cpu = hub.report("missing, none of it", start, cpu);

    let start = Instant::now();
    let fetched = stream::iter(data.hashes.chunks(MAX_HASHES / 4))
        .map(|hashes| client.objects(&dot, hashes))
        .buffer_unordered(3)
        .map_ok(|pack| pack.len());
    let length: usize = fetched
        .try_fold(0, async |sum, length| Ok(sum + length))
        .await
        .unwrap();
    assert!(length > data.packs.iter().map(Bytes::len).sum());
    cpu = hub.report("objects, all of it", start, cpu);

    let start = Instant::now();
    for _ in 0..100 {
        client.dot(&dot).await.unwrap().unwrap();
        client.commits(&dot, id, None).await.unwrap();
    }
    hub.report("100 no-op pulls", start, cpu);
}
