//! Runs operations with `dm`, and updates the model.

use anyhow::{Result, ensure};
use dotmesh_testkit::Output;

use crate::databases;
use crate::dice::pick;
use crate::model::{Candidates, Commit, Dot, HubChange, ROOT, is_own};
use crate::rows::{Expected, Store};
use crate::step::{Operation, Step, Strike};
use crate::verify::printed_id;
use crate::world::{SOON, World};

/// The limit of branches on which databases have run. A node above it deletes the dot and clones it again, to free
/// their space.
const MOST_WORKING_COPIES: usize = 10;

impl World {
    /// Makes the first commit. The first node pushes it, and the second clones it.
    pub(crate) async fn begin(&mut self) -> Result<()> {
        let alice = &self.nodes[0];
        alice.ok("dm init app").await?;
        alice.make_containers().await?;
        for store in Store::ALL {
            let machine = alice.machine.clone();
            dotmesh_testkit::wait_for(&format!("{store:?}"), SOON * 4, async || {
                match store.create() {
                    Some(table) => databases::execute(&machine, store, table).await,
                    None => databases::execute(&machine, store, "ping").await,
                }
            })
            .await?;
        }
        self.model.dots[0] = Dot::default().branched("master", Some(ROOT));
        self.go_on_writing(0, true).await?;
        self.commit(0, 1, &[]).await?;
        self.push(0, &[]).await?;
        self.hub.collaborate("alice/app", "bob").await?;
        self.clone_dot(1, &[]).await
    }

    /// Performs a step, if it is possible.
    pub(crate) async fn perform(&mut self, step: &Step) -> Result<()> {
        let node = step.node;
        let strikes = &step.strikes;
        // An earlier fault may delay the restart of the containers until now.
        self.go_on_writing(node, false).await?;
        let branches = self.model.dots[node].branches.values();
        let used = branches.filter(|branch| branch.live.is_some()).count();
        let crowded = used > MOST_WORKING_COPIES;
        match step.operation {
            _ if crowded => self.delete_and_clone(node, strikes).await,
            Operation::Commit { times } => self.commit(node, times, strikes).await,
            Operation::Branch => self.branch(node, None, strikes).await,
            Operation::BranchAt { roll } => {
                let commit = self.some_commit(node, roll);
                self.branch(node, commit, strikes).await
            }
            Operation::Checkout { roll } => self.checkout(node, roll, strikes).await,
            Operation::Reset { roll } => match self.some_commit(node, roll) {
                Some(commit) => self.reset(node, &commit, strikes).await,
                None => Ok(()),
            },
            Operation::Push => self.push(node, strikes).await.map(drop),
            Operation::Pull { roll } => self.pull_some(node, roll, strikes).await,
            Operation::DeleteAndClone => self.delete_and_clone(node, strikes).await,
            Operation::DeleteOnHub { roll } => self.delete_on_hub(node, roll, strikes).await,
            Operation::Throwaway { roll } => self.throwaway(roll, strikes).await,
            Operation::Repack { roll } => self.repack(node, roll, strikes).await,
            Operation::FlipOnHub { roll } => self.flip_on_hub(node, roll).await,
            Operation::FlipInPool { roll } => self.flip_in_pool(node, roll).await,
        }
    }

    /// Chooses a commit of a node, mostly one from which no databases were started yet.
    fn some_commit(&self, node: usize, roll: u64) -> Option<String> {
        let unverified = self.unverified(node);
        if roll % 10 < 8
            && let Some(commit) = pick(&unverified, roll >> 8)
        {
            return Some(commit.clone());
        }
        let known: Vec<_> = self.model.dots[node].known.iter().cloned().collect();
        pick(&known, roll >> 8).cloned()
    }

    /// Runs `dm` during faults, and counts the result. Without a fault it must succeed.
    async fn dm(
        &mut self,
        node: usize,
        name: &'static str,
        line: &str,
        strikes: &[Strike],
    ) -> Result<Output> {
        let machine = self.nodes[node].machine.clone();
        let output = self.struck(node, &machine, line, strikes).await?;
        self.disarm();
        let done = output.status.success();
        self.report.operation(name, done);
        let after = match output.status.code() {
            Some(0) => "done".to_owned(),
            code => {
                let last = output.stderr.lines().find(|line| line.contains("rror"));
                format!("exit code {code:?}: {}", last.unwrap_or_default())
            }
        };
        let faults: Vec<_> = strikes
            .iter()
            .map(|strike| format!("{:?} after {:?}", strike.fault, strike.after))
            .collect();
        let with = if faults.is_empty() { "" } else { " with " };
        self.report.say(&format!(
            "[{}] {line}{with}{} -> {after}",
            machine.name(),
            faults.join(", ")
        ));
        if strikes.is_empty() {
            self.expect_done(line, &output)?;
        }
        Ok(output)
    }

