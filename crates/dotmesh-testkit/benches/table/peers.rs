//! The peers: what they are, and how each backs up and restores a snapshot.
//!
//! Each reads everything from the cache. The snapshot is always mounted at the same path, so a peer can rely on its own
//! list of unchanged files. A peer with a server sends through the same network as Dotmesh. The others write to the local
//! disk, and need not flush their writes.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};

use crate::measure::{Bar, Cost, Table, children_time, seconds};
use crate::peer_root;
use crate::stage::{POOL, Stage};

/// Where a peer has its repository.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// In a local folder.
    Disk,
    /// On the hub's machine, behind rest-server.
    Rest,
    /// On the hub's machine, behind sshd.
    Ssh,
}

/// A tool, as lines of bash with these variables:
/// - `$DATA` is the folder to back up, and `$SNAPSHOT` its snapshot.
/// - `$BEFORE` names the previous snapshot, in the form that `btrfs send` takes.
/// - `$REPO` is the address of a repository of the tool's own, and `$N` the number of its backups.
/// - `$TO` is the target of a restore.
pub(crate) struct Tool {
    pub(crate) name: &'static str,
    program: &'static str,
    place: Place,
    prepare: &'static str,
    backup: &'static str,
    restore: &'static str,
}

pub(crate) const RESTIC: &str = "restic";
pub(crate) const RESTIC_SERVED: &str = "restic to rest-server";
pub(crate) const RESTIC_MAX: &str = "restic --compression max, pruned";
pub(crate) const BORG: &str = "borg";
pub(crate) const BORG_SERVED: &str = "borg over ssh";
pub(crate) const RUSTIC: &str = "rustic";
pub(crate) const RUSTIC_SERVED: &str = "rustic to rest-server";
pub(crate) const RSYNC: &str = "rsync";
pub(crate) const SEND: &str = "btrfs send \\| zstd -1";

/// The peers that send through the network, as Dotmesh does.
const SERVED: &[&str] = &[RESTIC_SERVED, BORG_SERVED, RUSTIC_SERVED];

/// The targets for the fastest local peer. The first counts all of them, the second those that can restore a single file.
/// `btrfs send` makes a stream of blocks, which is useful only as a whole and on top of all earlier ones.
pub(crate) const fn fastest(at_most: f64) -> [Bar; 2] {
    let all = &[RESTIC, BORG, RUSTIC, RSYNC, SEND];
    let readable = &[RESTIC, BORG, RUSTIC, RSYNC];
    [
        Bar::new(at_most, "the fastest local peer", all),
        Bar::new(at_most, "the fastest local peer but btrfs send", readable),
    ]
}

/// The target for the fastest of the peers with a server.
pub(crate) const fn fastest_served(at_most: f64) -> Bar {
    Bar::new(at_most, "the fastest peer with a server", SERVED)
}

const fn restic(name: &'static str, place: Place) -> Tool {
    Tool {
        name,
        program: "restic",
        place,
        prepare: "restic -q -r $REPO init",
        backup: "restic -q -r $REPO backup $DATA",
        restore: "restic -q -r $REPO restore latest --target $TO",
    }
}

const fn borg(name: &'static str, place: Place) -> Tool {
    Tool {
        name,
        program: "borg",
        place,
        prepare: "borg init -e none $REPO",
        backup: "borg create -C zstd,1 $REPO::$N $DATA",
        restore: "cd $TO && borg extract $REPO::$N",
    }
}

const fn rustic(name: &'static str, place: Place) -> Tool {
    Tool {
        name,
        program: "rustic",
        place,
        prepare: "rustic --log-level error --no-progress -r $REPO init",
        backup: "rustic --log-level error --no-progress -r $REPO backup $DATA",
        restore: "rustic --log-level error --no-progress -r $REPO restore latest $TO",
    }
}

const TOOLS: &[Tool] = &[
    restic(RESTIC, Place::Disk),
    borg(BORG, Place::Disk),
    rustic(RUSTIC, Place::Disk),
    Tool {
        name: RSYNC,
        program: "rsync",
        place: Place::Disk,
        prepare: "mkdir $REPO",
        backup: "rsync -a --delete $DATA/ $REPO/",
        restore: "rsync -a $REPO/ $TO/",
    },
    Tool {
        name: SEND,
        program: "btrfs",
        place: Place::Disk,
        prepare: "mkdir $REPO",
        backup: "btrfs send -q $BEFORE $SNAPSHOT | zstd -1 -T0 -q -o $REPO/$N",
        restore: "zstd -dc $REPO/$N | btrfs receive -q $TO",
    },
    restic(RESTIC_SERVED, Place::Rest),
    borg(BORG_SERVED, Place::Ssh),
    rustic(RUSTIC_SERVED, Place::Rest),
];

/// restic, so that its repository grows least.
const SMALLEST: Tool = Tool {
    backup: "restic -q -r $REPO --compression max backup $DATA && \
             restic -q -r $REPO --compression max prune --max-unused 0",
    ..restic(RESTIC_MAX, Place::Disk)
};

/// The mount point of the snapshot's data.
const DATA: &str = "/run/snapshot";

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

/// The chosen tools that write to the local disk.
pub(crate) fn local() -> Result<Vec<&'static Tool>> {
    let mut tools = chosen()?;
    tools.retain(|tool| tool.place == Place::Disk);
    Ok(tools)
}

