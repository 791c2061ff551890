//! The peers: their requirements, and how each backs up and restores a snapshot.
//!
//! They run on the machine with the data, write to the local disk, and read everything from the cache. The snapshot
//! is always mounted at the same path, so they can rely on their own lists of unchanged files. They need not flush
//! their writes.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};

use crate::measure::{Bar, Cost, Table, children_time, seconds};
use crate::stage::{POOL, Stage};

/// A tool, as lines of shell with these variables:
/// - `$DATA` is the folder to back up, and `$SNAPSHOT` its snapshot.
/// - `$BEFORE` names the previous snapshot, in the form that `btrfs send` takes.
/// - `$REPO` is a folder of the tool's own, and `$N` the number of its backups.
/// - `$TO` is the target of a restore.
pub(crate) struct Tool {
    pub(crate) name: &'static str,
    program: &'static str,
    prepare: &'static str,
    backup: &'static str,
    restore: &'static str,
}

pub(crate) const RESTIC: &str = "restic";
pub(crate) const RESTIC_MAX: &str = "restic --compression max, pruned";
pub(crate) const BORG: &str = "borg";
pub(crate) const RUSTIC: &str = "rustic";
pub(crate) const RSYNC: &str = "rsync";
pub(crate) const SEND: &str = "btrfs send \\| zstd -1";

/// The targets for "the fastest peer". The first counts all peers, the second those that can restore a single file.
/// `btrfs send` makes a stream of blocks, which is useful only as a whole and on top of all earlier ones.
pub(crate) const fn fastest(at_most: f64) -> [Bar; 2] {
    let readable = "the fastest but btrfs send";
    [
        Bar::new(at_most, "the fastest", &[]),
        Bar::new(at_most, readable, &[RESTIC, BORG, RUSTIC, RSYNC]),
    ]
}

const TOOLS: &[Tool] = &[
    Tool {
        name: RESTIC,
        program: "restic",
        prepare: "restic -q -r $REPO init",
        backup: "restic -q -r $REPO backup $DATA",
        restore: "restic -q -r $REPO restore latest --target $TO",
    },
    Tool {
        name: BORG,
        program: "borg",
        prepare: "borg init -e none $REPO",
        backup: "borg create -C zstd,1 $REPO::$N $DATA",
        restore: "cd $TO && borg extract $REPO::$N",
    },
    Tool {
        name: RUSTIC,
        program: "rustic",
        prepare: "rustic --log-level error --no-progress -r $REPO init",
        backup: "rustic --log-level error --no-progress -r $REPO backup $DATA",
        restore: "rustic --log-level error --no-progress -r $REPO restore latest $TO",
    },
    Tool {
        name: RSYNC,
        program: "rsync",
        prepare: "mkdir $REPO",
        backup: "rsync -a --delete $DATA/ $REPO/",
        restore: "rsync -a $REPO/ $TO/",
    },
    Tool {
        name: SEND,
        program: "btrfs",
        prepare: "mkdir $REPO",
        backup: "btrfs send -q $BEFORE $SNAPSHOT | zstd -1 -T0 -q -o $REPO/$N",
        restore: "zstd -dc $REPO/$N | btrfs receive -q $TO",
    },
];

/// restic, so that its repository grows least.
const SMALLEST: Tool = Tool {
    name: RESTIC_MAX,
    program: "restic",
    prepare: "restic -q -r $REPO init",
    backup: "restic -q -r $REPO --compression max backup $DATA && \
             restic -q -r $REPO --compression max prune --max-unused 0",
    restore: "restic -q -r $REPO restore latest --target $TO",
};

/// The mount point of the snapshot's data.
const DATA: &str = "/run/snapshot";

/// The folder of rustic, if it is not on the PATH.
const ELSEWHERE: &str = "/opt/rustic/bin";

