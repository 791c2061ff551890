//! Compares the real state with the model, and restarts the write load.

use std::time::Duration;

use anyhow::{Result, ensure};
use dotmesh_testkit::wait_for;
use tokio::time::Instant;

use crate::databases::{self, Disorder};
use crate::model::{Candidates, Dot, HubChange};
use crate::rows::{Contents, Expected};
use crate::world::{COMES_BACK, SOON, World};
use crate::writer::Writer;

/// The time that a node may take after a fault until all containers are on the branch that `dm` reports.
const CONSISTENT_IN: Duration = Duration::from_secs(120);

/// Shows the databases' containers: their logs, mounts and files.
const CONTAINERS: &str = "dm list; docker ps -a; for name in redis postgres mariadb; do \
    echo \"--- $name\"; docker logs --tail 40 $name; \
    grep dotmesh /proc/$(docker inspect -f '{{.State.Pid}}' $name)/mountinfo; done; \
    docker exec redis ls -lR --time-style=full-iso /data; \
    grep /var/lib/dotmesh /proc/self/mountinfo";

impl World {
    /// Stops the write load, and records the possible rows of the working copy.
    pub(crate) async fn stop_writing(&mut self, node: usize) {
        if let Some(writer) = self.nodes[node].writer.take() {
            let live = writer.stop().await;
            self.model.set_live(node, live);
        }
    }

    /// Whether the write load continues, which shows that the containers were not restarted.
    pub(crate) fn is_writing(&self, node: usize) -> bool {
        let writer = self.nodes[node].writer.as_ref();
        writer.is_some_and(Writer::is_writing)
    }

    /// The rows that were sent to the databases of a node, and those that they acknowledged.
    pub(crate) fn progress(&self, node: usize) -> Expected {
        match &self.nodes[node].writer {
            Some(writer) => writer.progress(),
            None => self.model.live(&self.model.dots[node]),
        }
    }

    /// Takes a node's visible state into the model, if it is a candidate. Then reads the databases if they were
    /// restarted, and restarts the write load. `calm` says that nothing has failed, so all must be right at once.
    pub(crate) async fn settle(
        &mut self,
        node: usize,
        candidates: &Candidates,
        calm: bool,
    ) -> Result<()> {
        let seen = {
            let node = &self.nodes[node];
            wait_for("dm to tell of the branches", SOON, async || {
                node.look().await
            })
            .await
        };
        let settled = match seen {
            Ok(seen) => self.model.settle(node, candidates, &seen),
            Err(silent) => Err(format!("{silent:#}")),
        };
        match settled {
            Ok(others) => self.go_on_from(node, &others, calm).await,
            Err(problem) => {
                self.report
                    .violation(&format!("lost or half-visible: {problem}"));
                Ok(())
            }
        }
    }

    /// If the databases were restarted, checks their rows and restarts the write load.
    pub(crate) async fn go_on_writing(&mut self, node: usize, calm: bool) -> Result<()> {
        self.go_on_from(node, &[], calm).await
    }

    /// The same if the dot may also be one of `others`. The databases' rows then decide.
    async fn go_on_from(&mut self, node: usize, others: &[Dot], calm: bool) -> Result<()> {
        if self.is_writing(node) {
            return Ok(());
        }
        self.stop_writing(node).await;
        let mut candidates = vec![self.model.dots[node].clone()];
        candidates.extend_from_slice(others);
        let Some((dot, contents)) = self.read(node, &candidates, calm).await? else {
            return Ok(());
        };
        self.model.dots[node] = dot;
        let dot = &mut self.model.dots[node];
        self.report.states_verified += 1;
        if let Some(branch) = dot.branches.get(&dot.current)
            && branch.live.is_none()
            && let Some(commit) = self.model.commits.get_mut(&branch.head)
        {
            // From here on the state is known exactly, and every later check must find the same.
            commit.state = Expected::exactly(&contents);
            if !commit.verified {
                commit.verified = true;
                self.report.commits_verified += u64::from(commit.under_load);
            }
        }
        self.model.set_live(node, Expected::exactly(&contents));
        let number = self.numbers.writer();
        let node = &mut self.nodes[node];
        node.writer = Some(Writer::start(&node.machine, &contents, number)?);
        Ok(())
    }

