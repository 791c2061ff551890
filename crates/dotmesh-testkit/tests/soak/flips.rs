//! Flipped bits in stored data: in the hub's pack store, and in the image of a node's pool.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use dotmesh_testkit::Output;

use crate::dice::pick;
use crate::faults::{find_block, flip, forget_cached};
use crate::model::HubChange;
use crate::world::{HUB_DATA, World};

/// The number of 4 KiB blocks in the file whose bits are flipped in the pool.
const BALLAST_BLOCKS: u64 = 16;

impl World {
    /// Flips a bit in a pack of a push, and lets the other node pull it.
    pub(crate) async fn flip_on_hub(&mut self, node: usize, roll: u64) -> Result<()> {
        let other = 1 - node;
        self.go_on_writing(other, false).await?;
        self.hub_ok("touch before").await?;
        self.commit(node, 1, &[]).await?;
        if !self.report.is_clean() {
            return Ok(());
        }
        self.push(node, &[]).await?;
        let branch = self.model.dots[node].current.clone();
        let here = self.model.dots[other].branches.get(&branch);
        let head = self.model.hub.branches.get(&branch).cloned();
        let head = head.context("the pushed branch is on the hub")?;
        // If the branch was reset since then, the pull would have to put it aside.
        if here.is_some_and(|here| !self.model.ancestry(&head).contains(&here.head)) {
            return Ok(());
        }
        let line = format!("find {HUB_DATA} -path '*/packs/*' -type f -newer before");
        let packs = self.hub_ok(&line).await?;
        let packs: Vec<&str> = packs.lines().collect();
        let pack = pick(&packs, roll).context("a push stores a pack")?;
        let file = self.hub.machine.path(pack);
        let bit = (roll >> 16) % (fs::metadata(&file)?.len() * 8);
        flip(&file, bit)?;
        self.report
            .say(&format!("[hub] bit {bit} of {pack} is flipped"));
        let pulled = self.pull(other, &branch, &[]).await?;
        flip(&file, bit)?;
        if pulled.status.success() {
            self.report.flip("on the hub, where nobody needed it");
        } else {
            self.expect_named(&pulled, &["damaged"]);
            self.report.flip("on the hub, refused");
            let again = self.pull(other, &branch, &[]).await?;
            self.expect_done("a pull of a pack that is whole again", &again)?;
        }
        self.reset(other, &head, &[]).await
    }

    /// Flips a bit of a new commit's data in the pool's image, and pushes the commit.
    pub(crate) async fn flip_in_pool(&mut self, node: usize, roll: u64) -> Result<()> {
        let fill = format!(
            "docker run --rm --network none -v app.ballast:/v --volume-driver dm debian:bookworm-slim \
             sh -ec 'head -c {} /dev/urandom >/v/ballast; sync'",
            BALLAST_BLOCKS * 4096
        );
        self.nodes[node].ok(&fill).await?;
        self.commit(node, 1, &[]).await?;
        if !self.report.is_clean() {
            return Ok(());
        }
        let machine = self.nodes[node].machine.clone();
        let dot = &self.model.dots[node];
        let head = dot.head().to_owned();
        let pool = machine.path("/var/lib/dotmesh/pool/dots/admin/app");
        let in_commit = pool
            .join("commits")
            .join(&head)
            .join("data/ballast/ballast");
        let in_branch = pool
            .join("branches")
            .join(&dot.current)
            .join("data/ballast/ballast");
        let image: PathBuf = machine.path("/var/lib/dotmesh/pool.img");
        let content = fs::read(&in_branch).context("read the ballast")?;
        let block = usize::try_from(roll % BALLAST_BLOCKS * 4096)?;
        let beginning = content[block..block + 64].to_vec();
        let found = {
            let image = image.clone();
            tokio::task::spawn_blocking(move || find_block(&image, &beginning)).await??
        };
        let bit = found * 8 + (roll >> 16) % (4096 * 8);
        flip(&image, bit)?;
        for file in [&in_commit, &in_branch] {
            forget_cached(file)?;
        }
        self.report.say(&format!("[pool] bit {bit} is flipped"));
        if let Ok(read) = fs::read(&in_commit) {
            let what = if read == content {
                "from a cache"
            } else {
                "as if it were right"
            };
            self.report
                .violation(&format!("a flipped bit of the pool was read {what}"));
        }
        let line = format!("dm push hub app {} --stash-on-divergence", dot.current);
        let pushed = self.nodes[node].run(&line).await;
        self.report.operation("push", pushed.status.success());
        let seen = self.hub.look().await?;
        if pushed.status.success() || seen.values().any(|at| *at == head) {
            self.report
                .violation(&format!("damaged data of a pool was pushed: {pushed}"));
        } else {
            self.expect_named(&pushed, &["damaged", "Input/output error"]);
            self.report.flip("in a pool, refused");
        }
        self.settle_hub(&HubChange::Nothing).await?;
        flip(&image, bit)?;
        for file in [&in_commit, &in_branch] {
            forget_cached(file)?;
        }
        ensure!(fs::read(&in_commit)? == content, "the bit is not back");
        self.push(node, &[]).await.map(drop)
    }

    async fn hub_ok(&self, line: &str) -> Result<String> {
        let output = self.hub.machine.run(line).await;
        ensure!(output.status.success(), "{output}");
        Ok(output.stdout)
    }

    /// The error must tell the user that data is damaged.
    fn expect_named(&mut self, output: &Output, words: &[&str]) {
        if !words.iter().any(|word| output.stderr.contains(word)) {
            self.report
                .violation(&format!("an error that does not tell of damage: {output}"));
        } else if let Some(error) = output.stderr.lines().find(|line| line.contains("rror")) {
            self.report.say(&format!("  {error}"));
        }
    }
}