/// The tools in the comma-separated `BENCH_PEERS`. Empty means all, and `none` means no tool.
pub(crate) fn chosen() -> Result<Vec<&'static Tool>> {
    let names = std::env::var("BENCH_PEERS").unwrap_or_default();
    let names: Vec<_> = names.split(',').filter(|name| !name.is_empty()).collect();
    let programs: Vec<_> = TOOLS.iter().map(|tool| tool.program).collect();
    for name in &names {
        ensure!(
            *name == "none" || programs.contains(name),
            "there is no peer {name}; there are {} and none",
            programs.join(", ")
        );
    }
    let wanted = |tool: &&Tool| names.is_empty() || names.contains(&tool.program);
    Ok(TOOLS.iter().filter(wanted).collect())
}

/// The chosen tools that are installed.
pub(crate) async fn installed(stage: &Stage) -> Result<Vec<&'static Tool>> {
    installed_of(stage, chosen()?).await
}

/// restic with the options for the least growth, if restic is chosen and installed.
pub(crate) async fn smallest(stage: &Stage) -> Result<Vec<&'static Tool>> {
    let mut tools = chosen()?;
    tools.retain(|tool| tool.name == RESTIC);
    installed_of(stage, tools.iter().map(|_| &SMALLEST).collect()).await
}

async fn installed_of(stage: &Stage, tools: Vec<&'static Tool>) -> Result<Vec<&'static Tool>> {
    let mut installed = Vec::new();
    for tool in tools {
        let line = format!("PATH=$PATH:{ELSEWHERE} command -v {}", tool.program);
        if stage.alice.machine.run(&line).await.status.success() {
            installed.push(tool);
        }
    }
    Ok(installed)
}

/// Some peers, with new repositories.
pub(crate) struct Peers<'a> {
    stage: &'a Stage,
    tools: Vec<&'static Tool>,
    folder: PathBuf,
    snapshots: Vec<PathBuf>,
}

impl<'a> Peers<'a> {
    /// Makes the repositories.
    pub(crate) async fn start(stage: &'a Stage, tools: &[&'static Tool]) -> Result<Self> {
        let peers = Self {
            stage,
            tools: tools.to_vec(),
            folder: stage.alice.machine.home().join("peers"),
            snapshots: Vec::new(),
        };
        let folder = peers.folder.display();
        stage.alice.ok(&format!("mkdir {folder}")).await;
        for tool in tools {
            stage.alice.ok(&peers.line(tool, tool.prepare)).await;
        }
        Ok(peers)
    }

    /// Selects the snapshot for the next backups.
    pub(crate) async fn look_at(&mut self, snapshot: &Path) {
        let from = snapshot.join("data");
        let mount = format!("mkdir -p {DATA} && mount --bind {} {DATA}", from.display());
        if !self.snapshots.is_empty() {
            self.stage.alice.ok(&format!("umount {DATA}")).await;
        }
        self.stage.alice.ok(&mount).await;
        self.snapshots.push(snapshot.to_owned());
    }

    pub(crate) async fn backup(&self, table: &mut Table, operation: &str) -> Result<()> {
        for tool in &self.tools {
            let repository = self.folder.join(tool.program);
            let size = format!("du -sb {} | cut -f1", repository.display());
            let before: f64 = self.stage.alice.ok(&size).await.trim().parse()?;
            warm(self.stage, DATA).await;
            let mut cost = self.time(tool, tool.backup).await?;
            let after: f64 = self.stage.alice.ok(&size).await.trim().parse()?;
            // The size of a copy says nothing about the bytes to send.
            if tool.name != RSYNC {
                cost.bytes = after - before;
            }
            table.record(operation, tool.name, cost);
        }
        Ok(())
    }

    /// Restores the last backup to a new folder in a pool.
    pub(crate) async fn restore(&self, table: &mut Table, operation: &str) -> Result<()> {
        for tool in &self.tools {
            let to = self.restored();
            self.stage.alice.ok(&format!("mkdir {to}")).await;
            let repository = self.folder.join(tool.program);
            warm(self.stage, &repository.display().to_string()).await;
            let cost = self.time(tool, tool.restore).await?;
            table.record(operation, tool.name, cost);
            // `btrfs receive` makes a subvolume, which cannot be removed like a folder.
            self.stage
                .alice
                .ok(&format!("for s in {to}/*; do btrfs -q subvolume delete $s >/dev/null 2>&1 || true; done; rm -rf {to}"))
                .await;
        }
        Ok(())
    }

    /// Frees the space.
    pub(crate) async fn remove(self) {
        let folder = self.folder.display();
        self.stage
            .alice
            .ok(&format!("umount {DATA} && rm -rf {folder}"))
            .await;
    }

    fn restored(&self) -> String {
        format!("{POOL}/restored")
    }

    async fn time(&self, tool: &Tool, line: &str) -> Result<Cost> {
        self.stage.settle().await?;
        let line = self.line(tool, &format!("{line}; }} && times"));
        let start = Instant::now();
        let printed = self.stage.alice.ok(&line).await;
        let wall = seconds(start.elapsed());
        let cpu = children_time(&printed).context("what times says")?;
        Ok(Cost {
            wall,
            cpu,
            ..Cost::default()
        })
    }

    /// The line with its variables. The shell fails if any part of a pipe fails.
    fn line(&self, tool: &Tool, line: &str) -> String {
        let folder = self.folder.display();
        let snapshots = self.snapshots.len();
        let path = |snapshot: &PathBuf| snapshot.display().to_string();
        let snapshot = self.snapshots.last().map(path).unwrap_or_default();
        let before = match self.snapshots.as_slice() {
            [.., before, _] => format!("-p {}", before.display()),
            _ => String::new(),
        };
        let opening = if line.ends_with("times") { "{ " } else { "" };
        format!(
            "export PATH=$PATH:{ELSEWHERE} RESTIC_PASSWORD=secret RUSTIC_PASSWORD=secret \
             RESTIC_CACHE_DIR={folder}/restic.cache RUSTIC_CACHE_DIR={folder}/rustic.cache BORG_BASE_DIR={folder}/borg.base \
             BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK=yes DATA={DATA} SNAPSHOT={snapshot} BEFORE='{before}' \
             REPO={folder}/{} N={snapshots} TO={}; bash -e -o pipefail -c '{opening}{line}'",
            tool.program,
            self.restored(),
        )
    }
}