/// restic with the options for the least growth, if restic is chosen.
pub(crate) fn smallest() -> Result<Vec<&'static Tool>> {
    let restic = chosen()?.into_iter().any(|tool| tool.name == RESTIC);
    Ok(restic.then_some(&SMALLEST).into_iter().collect())
}

/// Some peers, with new repositories.
pub(crate) struct Peers<'a> {
    stage: &'a Stage,
    tools: Vec<&'static Tool>,
    folder: PathBuf,
    snapshots: Vec<PathBuf>,
}

impl<'a> Peers<'a> {
    /// Makes the repositories. A tool that is not there takes no part.
    pub(crate) async fn start(stage: &'a Stage, tools: Vec<&'static Tool>) -> Result<Self> {
        let mut peers = Self {
            stage,
            tools: Vec::new(),
            folder: stage.alice.machine.home().join("peers"),
            snapshots: Vec::new(),
        };
        for tool in tools {
            stage.servers().await?;
            let there = peer_root::line(&[], &format!("command -v {}", tool.program));
            if stage.alice.machine.run(&there).await.status.success() {
                let prepare = peers.line(tool, tool.prepare).await?;
                stage.alice.ok(&prepare).await;
                peers.tools.push(tool);
            }
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
            let before = self.size(tool).await?;
            warm(self.stage, DATA).await;
            let mut cost = self.time(tool, tool.backup).await?;
            let after = self.size(tool).await?;
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
            let read = format!(
                "find {} -type f -exec cat {{}} + >/dev/null",
                self.path(tool).await?
            );
            self.run_at(tool, &read).await;
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
    pub(crate) async fn remove(self) -> Result<()> {
        self.stage.alice.ok(&format!("umount {DATA}")).await;
        for tool in &self.tools {
            let remove = format!("rm -rf {}", self.path(tool).await?);
            self.run_at(tool, &remove).await;
        }
        let caches = format!("rm -rf {}/*", self.folder.display());
        self.stage.alice.ok(&caches).await;
        Ok(())
    }

    fn restored(&self) -> String {
        format!("{POOL}/restored")
    }

    /// The size of a tool's repository, in bytes.
    async fn size(&self, tool: &Tool) -> Result<f64> {
        let size = format!("du -sb {} | cut -f1", self.path(tool).await?);
        Ok(self.run_at(tool, &size).await.trim().parse()?)
    }

    /// The path of a tool's repository on the machine that has it.
    async fn path(&self, tool: &Tool) -> Result<String> {
        let path = match tool.place {
            Place::Disk => self.folder.join(tool.program),
            Place::Rest | Place::Ssh => self.stage.servers().await?.path(tool.program),
        };
        Ok(path.display().to_string())
    }

    /// Runs a line on the machine that has a tool's repository.
    async fn run_at(&self, tool: &Tool, line: &str) -> String {
        match tool.place {
            Place::Disk => self.stage.alice.ok(line).await,
            Place::Rest | Place::Ssh => self.stage.on_hub(line).await,
        }
    }

    async fn time(&self, tool: &Tool, line: &str) -> Result<Cost> {
        self.stage.settle().await?;
        let line = self.line(tool, &format!("{{ {line}; }} && times")).await?;
        let servers = self.stage.servers().await?;
        let [received, sent] = self.stage.counted().await?;
        let before = servers.usage().await?;
        let start = Instant::now();
        let printed = self.stage.alice.ok(&line).await;
        let wall = seconds(start.elapsed());
        let after = servers.usage().await?;
        let now = self.stage.counted().await?;
        let cpu = children_time(&printed).context("what times says")?;
        Ok(Cost {
            wall,
            cpu,
            hub_cpu: after.cpu - before.cpu,
            counted: match tool.place {
                Place::Disk => 0.0,
                Place::Rest | Place::Ssh => f64::max(now[0] - received, now[1] - sent),
            },
            ..Cost::default()
        })
    }

    /// The line with its variables, to run in the root of the peers.
    async fn line(&self, tool: &Tool, line: &str) -> Result<String> {
        let path = |snapshot: &PathBuf| snapshot.display().to_string();
        let before = match self.snapshots.as_slice() {
            [.., before, _] => format!("-p {}", before.display()),
            _ => String::new(),
        };
        let servers = self.stage.servers().await?;
        let repository = match tool.place {
            Place::Disk => self.path(tool).await?,
            Place::Rest => servers.rest(tool.program),
            Place::Ssh => servers.ssh(tool.program),
        };
        let cache = |kind: &str| {
            let name = format!("{} {kind}", tool.name).replace(' ', "-");
            self.folder.join(name).display().to_string()
        };
        let variables = [
            ("RESTIC_PASSWORD", "secret".to_owned()),
            ("RUSTIC_PASSWORD", "secret".to_owned()),
            ("RESTIC_CACHE_DIR", cache("cache")),
            ("RUSTIC_CACHE_DIR", cache("cache")),
            ("BORG_BASE_DIR", cache("base")),
            (
                "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK",
                "yes".to_owned(),
            ),
            ("DATA", DATA.to_owned()),
            (
                "SNAPSHOT",
                self.snapshots.last().map(path).unwrap_or_default(),
            ),
            ("BEFORE", before),
            ("REPO", repository),
            ("N", self.snapshots.len().to_string()),
            ("TO", self.restored()),
        ];
        Ok(peer_root::line(&variables, line))
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