    /// Runs `dm` without faults.
    async fn done(&mut self, node: usize, name: &'static str, line: &str) -> Result<()> {
        self.dm(node, name, line, &[]).await.map(drop)
    }

    pub(crate) async fn commit(
        &mut self,
        node: usize,
        times: u64,
        strikes: &[Strike],
    ) -> Result<()> {
        let mut strikes = strikes;
        for _ in 0..times {
            if !self.is_own_branch(node) {
                return self.branch(node, None, strikes).await;
            }
            let dot = self.model.dots[node].clone();
            let writing = self.is_writing(node);
            let before = self.progress(node);
            let output = self
                .dm(node, "commit", "dm commit -m soak", strikes)
                .await?;
            let after = self.progress(node);
            let commit = Commit {
                parent: dot.head().to_owned(),
                state: Expected::between(&before, &after),
                verified: false,
                under_load: writing && after.at_most > before.at_least,
            };
            let candidates = if output.status.success() {
                let id = printed_id(&output)?;
                self.report.commits += 1;
                self.report.commits_under_load += u64::from(commit.under_load);
                ensure!(
                    self.model.commits.insert(id.clone(), commit).is_none(),
                    "the id {id} was given twice"
                );
                Candidates::one(dot.committed(&id))
            } else {
                Candidates {
                    dots: vec![dot.clone(), dot.committed_untold()],
                    untold: Some(commit),
                }
            };
            self.settle(node, &candidates, strikes.is_empty()).await?;
            strikes = &[];
        }
        Ok(())
    }

    fn is_own_branch(&self, node: usize) -> bool {
        is_own(node, &self.model.dots[node].current)
    }

    async fn branch(
        &mut self,
        node: usize,
        commit: Option<String>,
        strikes: &[Strike],
    ) -> Result<()> {
        let name = self.numbers.branch(node);
        let line = match &commit {
            Some(commit) => format!("dm checkout -b {name} {commit}"),
            None => format!("dm checkout -b {name}"),
        };
        let output = self.dm(node, "checkout -b", &line, strikes).await?;
        self.stop_writing(node).await;
        let before = self.model.dots[node].clone();
        let after = before.branched(&name, commit.as_deref());
        let candidates = Candidates::of(output.status.success(), before, after);
        self.settle(node, &candidates, strikes.is_empty()).await
    }

    async fn checkout(&mut self, node: usize, roll: u64, strikes: &[Strike]) -> Result<()> {
        let dot = &self.model.dots[node];
        let others: Vec<_> = dot
            .branches
            .keys()
            .filter(|name| **name != dot.current && is_own(node, name))
            .cloned()
            .collect();
        let Some(name) = pick(&others, roll).cloned() else {
            return self.branch(node, None, strikes).await;
        };
        let line = format!("dm checkout {name}");
        let output = self.dm(node, "checkout", &line, strikes).await?;
        self.stop_writing(node).await;
        let before = self.model.dots[node].clone();
        let after = before.checked_out(&name);
        let candidates = Candidates::of(output.status.success(), before, after);
        self.settle(node, &candidates, strikes.is_empty()).await
    }

    pub(crate) async fn reset(
        &mut self,
        node: usize,
        commit: &str,
        strikes: &[Strike],
    ) -> Result<()> {
        if !self.is_own_branch(node) {
            return self.branch(node, Some(commit.to_owned()), strikes).await;
        }
        let line = format!("dm reset --hard {commit}");
        let output = self.dm(node, "reset", &line, strikes).await?;
        self.stop_writing(node).await;
        let before = self.model.dots[node].clone();
        let after = before.at(&before.current, commit);
        let candidates = Candidates::of(output.status.success(), before, after);
        self.settle(node, &candidates, strikes.is_empty()).await
    }

    /// Pushes the current branch. Returns whether the push was reported as done.
    pub(crate) async fn push(&mut self, node: usize, strikes: &[Strike]) -> Result<bool> {
        let dot = self.model.dots[node].clone();
        let line = format!("dm push hub app {} --stash-on-divergence", dot.current);
        let output = self.dm(node, "push", &line, strikes).await?;
        let done = output.status.success();
        let change = HubChange::Push {
            branch: dot.current.clone(),
            head: dot.head().to_owned(),
            done,
        };
        self.settle_hub(&change).await?;
        self.settle(node, &Candidates::one(dot), strikes.is_empty())
            .await?;
        Ok(done)
    }