    /// Waits until the databases answer, and checks their rows.
    async fn read(
        &mut self,
        node: usize,
        candidates: &[Dot],
        calm: bool,
    ) -> Result<Option<(Dot, Contents)>> {
        let branch = self.model.dots[node].current.clone();
        let machine = self.nodes[node].machine.clone();
        let began = Instant::now();
        let mut rebooted = false;
        loop {
            let read = wait_for("the databases to answer", COMES_BACK, async || {
                databases::read(&machine).await
            });
            let problem = match read.await {
                Ok(Ok(contents)) => {
                    let mut problems = Vec::new();
                    for dot in candidates {
                        match self.model.live(dot).check(&contents) {
                            Ok(()) => return Ok(Some((dot.clone(), contents))),
                            Err(problem) => problems.push(problem),
                        }
                    }
                    problems.join(", or ")
                }
                Ok(Err(Disorder(problem))) => problem,
                Err(silent) if !rebooted => {
                    rebooted = true;
                    self.report.say(&format!("  Docker is stuck: {silent:#}"));
                    self.report.docker_stuck += 1;
                    let unnamed = self.nodes[node].stopped_and_not_named().await;
                    if !unnamed.is_empty() {
                        self.report.violation(&format!(
                            "containers do not run, and dm list does not name them: {unnamed:?}"
                        ));
                    }
                    self.nodes[node].reboot_docker().await?;
                    continue;
                }
                Err(silent) => {
                    let list = machine.run(CONTAINERS).await;
                    self.report.violation(&format!(
                        "the databases do not come back on branch {branch}: {silent:#}\n{list}"
                    ));
                    return Ok(None);
                }
            };
            // The daemon may still have to restart containers that an interrupted switch left on the other branch.
            if calm || began.elapsed() > CONSISTENT_IN {
                let evidence = machine.run(CONTAINERS).await;
                self.report.say(&format!("evidence: {evidence}"));
                self.report.violation(&format!(
                    "wrong content on {}, branch {branch}: {problem}",
                    machine.name()
                ));
                return Ok(None);
            }
            self.report.say(&format!("  not yet: {problem}"));
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    /// Takes the hub's branches into the model, if they are allowed.
    pub(crate) async fn settle_hub(&mut self, change: &HubChange) -> Result<()> {
        let seen = self.hub.look().await?;
        if let Err(problem) = self.model.settle_hub(change, &seen) {
            self.report
                .violation(&format!("lost or half-visible: {problem}"));
        }
        Ok(())
    }

    /// Verifies that a node still knows each commit that it has known before, even if no branch leads to it.
    pub(crate) async fn look_for_commits(&mut self, node: usize) -> Result<()> {
        let known: Vec<_> = self.model.dots[node].known.iter().cloned().collect();
        for ids in known.chunks(50) {
            let line = format!(
                "for id in {}; do dm log --oneline -n 1 $id >/dev/null || echo lost $id; done",
                ids.join(" ")
            );
            let output = self.nodes[node].run(&line).await;
            ensure!(output.status.success(), "{output}");
            if output.stdout.contains("lost") {
                let name = self.nodes[node].machine.name().to_owned();
                self.report
                    .violation(&format!("{name} has lost commits: {output}"));
            }
        }
        Ok(())
    }

    /// The commits of a node from which no databases were started yet.
    pub(crate) fn unverified(&self, node: usize) -> Vec<String> {
        let known = self.model.dots[node].known.iter();
        known
            .filter(|id| {
                let commit = self.model.commits.get(*id);
                commit.is_some_and(|commit| !commit.verified)
            })
            .cloned()
            .collect()
    }

    /// Fails the soak if a command failed that must succeed.
    pub(crate) fn expect_done(
        &mut self,
        what: &str,
        output: &dotmesh_testkit::Output,
    ) -> Result<()> {
        if !output.status.success() {
            self.report
                .violation(&format!("{what} failed without a fault\n{output}"));
        }
        ensure!(output.status.success(), "{what} failed");
        Ok(())
    }
}

/// The id that `dm commit` printed.
pub(crate) fn printed_id(output: &dotmesh_testkit::Output) -> Result<String> {
    let id = output.stdout.trim();
    ensure!(
        id.len() >= 16 && id.bytes().all(|digit| digit.is_ascii_hexdigit()),
        "no commit's id: {output}"
    );
    Ok(id.to_owned())
}
