//! The peers: what each needs, and how it backs a snapshot up and restores it.
//!
//! They run where the data is, write to the local disk, and find everything that they read in the cache. What they
//! back up is always at the same path, so that they may trust their own lists of unchanged files. They are not asked to
//! flush what they write.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};

use crate::measure::{Bar, Cost, Table, seconds};
use crate::stage::{POOL, Stage};

/// A tool, by lines of shell. `$DATA` is the folder to keep and `$SNAPSHOT` its snapshot, `$BEFORE` says what the last
/// one was in the form that `btrfs send` takes, `$REPO` is a folder of the tool's own, `$N` counts its backups, `$TO`
/// is where to restore.
pub(crate) struct Tool {
    pub(crate) name: &'static str,
    program: &'static str,
    prepare: &'static str,
    backup: &'static str,
    restore: &'static str,
}

pub(crate) const RESTIC: &str = "restic";
pub(crate) const BORG: &str = "borg";
pub(crate) const RUSTIC: &str = "rustic";
pub(crate) const RSYNC: &str = "rsync";
pub(crate) const SEND: &str = "btrfs send \\| zstd -1";

/// Bars that say "the fastest peer" are measured by all of them, and by those that could read a file back alone: what
/// `btrfs send` makes is a stream of blocks that is of use only as a whole, on top of all before it.
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

/// Where the snapshot's data is mounted.
const DATA: &str = "/run/snapshot";

/// Where rustic is when it is not on the PATH.
const ELSEWHERE: &str = "/opt/rustic/bin";

/// The tools that `BENCH_PEERS` names, separated by commas: all without a name, and no tool with `none`.
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

/// Those of them that are installed.
pub(crate) async fn installed(stage: &Stage) -> Result<Vec<&'static Tool>> {
    let mut installed = Vec::new();
    for tool in chosen()? {
        let line = format!("PATH=$PATH:{ELSEWHERE} command -v {}", tool.program);
        if stage.alice.machine.run(&line).await.status.success() {
            installed.push(tool);
        }
    }
    Ok(installed)
}

/// Some peers, with fresh repositories.
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

    /// The snapshot that backups are made of from now on.
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
            // A copy of the files says nothing of what it takes to send them.
            if tool.name != RSYNC {
                cost.bytes = after - before;
            }
            table.record(operation, tool.name, cost);
        }
        Ok(())
    }

    /// Restores the last backup to a fresh folder in a pool.
    pub(crate) async fn restore(&self, table: &mut Table, operation: &str) -> Result<()> {
        for tool in &self.tools {
            let to = self.restored();
            self.stage.alice.ok(&format!("mkdir {to}")).await;
            let repository = self.folder.join(tool.program);
            warm(self.stage, &repository.display().to_string()).await;
            let cost = self.time(tool, tool.restore).await?;
            table.record(operation, tool.name, cost);
            // What btrfs received is a subvolume, not to be removed like a folder.
            self.stage
                .alice
                .ok(&format!("for s in {to}/*; do btrfs -q subvolume delete $s >/dev/null 2>&1 || true; done; rm -rf {to}"))
                .await;
        }
        Ok(())
    }

    /// Gives the space back.
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

    /// The line with all that it refers to. The shell is one that fails when any part of a pipe does.
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

/// Reads everything once.
pub(crate) async fn warm(stage: &Stage, folder: &str) {
    let line = format!("find {folder} -type f -exec cat {{}} + >/dev/null");
    stage.alice.ok(&line).await;
}

/// Reads once, of two snapshots, what is around each change from one to the other, for who reads no more than that. All of two
/// large ones would not fit into memory, and one of them would put out what the hub has there.
pub(crate) async fn warm_change(stage: &Stage, old: &Path, new: &Path) -> Result<()> {
    // Chunks of databases begin and end within.
    const AROUND: u64 = 64 << 10;
    let find_new = async |snapshot: &Path, since: &str| {
        let line = format!("btrfs subvolume find-new {} {since}", snapshot.display());
        stage.alice.ok(&line).await
    };
    // Nothing is that new, so only this comes: `transid marker was 123`.
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

/// The last line that `times` prints: user and system time of what the shell ran, as `0m1.234s 0m0.567s`.
fn children_time(printed: &str) -> Option<f64> {
    let times = printed.lines().next_back()?.split_whitespace();
    times
        .map(|time| {
            let (minutes, seconds) = time.trim_end_matches('s').split_once('m')?;
            Some(minutes.parse::<f64>().ok()? * 60.0 + seconds.parse::<f64>().ok()?)
        })
        .sum()
}