    async fn pull_some(&mut self, node: usize, roll: u64, strikes: &[Strike]) -> Result<()> {
        let dot = &self.model.dots[node];
        let news: Vec<_> = self
            .model
            .hub
            .branches
            .iter()
            .filter(|(name, head)| {
                let here = dot.branches.get(*name);
                !is_own(node, name)
                    && **name != dot.current
                    && here.is_none_or(|here| {
                        here.head != **head && self.model.ancestry(head).contains(&here.head)
                    })
            })
            .map(|(name, _)| name.clone())
            .collect();
        match pick(&news, roll).cloned() {
            Some(branch) => self.pull(node, &branch, strikes).await.map(drop),
            None => Ok(()),
        }
    }

    /// Pulls a branch of the other node.
    pub(crate) async fn pull(
        &mut self,
        node: usize,
        branch: &str,
        strikes: &[Strike],
    ) -> Result<Output> {
        let line = format!("dm pull hub app {branch}");
        let machine = self.nodes[node].machine.clone();
        let output = self.struck(node, &machine, &line, strikes).await?;
        self.disarm();
        let done = output.status.success();
        self.report.operation("pull", done);
        let error = output.stderr.lines().find(|line| line.contains("rror"));
        self.report.say(&format!(
            "[{}] {line} with {strikes:?} -> {:?} {}",
            machine.name(),
            output.status.code(),
            error.unwrap_or_default()
        ));
        self.settle_pulled(node, branch, done, strikes.is_empty())
            .await?;
        Ok(output)
    }

    async fn settle_pulled(
        &mut self,
        node: usize,
        branch: &str,
        done: bool,
        calm: bool,
    ) -> Result<()> {
        let head = self.model.hub.branches[branch].clone();
        let before = self.model.dots[node].clone();
        let mut after = before.at(branch, &head);
        after.known.extend(self.model.ancestry(&head));
        let candidates = Candidates::of(done, before, after);
        self.settle(node, &candidates, calm).await
    }

    async fn delete_and_clone(&mut self, node: usize, strikes: &[Strike]) -> Result<()> {
        self.look_for_commits(node).await?;
        self.stop_writing(node).await;
        let line = "dm push hub app --all --stash-on-divergence";
        self.done(node, "push --all", line).await?;
        let dot = self.model.dots[node].clone();
        let branches = dot.branches.iter();
        let heads = branches.map(|(name, branch)| (name.clone(), branch.head.clone()));
        let change = HubChange::PushAll {
            heads: heads.collect(),
        };
        self.settle_hub(&change).await?;
        self.nodes[node]
            .ok("docker rm -f redis postgres mariadb")
            .await?;
        let deleted = self
            .dm(node, "dot delete", "dm dot delete -f app", strikes)
            .await?;
        let list = self.nodes[node].ok("dm list -H").await?;
        let is_there = list.lines().any(|row| row.starts_with("app\t"));
        if is_there {
            if deleted.status.success() {
                self.report
                    .violation(&format!("a deleted dot is still there:\n{list}"));
            }
            let seen = self.nodes[node].look().await?;
            let whole = Candidates::one(dot);
            if let Err(problem) = self.model.settle(node, &whole, &seen) {
                self.report
                    .violation(&format!("deleted by half: {problem}"));
            }
            self.done(node, "dot delete", "dm dot delete -f app")
                .await?;
        }
        self.clone_dot(node, strikes).await
    }

    /// Clones the dot, which the node does not have, and starts the databases on a new branch.
    async fn clone_dot(&mut self, node: usize, strikes: &[Strike]) -> Result<()> {
        let line = "dm clone hub alice/app";
        let cloned = self.dm(node, "clone", line, strikes).await?;
        if !cloned.status.success() {
            self.done(node, "clone", line).await?;
        }
        let node_now = &self.nodes[node];
        node_now.ok("dm switch app").await?;
        let seen = node_now.look().await?;
        let mut dot = Dot {
            current: seen.current.clone(),
            ..Dot::default()
        };
        for (name, head) in &self.model.hub.branches {
            dot = dot.at(name, head);
            dot.known.extend(self.model.ancestry(head));
        }
        if let Err(problem) = self.model.settle(node, &Candidates::one(dot), &seen) {
            self.report
                .violation(&format!("a clone is not what the hub has: {problem}"));
            return Ok(());
        }
        let name = self.numbers.branch(node);
        let line = format!("dm checkout -b {name}");
        self.done(node, "checkout -b", &line).await?;
        self.nodes[node].make_containers().await?;
        let after = self.model.dots[node].branched(&name, None);
        self.settle(node, &Candidates::one(after), true).await
    }