/// Reads all files once, into the cache.
pub(crate) async fn warm(stage: &Stage, folder: &str) {
    let line = format!("find {folder} -type f -exec cat {{}} + >/dev/null");
    stage.alice.ok(&line).await;
}

/// Reads the surroundings of each change between two snapshots, for tools that read no more. Two large snapshots
/// would not fit into memory. Even one would evict the hub's data from the cache.
pub(crate) async fn warm_change(stage: &Stage, old: &Path, new: &Path) -> Result<()> {
    // Chunks of databases begin and end within this distance.
    const AROUND: u64 = 64 << 10;
    let find_new = async |snapshot: &Path, since: &str| {
        let line = format!("btrfs subvolume find-new {} {since}", snapshot.display());
        stage.alice.ok(&line).await
    };
    // No change is that new, so the output is only `transid marker was 123`.
    let marker = find_new(old, "1000000000").await;
    let since = marker.split_whitespace().next_back().context("transid")?;
    let printed = find_new(new, since).await;
    let changes = printed.lines().filter(|line| line.starts_with("inode "));
    let changes: Vec<&str> = changes.collect();
    ensure!(!changes.is_empty(), "nothing changed: {printed}");
    for change in changes {
        // `inode 258 file offset 0 len 8192 disk start 1 offset 0 gen 8 flags NONE path`
        let words: Vec<&str> = change.split(' ').collect();
        let (start, length): (u64, u64) = (words[4].parse()?, words[6].parse()?);
        let path = words.get(16..).context("a path")?.join(" ");
        let (from, to) = (start / AROUND, (start + length).div_ceil(AROUND));
        for snapshot in [old, new] {
            let mut file = match File::open(stage.alice.machine.path(snapshot.join(&path))) {
                // The file is new.
                Err(error) if error.kind() == io::ErrorKind::NotFound && snapshot == old => {
                    continue;
                }
                file => file.with_context(|| path.clone())?,
            };
            file.seek(SeekFrom::Start(from * AROUND))?;
            io::copy(&mut file.take((to - from) * AROUND), &mut io::sink())?;
        }
    }
    Ok(())
}