    async fn delete_on_hub(&mut self, node: usize, roll: u64, strikes: &[Strike]) -> Result<()> {
        let names = self.model.hub.branches.keys();
        let branches: Vec<_> = names.filter(|name| *name != "master").cloned().collect();
        let Some(branch) = pick(&branches, roll).cloned() else {
            return Ok(());
        };
        let (machine, line) = self
            .hub
            .request("DELETE", &format!("/dots/alice/app/branches/{branch}"));
        let output = self.struck(node, &machine, &line, strikes).await?;
        self.disarm();
        let done = output.status.success();
        self.report.operation("delete a branch on the hub", done);
        self.report
            .say(&format!("[hub] delete {branch} with {strikes:?} -> {done}"));
        if strikes.is_empty() {
            self.expect_done("deleting a branch", &output)?;
        }
        self.settle_hub(&HubChange::Delete { branch, done }).await?;
        let dot = self.model.dots[node].clone();
        self.settle(node, &Candidates::one(dot), strikes.is_empty())
            .await
    }

    /// Makes a dot of its own on the first node. It is lost only where it was deleted, and the hub can restore it.
    async fn throwaway(&mut self, roll: u64, strikes: &[Strike]) -> Result<()> {
        let name = self.numbers.branch(0);
        let dm = "dm -c throwaway";
        self.nodes[0]
            .ok("cp .config/dotmesh/config throwaway")
            .await?;
        let in_volume = |line: &str| {
            format!(
                "docker run --rm --network none -v {name}:/v --volume-driver dm debian:bookworm-slim sh -ec '{line}'"
            )
        };
        let make = in_volume(&format!("echo {roll} >/v/file; sync"));
        let line = format!("{make} && {dm} switch {name} && {dm} commit -m throwaway");
        self.nodes[0].ok(&line).await?;
        let line = format!("{dm} push hub {name}");
        let pushed = self.dm(0, "push", &line, strikes).await?;
        if !pushed.status.success() {
            self.done(0, "push", &line).await?;
        }
        let delete = format!("{dm} dot delete -f {name}");
        let clone = format!("{dm} clone hub alice/{name}");
        let path = format!("/dots/alice/{name}");
        for round in ["pushed", "restored"] {
            if round == "restored" {
                let deleted = self.hub.call("DELETE", &path).await;
                self.expect_done("deleting a dot on the hub", &deleted)?;
                let gone = self.nodes[0].run(&clone).await;
                if gone.status.success() {
                    self.report
                        .violation(&format!("a dot that was deleted on the hub: {gone}"));
                }
                self.hub.restore(&name).await?;
            } else {
                let deleted = self.dm(0, "dot delete", &delete, strikes).await?;
                let list = self.nodes[0].ok("dm list -H").await?;
                let is_there = list
                    .lines()
                    .any(|row| row.starts_with(&format!("{name}\t")));
                if is_there && deleted.status.success() {
                    self.report
                        .violation(&format!("a deleted dot is still there:\n{list}"));
                }
                if is_there {
                    let content = self.nodes[0].ok(&in_volume("cat /v/file")).await?;
                    self.expect_content(roll, &content);
                    self.done(0, "dot delete", &delete).await?;
                }
            }
            self.done(0, "clone", &clone).await?;
            let content = self.nodes[0].ok(&in_volume("cat /v/file")).await?;
            self.expect_content(roll, &content);
            self.report.states_verified += 1;
            self.done(0, "dot delete", &delete).await?;
        }
        let deleted = self.hub.call("DELETE", &path).await;
        self.expect_done("deleting a dot on the hub", &deleted)?;
        let dot = self.model.dots[0].clone();
        self.settle_hub(&HubChange::Nothing).await?;
        self.settle(0, &Candidates::one(dot), strikes.is_empty())
            .await
    }

    fn expect_content(&mut self, expected: u64, found: &str) {
        if found.trim() != expected.to_string() {
            self.report
                .violation(&format!("{found:?} where {expected} was written"));
        }
    }
}
